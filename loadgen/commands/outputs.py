"""Judges a run and writes its reports; flags that several commands share."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from loadgen.analysis.columns import columns
from loadgen.analysis.findings import Finding
from loadgen.analysis.gates import Gate, GateError, Verdict, check, parse_gate
from loadgen.analysis.runs import Run
from loadgen.analysis.summary import Summary, summarise
from loadgen.commands.output_files import check_files, output_file, show, write_file
from loadgen.errors import INTERRUPTED, INVALID, OK, SLO_MISSED, exit_code
from loadgen.records import Failure
from loadgen.reports import k6, vegeta
from loadgen.reports.csv_rows import as_csv
from loadgen.reports.strict_json import strict_json
from loadgen.reports.text import document, text


@dataclass(frozen=True, slots=True)
class Judged:
    """A run with its summary and its verdicts; findings: results of the checks of a stress scenario."""

    run: Run
    summary: Summary
    verdicts: tuple[Verdict, ...]
    findings: tuple[Finding, ...] = ()

    @property
    def exit_code(self) -> int:
        """Return 130 for an interrupted run, 3 for an invalid one, 1 if an SLO or a check was missed, otherwise 0."""
        interrupted = any(one.failure is Failure.INTERRUPTED for one in self.run.records)
        missed = not (all(one.held for one in self.verdicts) and all(one.held for one in self.findings))
        invalid = INTERRUPTED if interrupted else INVALID
        return exit_code([SLO_MISSED if missed else OK, invalid if self.summary.invalid else OK])


def gate(word: str) -> Gate:
    """Parse an SLO for argparse."""
    try:
        return parse_gate(word)
    except GateError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_gates(parser: argparse.ArgumentParser, required: bool = False) -> None:
    """Add --slo."""
    parser.add_argument(
        "--slo",
        type=gate,
        action="append",
        default=[],
        required=required,
        metavar="SLO",
        help="objective such as 'p95<0.5s', 'errors<0.1%%', 'late<1%%' or 'throughput>100/s'; repeatable; exit code 1 "
        "if one is missed",
    )


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each output format."""
    for name, output in OUTPUT_FORMATS.items():
        parser.add_argument(f"--{name}", type=output_file, metavar="OUT", help=output.about)


def check_outputs(args: argparse.Namespace, *inputs: Path) -> None:
    """Raise InputError if an output file cannot be written, so that the error comes before the run, not after it."""
    check_files({f"--{name}": _path(args, name) for name in OUTPUT_FORMATS}, inputs)


def judge(run: Run, gates: Sequence[Gate]) -> Judged:
    """Summarise a run and check its SLOs."""
    summary = summarise(run.records, run.settings.slo_s, run.settings.max_lag_ms)
    return Judged(run, summary, check(gates, columns(run.records), run.settings))


def write_outputs(args: argparse.Namespace, judged: Judged) -> int:
    """Write the requested files, each apart, and print the text report and the findings.

    Returns 0, or 2 if one of them failed.
    """
    codes = [
        write_file(f"--{name}", path, partial(output.render, judged))
        for name, output in OUTPUT_FORMATS.items()
        if (path := _path(args, name))
    ]
    lines = (text(judged.run, judged.summary, judged.verdicts), *(one.line for one in judged.findings))
    return exit_code([*codes, show("\n".join(lines))])


def _path(args: argparse.Namespace, name: str) -> Path | None:
    path: Path | None = getattr(args, name.replace("-", "_"))
    return path


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """A file format for runs; about: help text of its flag."""

    about: str
    render: Callable[[Judged], str]


def _json(judged: Judged) -> str:
    return strict_json(document(judged.run, judged.summary))


def _html(judged: Judged) -> str:
    from loadgen.reports.run_page import ConditionLine, page  # noqa: PLC0415  matplotlib takes half a second to import

    conditions = [ConditionLine(one.held, one.line) for one in judged.verdicts]
    conditions += [ConditionLine(one.held, one.text) for one in judged.findings]
    return page(judged.run, judged.summary, conditions)


def _k6(render: Callable[[Run, Sequence[Verdict], Sequence[str]], Mapping[str, object]]) -> Callable[[Judged], str]:
    return lambda judged: strict_json(render(judged.run, judged.verdicts, judged.summary.invalid), indent=1)


OUTPUT_FORMATS = {
    "json": OutputFormat("write every request and the summary to this file, the input of `report` and `diff`", _json),
    "csv": OutputFormat("write every request as a row to this file", lambda judged: as_csv(judged.run)),
    "vegeta-results": OutputFormat(
        "write every request in vegeta's encoding to this file, the input of `vegeta report` and `vegeta plot`",
        lambda judged: "".join(f"{line}\n" for line in vegeta.results(judged.run)),
    ),
    "vegeta-json": OutputFormat(
        "write the output of `vegeta report -type=json` to this file",
        lambda judged: strict_json(vegeta.report(judged.run)),
    ),
    "k6-summary": OutputFormat("write the data that k6 passes to handleSummary() to this file", _k6(k6.summary_data)),
    "k6-summary-export": OutputFormat("write the output of k6's --summary-export to this file", _k6(k6.summary_export)),
    "html": OutputFormat("write a page with plots to this file", _html),
}
