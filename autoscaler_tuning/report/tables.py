"""Tables of a comparison: columns of text, written out for a terminal, for Markdown and for a page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from math import isfinite, isnan
from typing import Any

from autoscaler_tuning.experiments.estimates import Estimate
from autoscaler_tuning.experiments.frontier import Point
from autoscaler_tuning.experiments.policy_summary import Paired, PolicySummary
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
    "ending",
    "starts",
)
SUMMARY_HEADINGS = (
    *("policy", "late %", "±", "lost", "p50 s", "p95 s", "p99 s", "pod-s", "±", "ending", "starts", "react s"),
    *("LP bound", "MILP bound", "× bound", "per 1000"),
)
PAIRED_HEADINGS = ("against", "late ×", "95 %", "in seeds", "pod-s ×", "95 %", "in seeds")
# A cell without a figure.
NONE = "–"
FRONTIER_HEADINGS = ("policy", "knob", "value", "late %", "pod-s", "")


@dataclass(frozen=True, slots=True)
class Table:
    """Cells as text, the first column to the left; notes[i] are the lines below line i."""

    headings: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    notes: tuple[tuple[str, ...], ...] = ()

    def text(self) -> str:
        """For a terminal."""
        widths = [max(map(len, column)) for column in zip(self.headings, *self.lines, strict=True)]
        head, *lines = (_aligned(line, widths) for line in (self.headings, *self.lines))
        out = [head, "-" * len(head)]
        for index, line in enumerate(lines):
            out.append(line)
            out += [f"{'':{widths[0]}}  ^ {note}" for note in (self.notes[index] if self.notes else ())]
        return "\n".join(out)

    def without_empty_columns(self) -> "Table":
        """The same without the columns in which no line has a figure."""
        columns = [(head, *cells) for head, *cells in zip(self.headings, *self.lines, strict=True)]
        kept = [column for column in columns if set(column[1:]) != {NONE}]
        headings, *lines = zip(*kept, strict=True)
        return Table(headings, tuple(lines), self.notes)

    def markdown(self) -> str:
        """For a page of the documentation."""
        rule = ["---", *["---:"] * (len(self.headings) - 1)]
        return "\n".join("| " + " | ".join(line) + " |" for line in (self.headings, rule, *self.lines))


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]).rstrip()


def text_table(rows: Sequence[PolicyRow]) -> str:
    """Each row on a line of its own, with its notes."""
    return rows_table(rows).text()


def rows_table(rows: Sequence[PolicyRow]) -> Table:
    """A line a row."""
    return Table(LIVE_HEADINGS, tuple(row_cells(row) for row in rows), tuple(row.notes for row in rows))


def row_cells(row: PolicyRow) -> tuple[str, ...]:
    """By LIVE_HEADINGS."""
    times = (figure(value, 3) for value in (row.p50_s, row.p95_s, row.p99_s))
    return (
        *(row.policy, row.target, str(row.requests), figure(100 * row.late_ratio, 2), str(row.lost), *times),
        *(figure(row.pod_seconds), figure(row.terminating_pod_seconds), str(row.cold_starts)),
    )


def summary_table(lines: Sequence[PolicySummary]) -> Table:
    """A line a policy."""
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
    """Ours against each other policy."""
    return Table(PAIRED_HEADINGS, tuple(map(_paired_cells, pairs)))


def _paired_cells(pair: Paired) -> tuple[str, ...]:
    return (
        *(pair.theirs, figure(pair.late.value, 3), _interval(pair.late, 3), f"{pair.fewer_late} of {pair.seeds}"),
        *(figure(pair.pod_seconds.value, 3), _interval(pair.pod_seconds, 3), f"{pair.cheaper} of {pair.seeds}"),
    )


def frontier_table(frontiers: Mapping[str, Sequence[Point]]) -> Table:
    """A line a setting; those that another setting of the same policy beats on both figures are marked."""
    lines = [_frontier_cells(policy, point) for policy, points in frontiers.items() for point in points]
    return Table(FRONTIER_HEADINGS, tuple(lines))


def _frontier_cells(policy: str, point: Point) -> tuple[str, ...]:
    figures = (f"{point.value:g}", figure(100 * point.late_ratio, 3), figure(point.pod_seconds))
    return (policy, point.knob, *figures, "" if point.efficient else "beaten")


def figure(value: float, digits: int = 0) -> str:
    """A number for a cell; a dash where there is none."""
    if isnan(value):
        return NONE
    return f"{value:.{digits}f}" if isfinite(value) else "∞"


def _half(estimate: Estimate) -> float:
    return estimate.high - estimate.value


def _interval(estimate: Estimate, digits: int) -> str:
    if isnan(estimate.low):
        return NONE
    return f"{figure(estimate.low, digits)}–{figure(estimate.high, digits)}"


def rows_as_dicts(rows: Sequence[PolicyRow]) -> list[dict[str, Any]]:
    """For JSON and CSV."""
    return [{f.name: plain(getattr(row, f.name)) for f in fields(PolicyRow)} for row in rows]


def plain(value: Any) -> Any:
    """The same for JSON, which knows neither nan nor infinity: None stands for them, however deep."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value
