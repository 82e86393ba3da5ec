"""Flags that several commands share, and what they mean to the rest of the program."""

import argparse
import math
import os
import re
import sys
from math import ceil
from pathlib import Path
from urllib.parse import urlsplit

from loadgen.errors import InputError
from loadgen.sending.image_files import load_images
from loadgen.sending.protocols import PROTOCOLS, Body
from loadgen.sending.transport import Target
from loadgen.workload.arrivals import MODES, RECORDED

# What one process sends on one core with room to spare; see tests/benchmarks.
RPS_A_PROCESS = 2500
# RFC 9110: what a header's name is made of.
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def positive(word: str) -> float:
    """A finite number above 0."""
    value = float(word)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be above 0 and finite, was {word}")
    return value


def whole(word: str) -> int:
    """A whole number, 0 or more."""
    if not (word.isascii() and word.isdecimal()):
        raise argparse.ArgumentTypeError(f"must be a whole number, 0 or more, was {word!r}")
    return int(word)


def count(word: str) -> int:
    """A whole number, 1 or more."""
    if whole(word) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, 1 or more, was {word!r}")
    return int(word)


def header(word: str) -> tuple[str, str]:
    """`Name: value`."""
    name, colon, value = word.partition(":")
    if not colon or not TOKEN.fullmatch(name.strip()) or not value.isprintable():
        raise argparse.ArgumentTypeError(f"must be 'Name: value', was {word!r}")
    return name.strip(), value.strip()


def method(word: str) -> str:
    """Such as POST."""
    if not (word.isascii() and word.isalpha()):
        raise argparse.ArgumentTypeError(f"must be a word such as POST, was {word!r}")
    return word.upper()


def processes(word: str) -> int:
    """How many, or 0 for `auto`."""
    return 0 if word == "auto" else count(word)


def endpoint(word: str) -> str:
    """A full URL."""
    try:
        parts = urlsplit(word)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise argparse.ArgumentTypeError(f"must be a URL such as http://127.0.0.1:8001/predict, was {word!r}")
    return word


def add_target(parser: argparse.ArgumentParser) -> None:
    """What is sent, and where."""
    add = parser.add_argument
    add("url", type=endpoint, metavar="URL", help="where to POST each photograph, the full endpoint")
    add("--images", type=Path, default=Path("samples"), metavar="DIR", help="PNG, JPG and JPEG to send in turn")
    add("--protocol", choices=tuple(PROTOCOLS), default="multipart", help="how a photograph is put into a request")
    add("--timeout-s", type=positive, default=30.0, metavar="S", help="an answer later than this is an error")
    add("--method", type=method, default="POST", metavar="VERB", help="HTTP method")
    add("--poll-s", type=positive, default=0.1, metavar="S", help="with --protocol async: time between two questions")
    add("--cacert", type=Path, metavar="FILE", help="trust only these certificates (PEM)")
    add("--insecure", action="store_true", help="trust any certificate")
    add("--key", metavar="KEY", default=os.environ.get("LOADGEN_KEY"), help="sent as bearer token; or LOADGEN_KEY")
    add("--host", metavar="NAME", help="Host header, for a Knative route reached by address")
    add("--header", type=header, action="append", default=[], metavar="'K: V'", help="another header; repeatable")


def add_arrivals(parser: argparse.ArgumentParser) -> None:
    """How requests fall within a second, and when a run counts."""
    add = parser.add_argument
    add(
        "--mode",
        choices=(*MODES, RECORDED),
        help="how requests fall within a second: count (exact numbers at random moments), poisson (the numbers are "
        "means), even, burst (all at once), recorded (a trace's own times; the default for one)",
    )
    add(
        "--processes", type=processes, default=0, metavar="N", help="senders; auto: one for each 2500 requests a second"
    )
    add("--seed", type=whole, default=0, help="of the arrival times")
    add("--slo-s", type=positive, default=0.5, metavar="S", help="an answer later than this is late")
    add(
        "--max-lag-ms",
        type=positive,
        default=5.0,
        metavar="MS",
        help="a run whose p99 send lag is over this is invalid",
    )


def target(args: argparse.Namespace) -> Target:
    """Where add_target's flags point. Raises InputError if they name two accounts."""
    headers = {"Authorization": f"Bearer {args.key}"} if args.key else {}
    headers |= dict(args.header) | ({"Host": args.host} if args.host else {})
    if urlsplit(args.url).username and any(name.lower() == "authorization" for name in headers):
        raise InputError("a user in the URL and --key or an Authorization header: only one can be sent")
    return Target(
        args.url,
        headers,
        args.timeout_s,
        args.protocol,
        args.method,
        args.cacert,
        args.insecure,
        args.poll_s,
    )


def senders(args: argparse.Namespace, peak_rps: float) -> int:
    """How many processes: --processes, or as many as the busiest second needs and this machine has cores."""
    cores = len(os.sched_getaffinity(0))
    return int(args.processes or max(1, min(cores, ceil(peak_rps / RPS_A_PROCESS))))


def load_bodies(args: argparse.Namespace) -> tuple[Body, ...]:
    """Every photograph of --images, encoded for --protocol; broken ones are named on stderr. Raises InputError."""
    photographs = load_images(args.images, lambda line: print(f"loadgen: {line}", file=sys.stderr))
    return tuple(PROTOCOLS[args.protocol].encode(photograph) for photograph in photographs)
