"""`conformance`: checks the KPA and HPA implementations against test vectors of the originals."""

import argparse
from collections.abc import Mapping
from pathlib import Path

from autoscaler_tuning.validation import conformance


def add(parser: argparse.ArgumentParser, env: Mapping[str, str]) -> None:
    """Add the flags of `conformance`."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="test vectors, .json.gz")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    agreed = True
    for path in args.files:
        for line, agrees in conformance.lines(path):
            print(line)
            agreed = agreed and agrees
    return 0 if agreed else 1
