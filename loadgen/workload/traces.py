"""Traces: CSV files with a time for each request, or with a count for each minute, as Azure publishes them.

`calls.csv` is read by its header. `csv:calls.csv,column=when,unit=ms` adds what the header does not contain. Known
headers:
- Azure's LLM inference traces: TIMESTAMP, ContextTokens, GeneratedTokens.
- Azure Functions 2021: app, func, end_timestamp, duration. A request starts at end_timestamp - duration. The file is
  published as .txt; use `csv:FILE.txt`.
- Azure Functions 2019: HashFunction, ..., 1 to 1440. Counts per minute, which are spread evenly over the minute.
`only=VALUE` keeps the rows that contain VALUE in a column, such as the hash of a function.
Source: github.com/Azure/AzurePublicDataset.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import floor, isfinite
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from loadgen.errors import WorkloadError
from loadgen.workload.families import MOST_PER_SECOND, MOST_SECONDS

PREFIX = "csv:"
UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
TIME_COLUMNS = ("timestamp", "time", "ts", "datetime", "date", "start_time", "start", "arrival", "arrived_at")
KEYS = ("column", "unit", "only")


class _TraceRow(NamedTuple):
    """A row of the file with its line number."""

    number: int
    cells: Sequence[str]


@dataclass(frozen=True, slots=True)
class Trace:
    """A recorded workload; counts: requests in each second.

    times_s: time of each request since the first one; empty if the trace has only counts.
    """

    counts: tuple[int, ...]
    times_s: tuple[float, ...] = ()


def is_trace(source: str) -> bool:
    """Return whether the name is that of a CSV file."""
    return source.startswith(PREFIX) or source.lower().endswith(".csv")


def read_trace(source: str) -> Trace:
    """Read a trace; raise OSError if there is no such file, WorkloadError with the line number if it is not a trace."""
    path, options = _parsed(source)
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        rows = (_TraceRow(*line) for line in enumerate(csv.reader(file), start=1))
        try:
            first = next((row for row in rows if row.cells), None)
            if first is None:
                raise WorkloadError(f"{path}, line 1: expected a header or a time, got an empty file")
            header = [name.strip() for name in first.cells]
            selected = (row for row in rows if row.cells and options.get("only", row.cells[0]) in row.cells)
            if "HashFunction" in header:
                return _of_minutes(path, header, selected)
            times_s = _times(path, first, selected, options)
        except csv.Error as error:
            raise WorkloadError(f"{path}: expected CSV: {error}") from error
    return _of_times(path, times_s)


def _parsed(source: str) -> tuple[Path, Mapping[str, str]]:
    """Split a source into the file and its options."""
    if not source.startswith(PREFIX):
        return Path(source), {}
    name, *words = source.removeprefix(PREFIX).split(",")
    options = dict(word.partition("=")[::2] for word in words)
    for key, value in options.items():
        if key not in KEYS or (key == "unit" and value not in UNITS):
            raise WorkloadError(
                f"{source}: options of a trace must be column, unit ({', '.join(UNITS)}) or only, got {key}={value}"
            )
    return Path(name), options


def _times(path: Path, first: _TraceRow, rows: Iterator[_TraceRow], options: Mapping[str, str]) -> list[float]:
    """Return the time of each row in seconds, in the order and on the clock of the file."""
    header = [name.strip() for name in first.cells]
    factor = UNITS[options.get("unit", "s")]
    if {"end_timestamp", "duration"} <= set(header) and "column" not in options:
        end, length = header.index("end_timestamp"), header.index("duration")
        return [_time(path, row, end, 1) - _time(path, row, length, 1) for row in rows]
    column = _time_column(path, header, options.get("column"))
    times_s = [_time(path, row, column, factor) for row in rows]
    if _is_time(header[column]):  # the file has no header, so its first line is a request
        times_s.insert(0, _time(path, first, column, factor))
    return times_s


def _time_column(path: Path, header: Sequence[str], wanted: str | None) -> int:
    """Return the index of the wanted column, or of the first column with a common name, or of the first column."""
    if wanted is None:
        names = [name.lower() for name in header]
        return next((names.index(name) for name in TIME_COLUMNS if name in names), 0)
    if wanted in header:
        return header.index(wanted)
    raise WorkloadError(f"{path}, line 1: column must be one of {', '.join(header)[:200]}, got {wanted!r}")


def _time(path: Path, row: _TraceRow, column: int, factor: float) -> float:
    word = row.cells[column].strip() if column < len(row.cells) else ""
    if not _is_time(word):
        raise WorkloadError(f"{path}, line {row.number}: expected a number or a date and time, got {word[:40]!r}")
    return _seconds_of(word, factor)


def _is_time(word: str) -> bool:
    try:
        return isfinite(_seconds_of(word.strip(), 1.0))
    except ValueError:
        return False


def _seconds_of(word: str, factor: float) -> float:
    """Parse a number, times factor, or ISO 8601 as Unix time, in UTC without a time zone. Raises ValueError."""
    try:
        return float(word) * factor
    except ValueError:
        when = datetime.fromisoformat(word)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def _of_times(path: Path, clock_s: Sequence[float]) -> Trace:
    if not clock_s:
        raise WorkloadError(f"{path}: a trace must contain at least one request, got none")
    times_s: NDArray[np.float64] = np.sort(np.array(clock_s))
    times_s -= times_s[0]
    if times_s[-1] >= MOST_SECONDS:
        raise WorkloadError(
            f"{path}: a trace must last at most {MOST_SECONDS} s, got {times_s[-1]:.0f} s; "
            "for times in milliseconds use csv:FILE,unit=ms"
        )
    counts = np.bincount(times_s.astype(np.int64))
    _check_rate(path, int(counts.max()))
    return Trace(tuple(counts.tolist()), tuple(times_s.tolist()))


def _of_minutes(path: Path, header: Sequence[str], rows: Iterator[_TraceRow]) -> Trace:
    """Sum over all functions and spread the count of each minute over its seconds without losing a request."""
    minutes = [index for index, name in enumerate(header) if name.isdecimal()]
    totals = np.zeros(len(minutes))
    for row in rows:
        try:
            totals += np.array([int(row.cells[index]) for index in minutes])
        except (ValueError, IndexError) as error:
            raise WorkloadError(f"{path}, line {row.number}: expected {len(minutes)} integers: {error}") from error
    if not totals.sum() or totals.min() < 0:
        raise WorkloadError(f"{path}: a trace must contain at least one request, got {floor(totals.sum())}")
    running = np.rint(np.cumsum(np.repeat(totals / 60, 60)))
    counts = np.diff(running, prepend=0).astype(int)
    _check_rate(path, int(counts.max()))
    return Trace(tuple(counts.tolist()))


def _check_rate(path: Path, most: int) -> None:
    if most > MOST_PER_SECOND:
        raise WorkloadError(f"{path}: a trace must have at most {MOST_PER_SECOND} requests per second, got {most}")
