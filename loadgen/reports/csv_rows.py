"""Every request as a row of CSV."""

import csv
import io
import math

from loadgen.analysis.runs import COLUMNS, Run
from loadgen.records import Record

HEADINGS = (*COLUMNS, "good", "latency_s", "from_sent_s", "lag_s")


def as_csv(run: Run) -> str:
    """Return a row for each planned request, in the order of the plan; unknown times are empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADINGS)
    for record in run.records:
        writer.writerow(_cell(value) for value in (*(getattr(record, name) for name in COLUMNS), *_derived(record)))
    return out.getvalue()


def _derived(record: Record) -> tuple[object, ...]:
    return (
        int(record.good),
        _between(record.intended_s, record.done_s),
        _between(record.sent_s, record.done_s),
        _between(record.intended_s, record.sent_s),
    )


def _between(began_s: float | None, ended_s: float | None) -> float | None:
    return None if began_s is None or ended_s is None else ended_s - began_s


def _cell(value: object) -> object:
    """Format a value; times are rounded to microseconds, which is finer than any clock used here."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.6f}" if isinstance(value, float) else value
