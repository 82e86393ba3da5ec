"""The command line: parses, calls, prints."""

import argparse
import asyncio
import json
import math
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from loadgen.arrivals import MODES, Times, arrival_times
from loadgen.images import Body, ImagesError, load_images
from loadgen.progress import Progress
from loadgen.replay import Replay, replay
from loadgen.report import document, text, verbose_lines
from loadgen.results import Record
from loadgen.summary import Summary, summarise
from loadgen.transport import Transport
from loadgen.workload import Workload, WorkloadError, read_workload

OK, BAD_INPUT, INVALID, UNREACHABLE, INTERRUPTED = 0, 2, 3, 4, 130


class UnreachableError(Exception):
    """Nobody listens at the URL."""


def positive(word: str) -> float:
    """A finite number above 0."""
    value = float(word)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be above 0 and finite, was {word}")
    return value


def whole(word: str) -> int:
    """A whole number, 0 or more."""
    if not word.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number, 0 or more, was {word!r}")
    return int(word)


def header(word: str) -> tuple[str, str]:
    """`Name: value`."""
    name, colon, value = word.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError(f"must be 'Name: value', was {word!r}")
    return name.strip(), value.strip()


def endpoint(word: str) -> str:
    """A full URL."""
    parts = urlsplit(word)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise argparse.ArgumentTypeError(f"must be a URL such as http://127.0.0.1:8001/predict, was {word!r}")
    return word


def build_parser() -> argparse.ArgumentParser:
    """The flags."""
    parser = argparse.ArgumentParser(prog="loadgen", description="Replay a workload over HTTP, open loop.")
    add = parser.add_argument
    add("url", type=endpoint, help="where to POST each photograph, the full endpoint")
    add("--workload", type=Path, default=Path("workload.txt"), metavar="FILE", help="requests per second")
    add("--images", type=Path, default=Path("samples"), metavar="DIR", help="PNG, JPG and JPEG to send in turn")
    add("--json", type=Path, metavar="OUT", help="write every request and the summary here")
    add("--scale", type=positive, default=1.0, metavar="FACTOR", help="factor on the rates")
    add("--from-s", type=whole, default=0, metavar="SECOND", help="begin at this second of the workload")
    add("--seconds", type=whole, metavar="N", help="replay only so many")
    add("--repeat", type=whole, default=1, metavar="N", help="replay it so often")
    add("--mode", choices=tuple(MODES), default="count", help="how requests fall within a second")
    add("--seed", type=whole, default=0, help="of the arrival times")
    add("--timeout-s", type=positive, default=30.0, metavar="S", help="an answer later than this is an error")
    add("--slo-s", type=positive, default=0.5, metavar="S", help="an answer later than this is late")
    add(
        "--max-lag-ms",
        type=positive,
        default=5.0,
        metavar="MS",
        help="a run whose p99 send lag is over this is invalid",
    )
    add("--host", metavar="NAME", help="Host header, for a Knative route reached by address")
    add("--header", type=header, action="append", default=[], metavar="'K: V'", help="another header; repeatable")
    add("--verbose", action="store_true", help="a line for each answer")
    add("--quiet", action="store_true", help="no progress")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """0; 2 bad input; 3 a run that does not count; 4 nobody listens; 130 interrupted (what there is is written)."""
    args = build_parser().parse_args(argv)
    try:
        workload = read_workload(args.workload).part(args.from_s, args.seconds).scaled(args.scale)
        workload = Workload(workload.counts * max(1, args.repeat))
        bodies = load_images(args.images, lambda line: print(f"loadgen: {line}", file=sys.stderr))
        if args.json and not args.json.parent.is_dir():
            raise ImagesError(f"--json must lie in a folder that exists, {args.json.parent} is none")
        check_reachable(args.url)
    except (OSError, WorkloadError, ImagesError) as error:
        print(f"loadgen: {error}", file=sys.stderr)
        return BAD_INPUT
    except UnreachableError as error:
        print(f"loadgen: {error}", file=sys.stderr)
        return UNREACHABLE
    times_s = arrival_times(workload.counts, args.mode, args.seed, args.from_s)
    replayed = asyncio.run(_run(args, times_s, bodies, float(workload.duration_s)))
    summary = summarise(replayed.records, args.slo_s, args.max_lag_ms)
    _write(args, replayed, summary, workload)
    if replayed.interrupted:
        return INTERRUPTED
    return INVALID if summary.invalid else OK


def check_reachable(url: str) -> None:
    """One connection before the start; raises UnreachableError."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=5).close()
    except OSError as error:
        raise UnreachableError(f"{parts.hostname}:{port} cannot be reached: {error}") from error


async def _run(args: argparse.Namespace, times_s: Times, bodies: Sequence[Body], duration_s: float) -> Replay:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    headers = dict(args.header) | ({"Host": args.host} if args.host else {})
    progress = Progress(sys.stderr, duration_s)

    def on_done(record: Record) -> None:
        progress.done(record)
        if args.verbose:
            print("\n".join(verbose_lines(record)))

    telling = None if args.quiet else asyncio.create_task(_tell(progress))
    try:
        return await replay(Transport(args.url, headers, args.timeout_s), times_s, bodies, stop, on_done)
    finally:
        if telling:
            telling.cancel()
        progress.end()


async def _tell(progress: Progress) -> None:
    began_s = asyncio.get_running_loop().time()
    while True:
        await asyncio.sleep(progress.every_s)
        progress.say(asyncio.get_running_loop().time() - began_s)


def _write(args: argparse.Namespace, replayed: Replay, summary: Summary, workload: Workload) -> None:
    print(text(summary, args.slo_s))
    if args.json:
        about = {"url": args.url, "workload": args.workload.name, "slo_s": args.slo_s, "scale": args.scale}
        plan = {
            "requests": summary.planned,
            "duration_s": workload.duration_s,
            "from_s": args.from_s,
            "mode": args.mode,
            "seed": args.seed,
        }
        args.json.write_text(json.dumps(document(replayed, summary, about, plan)), encoding="utf-8")
