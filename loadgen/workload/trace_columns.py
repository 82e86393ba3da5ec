"""Which columns of a CSV file hold the times and the counts, and in which unit: by name, or not at all.

A file that fits two readings is refused with the likely one, because a wrong guess would send another workload.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite

from loadgen.errors import WorkloadError

UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
# The first name of this list that is in the header counts.
TIME_NAMES = (
    "timestamp", "time", "ts", "datetime", "date_time", "date", "start_time", "start", "arrival", "arrived_at",
    "arrival_time", "arrival_timestamp", "arrival_ts", "start_timestamp", "request_time", "request_timestamp",
    "event_time", "invocation_time", "created_at", "epoch", "unix_time", "unix_timestamp", "minute", "second",
)  # fmt: skip
COUNT_NAMES = (
    "count", "counts", "requests", "request_count", "requests_count", "num_requests", "n_requests", "req_count", "reqs",
    "number_of_requests", "hits", "calls", "invocations", "invocation_count", "num_invocations", "arrivals",
    "requests_per_minute", "size",
)  # fmt: skip
RATE_NAMES = ("rps", "qps", "rate", "req_s", "requests_per_second", "arrival_rate", "rate_rps")
_UNIT_SUFFIXES = {
    "s": "s", "sec": "s", "secs": "s", "second": "s", "seconds": "s", "ms": "ms", "msec": "ms", "millis": "ms",
    "milliseconds": "ms", "us": "us", "usec": "us", "micros": "us", "microseconds": "us", "ns": "ns", "nsec": "ns",
    "nanos": "ns", "nanoseconds": "ns",
}  # fmt: skip
# Numbers from here on are no seconds since 1970: as such they would be a date after the year 5000.
LEAST_IMPOSSIBLE_S = 1e11
_MINUTE = re.compile(r"(minute|min|m)?_?(\d+)")


@dataclass(frozen=True, slots=True)
class CsvTable:
    """The beginning of a file; names: its header, or none if the first row is data. sample: the first rows of data."""

    name: str
    names: tuple[str, ...]
    sample: tuple[Sequence[str], ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """Return the names in lower case, with `_` for all that is neither a letter nor a digit."""
        return tuple(key_of(name) for name in self.names)

    def label(self, column: int) -> str:
        """Return how the options name a column: by its name, or without a header by its number, from 1."""
        return self.names[column] if self.names else str(column + 1)


def key_of(name: str) -> str:
    """Return a column's name for comparisons: `Arrival Time [ms]` is arrival_time_ms."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def has_header(first: Sequence[str]) -> bool:
    """Return whether a first row names columns: one is known, the first is empty (pandas' index), or none is a time."""
    keys = [key_of(cell) for cell in first]
    known = (*TIME_NAMES, *COUNT_NAMES, *RATE_NAMES, "hashfunction")
    return not first[0].strip() or any(base_of(key) in known for key in keys) or not any(map(is_time, first))


def base_of(key: str) -> str:
    """Return a key without the unit at its end."""
    base, _, suffix = key.rpartition("_")
    return base if base and suffix in _UNIT_SUFFIXES else key


def unit_of(key: str) -> str | None:
    """Return the unit at the end of a key, or None."""
    base, _, suffix = key.rpartition("_")
    return _UNIT_SUFFIXES.get(suffix) if base else None


def minute_columns(table: CsvTable) -> dict[int, int]:
    """Return the minute (from 0) of each column that has the counts of one; empty if the file has no such columns."""
    found = {column: match for column, key in enumerate(table.keys) if (match := _MINUTE.fullmatch(key))}
    if "hashfunction" not in table.keys:
        found = {column: match for column, match in found.items() if match[1]}
        if len(found) < 2:
            return {}
    elif not found:
        raise WorkloadError(
            f"{table.name}, line 1: a file with HashFunction must have columns 1, 2, ... or minute_1, minute_2, ... "
            f"with the counts of each minute, got {', '.join(table.names)[:200]}"
        )
    first = min(int(match[2]) for match in found.values())
    return {column: int(match[2]) - first for column, match in found.items()}


def named_column(table: CsvTable, option: str, wanted: str) -> int:
    """Return the column of that name, or without a header of that number; raise WorkloadError if there is not one."""
    count = len(table.names) or max(map(len, table.sample), default=0)
    labels = [table.label(column) for column in range(count)]
    if labels.count(wanted) != 1:
        raise WorkloadError(f"{table.name}, line 1: {option} must be one of {', '.join(labels)[:200]}, got {wanted!r}")
    return labels.index(wanted)


def count_column(table: CsvTable, wanted: str | None) -> int | None:
    """Return the column with the requests of each interval, or None if each row is a request."""
    if wanted is not None:
        return None if wanted == "none" else named_column(table, "count", wanted)
    found = [column for column, key in enumerate(table.keys) if key in (*COUNT_NAMES, *RATE_NAMES)]
    if not found and len(table.names) == 2 and table.names[1].strip() == "0":  # pandas: a Series without a name
        return 1
    if len(found) > 1:
        raise WorkloadError(_ambiguous(table, found, "count", "the counts"))
    return found[0] if found else None


def time_column(table: CsvTable, wanted: str | None, counts: int | None) -> int:
    """Return the column with the times; counts: the column that has the counts instead."""
    if wanted is not None:
        return named_column(table, "column", wanted)
    bases = [base_of(key) for key in table.keys]
    known = next((name for name in TIME_NAMES if name in bases), None)
    if known is not None:
        found = [column for column, base in enumerate(bases) if base == known and column != counts]
    else:
        found = [column for column in _time_like(table) if column != counts]
    if len(found) != 1:
        raise WorkloadError(_ambiguous(table, found, "column", "the times"))
    return found[0]


def _time_like(table: CsvTable) -> list[int]:
    """Return the columns that hold times in all rows of the sample; numbers without a name are the index of pandas."""
    width = min([len(row) for row in table.sample] + [len(table.names) or len(table.sample[0])])
    columns = [column for column in range(width) if all(is_time(row[column]) for row in table.sample)]
    return [column for column in columns if not table.names or table.names[column] or ":" in table.sample[0][column]]


def _ambiguous(table: CsvTable, found: Sequence[int], option: str, what: str) -> str:
    """Return the error for a file in which no column, or more than one, may be meant; it names the likely one."""
    if not found:
        return f"{table.name}, line 1: a trace must have a column of times, got {', '.join(table.names)[:200]!r}"
    likely = min(found, key=lambda column: not re.search("time|date|arriv|start", key_of(table.label(column))))
    names = ", ".join(table.label(column) for column in found)
    return (
        f"{table.name}, line 1: {what} must be in one column, got {names[:200]}; "
        f"use csv:FILE,{option}={table.label(likely)} or another of them"
    )


def is_time(word: str) -> bool:
    """Return whether a cell is a number or a date and time."""
    try:
        return isfinite(seconds_of(word, 1.0))
    except (ValueError, OverflowError):
        return False


def seconds_of(word: str, factor: float) -> float:
    """Parse a number, times factor, or ISO 8601 as Unix time, in UTC without a time zone. Raises ValueError."""
    try:
        return float(word) * factor
    except ValueError:
        when = datetime.fromisoformat(word.strip())
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def likely_unit(value: float) -> str:
    """Return the unit in which a number is a time since 1970 that is near today."""
    return next(unit for unit, least in (("ns", 1e17), ("us", 1e14), ("ms", 0.0)) if abs(value) >= least)
