"""Tables of a comparison: columns of text, for a terminal, for Markdown and for an HTML page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from math import isfinite, isnan
from typing import Any

from autoscaler_tuning.experiments.estimates import Estimate
from autoscaler_tuning.experiments.frontier import Point
from autoscaler_tuning.experiments.policy_summary import Paired, PolicySummary
from autoscaler_tuning.report.terminal_table import Column, render
from autoscaler_tuning.results import PolicyRow

LIVE_HEADINGS = (
    "policy",
    "target",
    "requests",
    "late %",
    "lost",
    "p50 s",
    "p95 s",
    "p99 s",
    "pod-s",
    "terminating",
    "starts",
)
SUMMARY_HEADINGS = (
    *("policy", "late %", "±", "lost", "p50 s", "p95 s", "p99 s", "pod-s", "±", "terminating", "starts", "react s"),
    *("LP bound", "MILP bound", "× bound", "per 1000"),
)
PAIRED_HEADINGS = ("against", "late ×", "95 %", "in seeds", "pod-s ×", "95 %", "in seeds")
FRONTIER_HEADINGS = ("policy", "knob", "value", "late %", "pod-s", "Pareto")
NOTES_HEADING = "notes"
# The text of a cell without a figure.
NONE = "–"


@dataclass(frozen=True, slots=True)
class Table:
    """Cells as text, by line.

    notes: notes[i] are the notes on line i; empty if there are none at all.
    text_headings: columns of words, which are aligned to the left; the first column always is.
    """

    headings: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    notes: tuple[tuple[str, ...], ...] = ()
    text_headings: frozenset[str] = frozenset()

    def text(self, width: int | None = None) -> str:
        """Return the table for a terminal of this width; if width is None, with each row on one line.

        On a narrow terminal words are folded, numbers never are, and columns that do not fit follow in further tables.
        """
        first, *others = zip(self.headings, *self.lines, strict=True)
        columns = [Column(first, is_text=True)]
        columns += [Column(cells, is_text=cells[0] in self.text_headings) for cells in others]
        if any(self.notes):
            separator = "; " if width is None else "\n"
            columns.append(Column((NOTES_HEADING, *map(separator.join, self.notes)), is_text=True))
        return render(columns, width)

    def without_empty_columns(self) -> "Table":
        """Return the table without the columns that have no figure in any line."""
        columns = zip(self.headings, *self.lines, strict=True)
        kept = [column for column in columns if set(column[1:]) != {NONE}]
        headings, *lines = zip(*kept, strict=True)
        return Table(headings, tuple(lines), self.notes, self.text_headings)

    def markdown(self) -> str:
        """Return the table for a page of the documentation, without its notes."""
        left = [True, *(heading in self.text_headings for heading in self.headings[1:])]
        rule = ["---" if is_left else "---:" for is_left in left]
        return "\n".join("| " + " | ".join(line) + " |" for line in (self.headings, rule, *self.lines))


def rows_table(rows: Sequence[PolicyRow]) -> Table:
    """Return a table with one line for each row."""
    lines = tuple(row_cells(row) for row in rows)
    return Table(LIVE_HEADINGS, lines, tuple(row.notes for row in rows), frozenset({"target"}))


def row_cells(row: PolicyRow) -> tuple[str, ...]:
    """Return the cells of a row, in the order of LIVE_HEADINGS."""
    times = (figure(value, 3) for value in (row.p50_s, row.p95_s, row.p99_s))
    return (
        *(row.policy, row.target, str(row.requests), figure(100 * row.late_ratio, 2), str(row.lost), *times),
        *(figure(row.pod_seconds), figure(row.terminating_pod_seconds), str(row.cold_starts)),
    )


def summary_table(lines: Sequence[PolicySummary]) -> Table:
    """Return a table with one line for each policy."""
    table = Table(SUMMARY_HEADINGS, tuple(map(_summary_cells, lines)), tuple(line.notes for line in lines))
    return table.without_empty_columns()


def _summary_cells(line: PolicySummary) -> tuple[str, ...]:
    late, cost = line.late_ratio, line.pod_seconds
    return (
        *(line.policy, figure(100 * late.value, 3), figure(100 * _half(late), 3), str(line.lost)),
        *(figure(value, 3) for value in (line.p50_s, line.p95_s, line.p99_s)),
        *(figure(cost.value), figure(_half(cost)), figure(line.terminating_pod_seconds), figure(line.cold_starts, 1)),
        *(figure(line.reaction_s, 1), figure(line.lp_bound_pod_seconds), figure(line.milp_bound_pod_seconds)),
        *(figure(line.ratio_to_bound, 2), figure(line.cost_per_1000_in_slo, 5)),
    )


def paired_table(pairs: Sequence[Paired]) -> Table:
    """Return a table of one policy compared with each of the others."""
    return Table(PAIRED_HEADINGS, tuple(map(_paired_cells, pairs)))


def _paired_cells(pair: Paired) -> tuple[str, ...]:
    return (
        *(pair.theirs, figure(pair.late.value, 3), interval(pair.late, 3), f"{pair.fewer_late} of {pair.seeds}"),
        *(figure(pair.pod_seconds.value, 3), interval(pair.pod_seconds, 3), f"{pair.cheaper} of {pair.seeds}"),
    )


def frontier_table(frontiers: Mapping[str, Sequence[Point]]) -> Table:
    """Return a table with one line for each setting.

    A setting is marked as dominated if another one of the same policy is better on one figure and no worse on the
    other.
    """
    lines = tuple(_frontier_cells(policy, point) for policy, points in frontiers.items() for point in points)
    return Table(FRONTIER_HEADINGS, lines, text_headings=frozenset({"knob", "Pareto"}))


def _frontier_cells(policy: str, point: Point) -> tuple[str, ...]:
    figures = (f"{point.value:g}", figure(100 * point.late_ratio, 3), figure(point.pod_seconds))
    return (policy, point.knob, *figures, "" if point.efficient else "dominated")


def figure(value: float, digits: int = 0) -> str:
    """Return a number as the text of a cell; NONE for nan."""
    if isnan(value):
        return NONE
    return f"{value:.{digits}f}" if isfinite(value) else "∞"


def _half(estimate: Estimate) -> float:
    return estimate.high - estimate.value


def interval(estimate: Estimate, digits: int) -> str:
    """Return a confidence interval as the text of a cell; NONE if there is none."""
    if isnan(estimate.low):
        return NONE
    return f"{figure(estimate.low, digits)}–{figure(estimate.high, digits)}"


def rows_as_dicts(rows: Sequence[PolicyRow]) -> list[dict[str, Any]]:
    """Return the rows as plain data for JSON and CSV."""
    return [{f.name: plain(getattr(row, f.name)) for f in fields(PolicyRow)} for row in rows]


def plain(value: Any) -> Any:
    """Return a value for JSON, in which None replaces nan and infinity at any depth: JSON has neither."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value
