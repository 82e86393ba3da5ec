"""`conformance`: the ports of KPA and HPA against vectors of the real ones."""

import argparse
from collections.abc import Mapping
from pathlib import Path

from autoscaler_tuning.validation import conformance


def add(parser: argparse.ArgumentParser, env: Mapping[str, str]) -> None:
    """Its flags."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="vectors, .json.gz")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    agreed = True
    for path in args.files:
        for line, agrees in conformance.lines(path):
            print(line)
            agreed = agreed and agrees
    return 0 if agreed else 1
