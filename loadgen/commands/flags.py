"""Flags that several commands share, and the objects built from them."""

import argparse
import math
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from loadgen.commands.output_files import complain
from loadgen.errors import InputError
from loadgen.masking import masked_word
from loadgen.sending.image_files import load_images
from loadgen.sending.protocols import PROTOCOLS, Body
from loadgen.sending.transport import Target, request_url
from loadgen.workload.arrivals import MODES, RECORDED

# Requests per second that one process can send on one core with a safe margin; see tests/benchmarks.
RPS_PER_PROCESS = 2500
# The characters of a header name, from RFC 9110.
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Each sender is a process with a connection for each of its requests in flight.
MOST_PROCESSES = 64
# aiohttp, and so this program, sends to the server itself, whatever these say.
PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy")


def positive_number(word: str) -> float:
    """Parse a finite number above 0."""
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a finite number above 0, got {word!r}")
    return value


def share(word: str) -> float:
    """Parse a number from 0 to 1."""
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 1, got {word!r}")
    return value


def non_negative_int(word: str) -> int:
    """Parse an integer of at least 0."""
    if not (word.isascii() and word.isdecimal()):
        raise argparse.ArgumentTypeError(f"must be a non-negative integer, got {word!r}")
    return int(word)


def positive_int(word: str) -> int:
    """Parse an integer above 0."""
    if not (word.isascii() and word.isdecimal() and int(word) > 0):
        raise argparse.ArgumentTypeError(f"must be an integer above 0, got {word!r}")
    return int(word)


def header(word: str) -> tuple[str, str]:
    """Parse `Name: value`."""
    name, colon, value = word.partition(":")
    if not colon or not TOKEN.fullmatch(name.strip()) or not value.isprintable():
        raise argparse.ArgumentTypeError(f"must be 'Name: value', got {word!r}")
    return name.strip(), value.strip()


def method(word: str) -> str:
    """Parse an HTTP method such as POST."""
    if not (word.isascii() and word.isalpha()):
        raise argparse.ArgumentTypeError(f"must be a word such as POST, got {word!r}")
    return word.upper()


def processes(word: str) -> int:
    """Parse a number of processes; return 0 for `auto`."""
    count = 0 if word == "auto" else positive_int(word)
    if count > MOST_PROCESSES:
        raise argparse.ArgumentTypeError(f"must be auto or an integer from 1 to {MOST_PROCESSES}, got {word!r}")
    return count


def host(word: str) -> str:
    """Parse the value of a Host header."""
    if not re.fullmatch(r"[!-~]+", word):
        raise argparse.ArgumentTypeError(f"must be a host name of visible ASCII characters, got {word!r}")
    return word


def endpoint(word: str) -> str:
    """Check that a word is a full URL, and return it."""
    try:
        parts = urlsplit(word)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and word.isprintable()
        request_url(word)
    except ValueError:
        usable = False
    if not usable:
        seen = masked_word(word)
        raise argparse.ArgumentTypeError(f"must be a URL such as http://127.0.0.1:8001/predict, got {seen!r}")
    return word


def add_target(parser: argparse.ArgumentParser) -> None:
    """Add the flags that set what is sent and where."""
    add = parser.add_argument
    add("url", type=endpoint, metavar="URL", help="endpoint to which each image is sent, as a full URL")
    add(
        "--images",
        type=Path,
        default=Path("samples"),
        metavar="PATH",
        help="PNG, JPG or JPEG file, or a folder of them with its subfolders, to send in turn; default: %(default)s",
    )
    add(
        "--protocol",
        choices=tuple(PROTOCOLS),
        default="multipart",
        help="how an image is encoded in a request; default: %(default)s",
    )
    add(
        "--timeout-s",
        type=positive_number,
        default=30.0,
        metavar="S",
        help="longest time to wait for a response, in seconds; default: %(default)s",
    )
    add("--method", type=method, default="POST", metavar="VERB", help="HTTP method; default: %(default)s")
    add(
        "--poll-s",
        type=positive_number,
        default=0.1,
        metavar="S",
        help="time between two polls for a result with --protocol async, in seconds; default: %(default)s",
    )
    add("--cacert", type=Path, metavar="FILE", help="trust only the certificates in this PEM file")
    add("--insecure", action="store_true", help="accept any certificate")
    add(
        "--key",
        metavar="KEY",
        default=os.environ.get("LOADGEN_KEY"),
        help="API key to send as a bearer token; default: the environment variable LOADGEN_KEY",
    )
    add("--host", type=host, metavar="NAME", help="value of the Host header, for a Knative route reached by IP address")
    add("--header", type=header, action="append", default=[], metavar="'K: V'", help="extra header; repeatable")


def add_arrivals(parser: argparse.ArgumentParser) -> None:
    """Add the flags that set when requests are sent and which runs are valid."""
    add = parser.add_argument
    add(
        "--mode",
        choices=(*MODES, RECORDED),
        help="how requests are spread over each second: count (the exact number, at random times), poisson (a random "
        "number with that mean), even (equal gaps), burst (all at once), recorded (the times of a trace); default: "
        "recorded for a trace that has times, otherwise count",
    )
    add(
        "--processes",
        type=processes,
        default=0,
        metavar="N",
        help="number of sender processes, or auto: one for each 2500 requests per second, up to the number of cores; "
        "default: auto",
    )
    add("--seed", type=non_negative_int, default=0, help="random seed of the arrival times; default: %(default)s")
    add_judgement(parser)


def add_judgement(parser: argparse.ArgumentParser) -> None:
    """Add the flags that set which requests are late and which runs are invalid."""
    add = parser.add_argument
    add(
        "--slo-s",
        type=positive_number,
        default=0.5,
        metavar="S",
        help="latency above which a response is late, in seconds; default: %(default)s",
    )
    add(
        "--max-lag-ms",
        type=positive_number,
        default=5.0,
        metavar="MS",
        help="highest p99 send lag of a valid run, in milliseconds; default: %(default)s",
    )


def target(args: argparse.Namespace) -> Target:
    """Return the target that the flags of add_target describe.

    Raises InputError if they contain two sets of credentials, or a key that no header can carry.
    """
    key = _key(args.key)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    headers |= dict(args.header) | ({"Host": args.host} if args.host else {})
    if urlsplit(args.url).username and any(name.lower() == "authorization" for name in headers):
        raise InputError("only one set of credentials can be sent, got a user in the URL and --key or Authorization")
    return Target(
        url=args.url,
        headers=headers,
        timeout_s=args.timeout_s,
        protocol=args.protocol,
        method=args.method,
        cacert=args.cacert,
        insecure=args.insecure,
        poll_s=args.poll_s,
    )


def _key(word: str | None) -> str:
    """Return the key without the white space around it, such as the line end of the file that it came from."""
    key = (word or "").strip()
    bad = next((place for place, char in enumerate(key, start=1) if not "!" <= char <= "~"), 0)
    if bad:  # the key is secret, so the error names only the place
        raise InputError(f"--key (LOADGEN_KEY) must be visible ASCII characters, got another one at position {bad}")
    return key


def note_proxies(url: str) -> None:
    """Say on standard error that a proxy of the environment is not used, without its value, which may be secret."""
    found = [name for name in PROXY_VARIABLES if os.environ.get(name) or os.environ.get(name.upper())]
    if found:
        complain(f"{' and '.join(found)} is ignored: requests go to {urlsplit(url).hostname} itself")


def sender_processes(args: argparse.Namespace, peak_rps: float) -> int:
    """Return --processes, or as many as the busiest second needs, up to the number of cores."""
    cores = len(os.sched_getaffinity(0))
    return int(args.processes or max(1, min(cores, math.ceil(peak_rps / RPS_PER_PROCESS))))


def load_bodies(args: argparse.Namespace) -> tuple[Body, ...]:
    """Return every image of --images, encoded for --protocol; report unreadable files on stderr.

    Raises InputError if no image can be read.
    """
    images = load_images(args.images, complain)
    return tuple(PROTOCOLS[args.protocol].encode(image) for image in images)


def input_files(args: argparse.Namespace) -> tuple[Path, ...]:
    """Return the files that the flags of add_target name, which no output may overwrite."""
    return tuple(path for path in (args.images, args.cacert) if path)
