"""Traces: CSV files with a time for each request, or with a count for each minute, as Azure publishes them.

`calls.csv` is read by its header; `csv:calls.csv,column=when,unit=ms` says what cannot be seen there. Known headers:
- Azure's LLM inference traces: TIMESTAMP, ContextTokens, GeneratedTokens.
- Azure Functions 2021: app, func, end_timestamp, duration. A request begins its duration before its end. The file is
  published as .txt: `csv:FILE.txt`.
- Azure Functions 2019: HashFunction, ..., 1 to 1440. Counts of a minute, spread evenly over it.
`only=VALUE` keeps the rows that have VALUE in one of their columns, such as the hash of a function.
Source: github.com/Azure/AzurePublicDataset.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import floor, isfinite
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loadgen.errors import WorkloadError
from loadgen.workload.families import MOST_PER_SECOND, MOST_SECONDS

PREFIX = "csv:"
UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
TIME_COLUMNS = ("timestamp", "time", "ts", "datetime", "date", "start_time", "start", "arrival", "arrived_at")
KEYS = ("column", "unit", "only")
FigureDiff = Sequence[str]


@dataclass(frozen=True, slots=True)
class Trace:
    """counts: requests in each second; times_s: each request's own time from the trace's first one, if it has them."""

    counts: tuple[int, ...]
    times_s: tuple[float, ...] = ()


def is_trace(source: str) -> bool:
    """Whether it is named as a CSV file."""
    return source.startswith(PREFIX) or source.lower().endswith(".csv")


def read_trace(source: str) -> Trace:
    """Raises OSError if there is no such file, WorkloadError, with the line's number, if it is no trace."""
    path, options = _parsed(source)
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        rows = enumerate(csv.reader(file), start=1)
        try:
            first = next(((number, row) for number, row in rows if row), None)
            if first is None:
                raise WorkloadError(f"{path}, line 1: a header or a time must stand here, found none")
            header = [name.strip() for name in first[1]]
            kept = ((number, row) for number, row in rows if row and options.get("only", row[0]) in row)
            if "HashFunction" in header:
                return _of_minutes(path, header, kept)
            times_s = _times(path, first, kept, options)
        except csv.Error as error:
            raise WorkloadError(f"{path}: not CSV: {error}") from error
    return _of_times(path, times_s)


def _parsed(source: str) -> tuple[Path, Mapping[str, str]]:
    """The file, and what was said of it."""
    if not source.startswith(PREFIX):
        return Path(source), {}
    name, *words = source.removeprefix(PREFIX).split(",")
    options = dict(word.partition("=")[::2] for word in words)
    for key, value in options.items():
        if key not in KEYS or (key == "unit" and value not in UNITS):
            raise WorkloadError(
                f"{source}: a trace has column, unit ({', '.join(UNITS)}) and only; found {key}={value}"
            )
    return Path(name), options


def _times(
    path: Path, first: tuple[int, FigureDiff], rows: Iterator[tuple[int, FigureDiff]], options: Mapping[str, str]
) -> list[float]:
    """Each row's time in seconds, in the file's order and on the file's clock."""
    header = [name.strip() for name in first[1]]
    factor = UNITS[options.get("unit", "s")]
    if {"end_timestamp", "duration"} <= set(header) and "column" not in options:
        end, length = header.index("end_timestamp"), header.index("duration")
        return [_time(path, number, row, end, 1) - _time(path, number, row, length, 1) for number, row in rows]
    column = _time_column(path, header, options.get("column"))
    times_s = [_time(path, number, row, column, factor) for number, row in rows]
    if _is_time(header[column]):  # the file has no header: its first line is a request too
        times_s.insert(0, _time(path, first[0], first[1], column, factor))
    return times_s


def _time_column(path: Path, header: FigureDiff, wanted: str | None) -> int:
    """The column of times: the one that was named, one with a usual name, or the first."""
    if wanted is None:
        names = [name.lower() for name in header]
        return next((names.index(name) for name in TIME_COLUMNS if name in names), 0)
    if wanted in header:
        return header.index(wanted)
    raise WorkloadError(f"{path}, line 1: column must be one of {', '.join(header)[:200]}, was {wanted!r}")


def _time(path: Path, number: int, row: FigureDiff, column: int, factor: float) -> float:
    word = row[column].strip() if column < len(row) else ""
    if not _is_time(word):
        raise WorkloadError(f"{path}, line {number}: a number or a date and time must stand here, found {word[:40]!r}")
    return _seconds_of(word, factor)


def _is_time(word: str) -> bool:
    try:
        return isfinite(_seconds_of(word.strip(), 1.0))
    except ValueError:
        return False


def _seconds_of(word: str, factor: float) -> float:
    """A number times factor, or ISO 8601 as Unix time; without a zone it is UTC. Raises ValueError."""
    try:
        return float(word) * factor
    except ValueError:
        when = datetime.fromisoformat(word)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def _of_times(path: Path, clock_s: Sequence[float]) -> Trace:
    if not clock_s:
        raise WorkloadError(f"{path}: at least one request must be there, found none")
    times_s: NDArray[np.float64] = np.sort(np.array(clock_s))
    times_s -= times_s[0]
    if times_s[-1] >= MOST_SECONDS:
        raise WorkloadError(
            f"{path}: at most {MOST_SECONDS} s from first to last request, found {times_s[-1]:.0f}: "
            "if they are milliseconds, say csv:FILE,unit=ms"
        )
    counts = np.bincount(times_s.astype(np.int64))
    _check_rate(path, int(counts.max()))
    return Trace(tuple(counts.tolist()), tuple(times_s.tolist()))


def _of_minutes(path: Path, header: FigureDiff, rows: Iterator[tuple[int, FigureDiff]]) -> Trace:
    """The sum over all functions, each minute's count spread over its seconds so that the running total fits."""
    minutes = [index for index, name in enumerate(header) if name.isdecimal()]
    totals = np.zeros(len(minutes))
    for number, row in rows:
        try:
            totals += np.array([int(row[index]) for index in minutes])
        except (ValueError, IndexError) as error:
            raise WorkloadError(
                f"{path}, line {number}: {len(minutes)} whole numbers must stand here: {error}"
            ) from error
    if not totals.sum() or totals.min() < 0:
        raise WorkloadError(f"{path}: at least one request must be there, found {floor(totals.sum())}")
    running = np.rint(np.cumsum(np.repeat(totals / 60, 60)))
    counts = np.diff(running, prepend=0).astype(int)
    _check_rate(path, int(counts.max()))
    return Trace(tuple(counts.tolist()))


def _check_rate(path: Path, most: int) -> None:
    if most > MOST_PER_SECOND:
        raise WorkloadError(f"{path}: at most {MOST_PER_SECOND} requests a second, found {most}")
