"""`trace`: converts a public trace to a file of requests per second, which every command takes as workload."""

import argparse
from collections.abc import Mapping
from pathlib import Path

from autoscaler_tuning.commands.flags import Flags, output_file, positive_number
from loadgen.workload.public_traces import FORMATS, public_counts
from loadgen.workload.workload import Workload

A_LINE = 60


def add(parser: argparse.ArgumentParser, env: Mapping[str, str]) -> None:
    """Add the flags of `trace`."""
    flags = Flags(parser, env)
    parser.add_argument("format", type=trace_format, metavar="FORMAT", help=f"one of {', '.join(FORMATS)}")
    following = " and ".join(name for name, one in FORMATS.items() if one.own_clock)
    about = f"files of one trace, plain or gzipped; those of {following} follow one another in this order"
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help=about)
    parser.add_argument("--output", type=output_file, required=True, metavar="FILE", help="file to write")
    flags.add("--only", str, None, "keep only this function or app, by its hash")
    flags.add("--scale", positive_number, 1.0, "factor on the rates")
    parser.epilog = "\n".join(["formats:", *(f"  {name:22}{one.about}" for name, one in FORMATS.items())])
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    counts = Workload(public_counts(args.format, args.files, args.only)).scaled(args.scale).counts
    names = ", ".join(path.name for path in args.files)
    lines = [f"# {args.format}: {names}" + (f", {args.only} only" if args.only else "") + f", scale {args.scale:g}"]
    lines += [" ".join(map(str, counts[at : at + A_LINE])) for at in range(0, len(counts), A_LINE)]
    args.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{args.output}: {sum(counts)} requests in {len(counts)} s, at most {max(counts)} in one second")
    return 0


def trace_format(text: str) -> str:
    """Parse the name of a format."""
    if text not in FORMATS:
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(FORMATS)}, got {text!r}")
    return text
