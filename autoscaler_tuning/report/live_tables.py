"""Tables of a live comparison: medians of the valid runs, and the simulator's prediction beside each run."""

from collections.abc import Sequence
from math import isnan

from autoscaler_tuning.experiments.live_summary import LiveMedians, LiveRow, MedianRange, error_ratio
from autoscaler_tuning.report.tables import NONE, Table, figure

MEDIANS_TITLE = "Medians of the valid runs, with the least and the most (of all runs where none is valid)"
PREDICTED_TITLE = "The simulator's prediction beside each run"
MEDIANS_HEADINGS = (
    *("policy", "path", "runs", "late %", "from–to", "after start %", "lost", "p50 s", "p99 s", "from–to"),
    *("pod-s", "from–to", "starts", "start s", "new revisions"),
)
PREDICTED_HEADINGS = (
    *(
        "policy",
        "run",
        "late %",
        "simulated",
        "error",
        "p99 s",
        "simulated",
        "error %",
        "pod-s",
        "simulated",
        "error %",
    ),
)


def live_tables(rows: Sequence[LiveRow], lines: Sequence[LiveMedians]) -> dict[str, Table]:
    """Return the tables by their titles; that of the predictions only if there are any."""
    tables = {MEDIANS_TITLE: medians_table(lines)}
    if any(row.predicted for row in rows):
        tables[PREDICTED_TITLE] = predicted_table(rows)
    return tables


def medians_table(lines: Sequence[LiveMedians]) -> Table:
    """Return a table with one line for each policy."""
    return Table(MEDIANS_HEADINGS, tuple(map(_medians_cells, lines)), text_headings=frozenset({"path"}))


def predicted_table(rows: Sequence[LiveRow]) -> Table:
    """Return a table with one line for each run; the error of late % is in points, the others relative to the run."""
    return Table(PREDICTED_HEADINGS, tuple(map(_predicted_cells, rows)))


def _medians_cells(line: LiveMedians) -> tuple[str, ...]:
    runs = str(line.runs) if line.valid_runs == line.runs else f"{line.valid_runs} of {line.runs} valid"
    late, p99_s, cost = line.late_ratio, line.p99_s, line.pod_seconds
    return (
        *(line.policy, " ".join(line.path), runs, figure(100 * late.median, 2), _range(late, 2, 100)),
        *(figure(100 * line.late_after_start_ratio.median, 2), str(line.lost), figure(line.p50_s.median, 3)),
        *(figure(p99_s.median, 3), _range(p99_s, 3), figure(cost.median), _range(cost)),
        *(figure(line.cold_starts.median), figure(line.start_s.median, 1), str(line.new_revisions)),
    )


def _predicted_cells(row: LiveRow) -> tuple[str, ...]:
    first = (row.policy, f"{row.run + 1}" if row.valid else f"{row.run + 1} INVALID")
    late, p99_s, cost = figure(100 * row.late_ratio, 2), figure(row.p99_s, 3), figure(row.pod_seconds)
    if (found := row.predicted) is None:
        return (*first, late, NONE, NONE, p99_s, NONE, NONE, cost, NONE, NONE)
    return (
        *(*first, late, figure(100 * found.late_ratio, 2), f"{100 * (found.late_ratio - row.late_ratio):+.2f}"),
        *(p99_s, figure(found.p99_s, 3), _percent(found.p99_s, row.p99_s)),
        *(cost, figure(found.pod_seconds), _percent(found.pod_seconds, row.pod_seconds)),
    )


def _range(spread: MedianRange, digits: int = 0, factor: float = 1) -> str:
    if isnan(spread.median):
        return NONE
    return f"{figure(factor * spread.least, digits)}–{figure(factor * spread.most, digits)}"


def _percent(simulated: float, live: float) -> str:
    error = error_ratio(simulated, live)
    return NONE if isnan(error) else f"{100 * error:+.1f}"
