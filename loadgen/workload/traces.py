"""Traces: CSV files with a time for each request, or with counts for each second, minute or other interval.

`calls.csv` is read by its header. `csv:calls.csv,column=when,unit=ms` adds what the header does not contain; without a
header, columns have numbers from 1. Known files:
- A request for each row, with its time in a column such as `timestamp`, `arrival_time` or `start_time_ms`.
- A count for each row, in a column such as `count`, `request_count` or `rps`: `count=NAME` names another one, and
  `interval=SECONDS` what a count covers, by default the smallest distance of two times.
- Azure's LLM inference traces: TIMESTAMP, ContextTokens, GeneratedTokens.
- Azure Functions 2021: app, func, end_timestamp, duration. A request starts at end_timestamp - duration. The file is
  published as .txt; use `csv:FILE.txt`.
- Azure Functions 2019: HashFunction, ..., 1 to 1440. Counts per minute, which are spread evenly over the minute. The
  invitro of vHive names the columns minute_1, minute_2, ....
- k6's `--out csv`: metric_name, timestamp, metric_value, ..., of which the rows of http_reqs count.
`only=VALUE` keeps the rows that contain VALUE in a column, such as the hash of a function.
Source: github.com/Azure/AzurePublicDataset, github.com/vhive-serverless/invitro, k6's documentation.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from math import isfinite
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray

from loadgen.errors import WorkloadError
from loadgen.workload.families import MOST_PER_SECOND, MOST_SECONDS
from loadgen.workload.text_files import encoding_of
from loadgen.workload.trace_columns import (
    LEAST_IMPOSSIBLE_S,
    RATE_NAMES,
    UNITS,
    CsvTable,
    count_column,
    has_header,
    is_time,
    key_of,
    likely_unit,
    minute_columns,
    seconds_of,
    time_column,
    unit_of,
)

PREFIX = "csv:"
KEYS = ("column", "unit", "only", "count", "interval")
SAMPLE_ROWS = 100
K6_COLUMNS = {"metric_name", "timestamp", "metric_value"}
Floats = NDArray[np.float64]
Options = Mapping[str, str]


class _TraceRow(NamedTuple):
    """A row of the file with its line number."""

    number: int
    cells: Sequence[str]


class _Times(NamedTuple):
    """The column of the times; factor: of its unit."""

    column: int
    unit: str
    label: str

    @property
    def factor(self) -> float:
        return UNITS[self.unit]


@dataclass(frozen=True, slots=True)
class Trace:
    """A recorded workload; counts: requests in each second.

    times_s: time of each request since the first one; empty if the trace has only counts. about: how it was read.
    """

    counts: tuple[int, ...]
    times_s: tuple[float, ...] = ()
    about: str = field(default="", compare=False)


def is_trace(source: str) -> bool:
    """Return whether the name is that of a CSV file."""
    return source.startswith(PREFIX) or source.lower().endswith(".csv")


def source_file(source: Path | str) -> Path:
    """Return the file of a workload, without `csv:` and options."""
    return _parsed(str(source))[0] if is_trace(str(source)) else Path(source)


def read_trace(source: str) -> Trace:
    """Read a trace; raise OSError if there is no such file, WorkloadError with the line number if it is not a trace."""
    path, options = _parsed(source)
    with path.open(encoding=encoding_of(path), errors="replace", newline="") as file:
        try:
            return _read(path, _rows(file), options)
        except (csv.Error, UnicodeError) as error:
            raise WorkloadError(f"{path}: expected CSV: {error}") from error


def _parsed(source: str) -> tuple[Path, Options]:
    """Split a source into the file and its options; a file whose name contains commas is found, too."""
    if not source.startswith(PREFIX):
        return Path(source), {}
    words = source.removeprefix(PREFIX).split(",")
    splits = (at for at in range(len(words), 0, -1) if Path(",".join(words[:at])).is_file())
    name_words = next(splits, 1)
    options = dict(word.partition("=")[::2] for word in words[name_words:])
    for key, value in options.items():
        wrong = (key == "unit" and value not in UNITS) or (key == "interval" and not value.isdecimal())
        if key not in KEYS or wrong or (key == "interval" and not 0 < int(value) <= MOST_SECONDS):
            raise WorkloadError(
                f"{source}: options of a trace must be column, unit ({', '.join(UNITS)}), count, interval (seconds) "
                f"or only, got {key}={value}"
            )
    return Path(",".join(words[:name_words])), options


def _rows(file: TextIO) -> Iterator[_TraceRow]:
    """Yield the rows that are not empty; without a comma in the first line, semicolons or tabs separate the cells."""
    first = file.readline()
    delimiter = "," if "," in first else next((char for char in ";\t" if char in first), ",")
    reader = csv.reader(chain([first], file), delimiter=delimiter)
    return (_TraceRow(number, cells) for number, cells in enumerate(reader, start=1) if cells)


def _read(path: Path, rows: Iterator[_TraceRow], options: Options) -> Trace:
    first = next(rows, None)
    if first is None:
        raise WorkloadError(f"{path}, line 1: expected a header or a time, got an empty file")
    names = tuple(name.strip() for name in first.cells) if has_header(first.cells) else ()
    rows = rows if names else chain([first], rows)
    if set(names) >= K6_COLUMNS:
        options = {"only": "http_reqs", "count": "metric_value", "column": "timestamp", "interval": "1", **options}
    wanted = options.get("only")
    rows = (row for row in rows if wanted is None or wanted in row.cells)
    sample = tuple(islice(rows, SAMPLE_ROWS))
    if not sample:
        which = "" if wanted is None else f" with only={wanted}"
        raise WorkloadError(f"{path}: a trace must contain at least one request, got none{which}")
    table = CsvTable(str(path), names, tuple(row.cells for row in sample))
    return _of_table(path, table, chain(sample, rows), options)


def _of_table(path: Path, table: CsvTable, rows: Iterator[_TraceRow], options: Options) -> Trace:
    """Read the rows in the way that the names of the columns and the options say."""
    if minutes := minute_columns(table):
        return _of_minutes(path, minutes, rows)
    if {"end_timestamp", "duration"} <= set(table.names) and "column" not in options:
        end, length = (_Times(table.names.index(name), "s", name) for name in ("end_timestamp", "duration"))
        started_s = [_time(path, row, end) - _time(path, row, length) for row in rows]
        return _of_times(path, started_s, "a request for each row, at end_timestamp - duration")
    counts = count_column(table, options.get("count"))
    column = time_column(table, options.get("column"), counts)
    unit = options.get("unit") or unit_of(key_of(table.label(column))) or "s"
    times = _Times(column, unit, table.label(column))
    form = f"times in column {times.label}" + (f" in {unit}" if _is_number(table.sample[0], column) else "")
    if counts is None:
        clock_s = [_time(path, row, times, whole_days=False) for row in rows]
        return _of_times(path, clock_s, f"a request for each row, {form}")
    pairs = np.array([(_time(path, row, times), _amount(path, row, counts)) for row in rows])
    return _of_counts(path, pairs, table.label(counts), options.get("interval"), form)


def _is_number(cells: Sequence[str], column: int) -> bool:
    return column < len(cells) and cells[column].strip().lstrip("+-")[:1].isdigit() and "-" not in cells[column][1:]


def _time(path: Path, row: _TraceRow, times: _Times, whole_days: bool = True) -> float:
    """Return the time of a row in seconds; whole_days: whether a date alone is one."""
    word = row.cells[times.column].strip() if times.column < len(row.cells) else ""
    if not is_time(word) or (not whole_days and word.count("-") == 2 and ":" not in word and len(word) <= 10):
        raise WorkloadError(f"{path}, line {row.number}: expected a number or a date and time, got {word[:40]!r}")
    time_s = seconds_of(word, times.factor)
    if abs(time_s) >= LEAST_IMPOSSIBLE_S:
        raise WorkloadError(
            f"{path}, line {row.number}: column {times.label} must be a time in {times.unit}, got {word[:40]}, which "
            f"is no date in that unit; use csv:FILE,unit={likely_unit(float(word))}"
        )
    return time_s


def _amount(path: Path, row: _TraceRow, column: int) -> float:
    word = row.cells[column].strip() if column < len(row.cells) else ""
    try:
        amount = float(word or 0)  # pandas leaves the cell of an empty interval empty
    except ValueError:
        amount = -1.0
    if not amount >= 0 or not isfinite(amount):
        raise WorkloadError(f"{path}, line {row.number}: expected a non-negative count, got {word[:40]!r}")
    return amount


def _of_times(path: Path, clock_s: Sequence[float], about: str) -> Trace:
    times_s: Floats = np.sort(np.array(clock_s))
    times_s -= times_s[0]
    _check_length(path, float(times_s[-1]))
    counts = np.bincount(times_s.astype(np.int64))
    _check_rate(path, float(counts.max()))
    return Trace(tuple(counts.tolist()), tuple(times_s.tolist()), f"{path.name}: {about}")


def _of_counts(path: Path, pairs: Floats, name: str, interval: str | None, form: str) -> Trace:
    """Sum the counts of each interval and spread them evenly over its seconds; pairs: (time, count) of each row."""
    moments_s, index = np.unique(pairs[:, 0], return_inverse=True)
    interval_s = float(interval) if interval else _interval_s(path, moments_s)
    starts_s = moments_s - moments_s[0]
    _check_length(path, float(starts_s[-1]) + interval_s)
    covers_s = max(1, round(interval_s))
    amounts = np.bincount(index.ravel(), weights=pairs[:, 1])
    rates = np.zeros(int(starts_s[-1]) + covers_s)
    factor = interval_s if key_of(name) in RATE_NAMES else 1.0
    for start_s, amount in zip(starts_s.astype(int).tolist(), amounts.tolist(), strict=True):
        rates[start_s : start_s + covers_s] += factor * amount / covers_s
    return _of_rates(path, rates, f"counts in column {name}, each for {interval_s:g} s, {form}")


def _interval_s(path: Path, moments_s: Floats) -> float:
    """Return the smallest distance of two times; raise WorkloadError if it is not that of all others, or a multiple."""
    gaps_s = np.diff(moments_s)
    least_s = float(gaps_s.min(initial=np.inf))
    steps = gaps_s / least_s
    if not gaps_s.size or np.abs(steps - np.rint(steps)).max() > 0.01 or (least_s > 1 and abs(least_s % 1) > 0.001):
        raise WorkloadError(
            f"{path}: counts must be for intervals of equal length, and their times do not show it; "
            "use csv:FILE,interval=SECONDS, or count=none for a request for each row"
        )
    return least_s


def _of_minutes(path: Path, minutes: Mapping[int, int], rows: Iterator[_TraceRow]) -> Trace:
    """Sum over all functions and spread the count of each minute over its seconds without losing a request."""
    _check_length(path, 60.0 * (max(minutes.values()) + 1))
    totals = np.zeros(max(minutes.values()) + 1)
    for row in rows:
        for column, minute in minutes.items():
            word = row.cells[column].strip() if column < len(row.cells) else "?"
            amount = float(word or 0) if word.replace(".", "", 1).isdecimal() or not word else -1.0
            if amount < 0 or amount != int(amount):
                raise WorkloadError(
                    f"{path}, line {row.number}: expected {len(minutes)} integers, got {word[:40]!r} among them"
                )
            totals[minute] += amount
    return _of_rates(path, np.repeat(totals / 60, 60), f"counts of {totals.size} minutes")


def _of_rates(path: Path, rates: Floats, about: str) -> Trace:
    """Round rates so that the running total is off by at most a half."""
    _check_rate(path, float(rates.max()))
    counts = np.diff(np.rint(np.cumsum(rates)), prepend=0).astype(int)
    if not counts.sum():
        raise WorkloadError(f"{path}: a trace must contain at least one request, got 0")
    return Trace(tuple(counts.tolist()), about=f"{path.name}: {about}")


def _check_length(path: Path, seconds: float) -> None:
    if seconds >= MOST_SECONDS:
        raise WorkloadError(
            f"{path}: a trace must last at most {MOST_SECONDS} s, got {seconds:.0f} s; "
            "for times in milliseconds use csv:FILE,unit=ms"
        )


def _check_rate(path: Path, most_rps: float) -> None:
    if most_rps > MOST_PER_SECOND:
        raise WorkloadError(
            f"{path}: a trace must have at most {MOST_PER_SECOND} requests per second, got {most_rps:g}"
        )
