"""What a run is judged by and written to: flags that several commands share, and what they do."""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from loadgen.analysis.columns import columns
from loadgen.analysis.findings import Finding
from loadgen.analysis.gates import Gate, GateError, Verdict, check, parse_gate
from loadgen.analysis.runs import Run
from loadgen.analysis.summary import Summary, summarise
from loadgen.errors import INVALID, OK, SLO_MISSED, InputError, exit_code
from loadgen.reports import k6, vegeta
from loadgen.reports.csv_rows import as_csv
from loadgen.reports.text import document, text


@dataclass(frozen=True, slots=True)
class Judged:
    """A run and what is said of it; findings: of a stress scenario."""

    run: Run
    summary: Summary
    verdicts: tuple[Verdict, ...]
    findings: tuple[Finding, ...] = ()

    @property
    def exit_code(self) -> int:
        """0, 1 for a missed SLO or a weakness found, 3 for a run that does not count."""
        missed = not (all(one.held for one in self.verdicts) and all(one.held for one in self.findings))
        return exit_code([SLO_MISSED if missed else OK, INVALID if self.summary.invalid else OK])


def gate(word: str) -> Gate:
    """For argparse."""
    try:
        return parse_gate(word)
    except GateError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_gates(parser: argparse.ArgumentParser, required: bool = False) -> None:
    """--slo."""
    parser.add_argument(
        "--slo",
        type=gate,
        action="append",
        default=[],
        required=required,
        metavar="SLO",
        help="'p95<0.5s', 'errors<0.1%%', 'late<1%%', 'throughput>100/s' and so on, repeatable; missed: exit 1",
    )


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """A flag for each shape."""
    for name, shape in SHAPES.items():
        parser.add_argument(f"--{name}", type=Path, metavar="OUT", help=f"write {shape.about}")


def check_outputs(args: argparse.Namespace) -> None:
    """Before the run rather than after it: raises InputError for a file that cannot be written."""
    for name in SHAPES:
        check_file(f"--{name}", _path(args, name))


def check_file(flag: str, path: Path | None) -> None:
    """Raises InputError if nothing can be written there."""
    if path and (not path.parent.is_dir() or path.is_dir()):
        raise InputError(f"{flag} must be a file in a folder that exists, was {path}")


def judge(run: Run, gates: Sequence[Gate]) -> Judged:
    """Summary and verdicts."""
    summary = summarise(run.records, run.asked.slo_s, run.asked.max_lag_ms)
    return Judged(run, summary, check(gates, columns(run.records), run.asked))


def tell(args: argparse.Namespace, judged: Judged) -> None:
    """Print the text report and what was found, and write every file that was asked for."""
    print("\n".join((text(judged.run, judged.summary, judged.verdicts), *(one.line for one in judged.findings))))
    for name, shape in SHAPES.items():
        if path := _path(args, name):
            path.write_text(shape.make(judged), encoding="utf-8")


def _path(args: argparse.Namespace, name: str) -> Path | None:
    path: Path | None = getattr(args, name.replace("-", "_"))
    return path


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of file that a run can be written to."""

    about: str
    make: Callable[[Judged], str]


def _json(judged: Judged) -> str:
    return json.dumps(document(judged.run, judged.summary))


def _html(judged: Judged) -> str:
    from loadgen.reports.run_page import Line, page  # noqa: PLC0415  matplotlib takes half a second, and few runs want a page

    lines = [Line(one.held, one.line) for one in judged.verdicts]
    lines += [Line(one.held, one.words) for one in judged.findings]
    return page(judged.run, judged.summary, lines)


def _k6(shape: Callable[[Run, Sequence[Verdict], Sequence[str]], Mapping[str, object]]) -> Callable[[Judged], str]:
    return lambda judged: json.dumps(shape(judged.run, judged.verdicts, judged.summary.invalid), indent=1)


SHAPES = {
    "json": Shape("every request and the summary, for `report` and `diff`", _json),
    "html": Shape("one page with plots", _html),
    "csv": Shape("every request as a row", lambda judged: as_csv(judged.run)),
    "vegeta-results": Shape(
        "every request as vegeta encodes it, for `vegeta report` and `vegeta plot`",
        lambda judged: "".join(f"{line}\n" for line in vegeta.results(judged.run)),
    ),
    "vegeta-json": Shape(
        "what `vegeta report -type=json` would print", lambda judged: json.dumps(vegeta.report(judged.run))
    ),
    "k6-summary": Shape("what k6 hands to handleSummary()", _k6(k6.summary_data)),
    "k6-summary-export": Shape("what k6's --summary-export would write", _k6(k6.summary_export)),
}
