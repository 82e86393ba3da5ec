"""Public traces in their published formats, as requests per second.

Each reader yields (second, requests) for the lines or records of a file, plain or gzipped; times are in seconds on the
clock of the trace.
"""

import csv
import gzip
import io
import json
import struct
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from math import floor, isfinite
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, NamedTuple, cast

from loadgen.errors import WorkloadError
from loadgen.workload.families import MOST_PER_SECOND, MOST_SECONDS

GZIP_MAGIC, PICKLE_MAGIC = b"\x1f\x8b", b"\x80"
MINUTE_S, DAY_MINUTES = 60, 1440
# A record of the WorldCup98 logs: time, client, object and size, each of 4 bytes, then four single bytes; big-endian.
WORLDCUP_RECORD = struct.Struct(">IIIIBBBB")
Events = Iterator[tuple[float, int]]


class PublicFormat(NamedTuple):
    """A published format: the reader of a file, the column that `only` selects by, and where it comes from.

    own_clock: whether every file begins at second 0, so that the files of one trace follow one another. Its reader
    yields quiet seconds too, because they belong to the length of a file.
    """

    read: Callable[[BinaryIO, str | None], Events]
    only: str
    about: str
    own_clock: bool = False


def public_counts(name: str, paths: Sequence[Path], only: str | None = None) -> tuple[int, ...]:
    """Return the requests of each second, from the first request on, in the files of one trace.

    Files are added on the clock of the trace; those of a format without one follow one another as given.
    name: of FORMATS. only: keep the rows with this value in the format's column.
    Raises WorkloadError, with the file and line, if one is not in this format; OSError if one cannot be read.
    """
    if only is not None and not FORMATS[name].only:
        raise WorkloadError(f"{name} has no column to select by, got only={only!r}")
    counts: Counter[int] = Counter()
    for path in paths:
        zero_s = max(counts, default=-1) + 1 if FORMATS[name].own_clock else 0
        with path.open("rb") as file:
            try:
                for time_s, requests in FORMATS[name].read(_unpacked(file), only):
                    counts[zero_s + floor(time_s)] += requests
            except WorkloadError as error:
                raise WorkloadError(f"{path}, {error}") from error
            except (EOFError, OSError, UnicodeDecodeError, csv.Error, tarfile.TarError, zlib.error) as error:
                raise WorkloadError(f"{path}: expected a trace in the format {name}: {error}") from error
    return _per_second(counts, str(paths[0]))


def _per_second(counts: Counter[int], path: str) -> tuple[int, ...]:
    busy = [second for second, requests in counts.items() if requests]
    if not busy:
        raise WorkloadError(f"{path}: a trace must contain at least one request, got none")
    first, last = min(busy), max(busy)
    if last - first >= MOST_SECONDS:
        raise WorkloadError(f"{path}: a trace must last at most {MOST_SECONDS} s, got {last - first + 1}")
    if (most := max(counts.values())) > MOST_PER_SECOND:
        raise WorkloadError(f"{path}: a trace must have at most {MOST_PER_SECOND} requests per second, got {most}")
    return tuple(counts[second] for second in range(first, last + 1))


def _unpacked(file: BinaryIO) -> BinaryIO:
    """Return the content of a file that may be gzipped; refuse a pickle, because reading one can run any code."""
    start = file.read(2)
    file.seek(0)
    if start[:1] == PICKLE_MAGIC:
        raise WorkloadError("line 1: expected text, got a Python pickle, which is not read: it can run any code")
    return cast(BinaryIO, gzip.open(file)) if start == GZIP_MAGIC else file


def _rows(file: BinaryIO, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, row by column) of a CSV file that has these columns."""
    reader = csv.DictReader(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""))
    header = reader.fieldnames or []
    if missing := [name for name in needed if name not in header]:
        raise WorkloadError(f"line 1: expected the columns {', '.join(needed)}, got no {missing[0]}")
    for row in reader:
        yield reader.line_num, row


def _number(number: int, word: object) -> float:
    try:
        value = float(str(word))
    except ValueError:
        value = float("nan")
    if not isfinite(value):
        raise WorkloadError(f"line {number}: expected a finite number, got {str(word)[:40]!r}")
    return value


def _count(number: int, word: object) -> int:
    value = _number(number, word)
    if value < 0 or value % 1:
        raise WorkloadError(f"line {number}: expected a non-negative integer, got {str(word)[:40]!r}")
    return int(value)


def _unix_s(number: int, word: str, form: str | None = None) -> float:
    """Parse a time stamp: ISO 8601, in UTC without a time zone, or in the form of strptime."""
    try:
        when = datetime.strptime(word, form) if form else datetime.fromisoformat(word)  # noqa: DTZ007  # set below
    except ValueError as error:
        raise WorkloadError(f"line {number}: expected a date and time, got {word[:40]!r}") from error
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def _azure_functions_2019(file: BinaryIO, only: str | None) -> Events:
    """Read counts per minute of a day, columns 1 to 1440, and spread each evenly over its minute."""
    totals = Counter(dict.fromkeys(range(1, DAY_MINUTES + 1), 0))
    for number, row in _rows(file, ("HashFunction", "1")):
        if only in (None, row["HashFunction"]):
            totals.update({int(name): _count(number, row[name]) for name in row if name and name.isdecimal()})
    sent, total = 0, 0.0
    for minute in sorted(totals):
        for second in range(MINUTE_S):
            total += totals[minute] / MINUTE_S
            yield MINUTE_S * (minute - 1) + second, round(total) - sent
            sent = round(total)


def _azure_functions_2021(file: BinaryIO, only: str | None) -> Events:
    for number, row in _rows(file, ("func", "end_timestamp", "duration")):
        if only in (None, row["func"]):
            yield _number(number, row["end_timestamp"]) - _number(number, row["duration"]), 1


def _azure_llm(file: BinaryIO, _: str | None) -> Events:
    for number, row in _rows(file, ("TIMESTAMP",)):
        yield _unix_s(number, row["TIMESTAMP"]), 1


def _ibm_code_engine(file: BinaryIO, only: str | None) -> Events:
    """Read JSON Lines of the published data frames: one app a line, with the times of its requests in seconds."""
    for number, app in _json_lines(file):
        times_s = app.get("InvocationTimes")
        if not isinstance(times_s, list):
            raise WorkloadError(f"line {number}: expected a list of InvocationTimes, got {str(times_s)[:40]!r}")
        if only in (None, app.get("AppHash")):
            yield from ((_number(number, time_s), 1) for time_s in times_s)


def _mooncake(file: BinaryIO, _: str | None) -> Events:
    for number, request in _json_lines(file):
        yield _number(number, request.get("timestamp")) / 1000, 1


def _json_lines(file: BinaryIO) -> Iterator[tuple[int, dict[str, object]]]:
    for number, line in enumerate(file, 1):
        try:
            found = json.loads(line)
        except ValueError as error:
            raise WorkloadError(f"line {number}: expected a JSON object, got {line[:40]!r}") from error
        if not isinstance(found, dict):
            raise WorkloadError(f"line {number}: expected a JSON object, got {line[:40]!r}")
        yield number, found


def _nasa_http(file: BinaryIO, _: str | None) -> Events:
    """Read the Common Log Format; the published logs have bytes that are no UTF-8."""
    for number, line in enumerate(file, 1):
        stamp = line.decode("latin-1").partition("[")[2].partition("]")[0]
        if line.strip():
            yield _unix_s(number, stamp, "%d/%b/%Y:%H:%M:%S %z"), 1


def _worldcup98(file: BinaryIO, _: str | None) -> Events:
    number = 0
    while record := file.read(WORLDCUP_RECORD.size):
        number += 1
        if len(record) < WORLDCUP_RECORD.size:
            raise WorkloadError(f"record {number}: expected {WORLDCUP_RECORD.size} bytes, got {len(record)}")
        yield WORLDCUP_RECORD.unpack(record)[0], 1


def _twitter(file: BinaryIO, _: str | None) -> Events:
    """Read integers, one for each second, from a text file or from the only file of a tar archive."""
    text = file.read()
    if tarfile.is_tarfile(io.BytesIO(text)):
        with tarfile.open(fileobj=io.BytesIO(text)) as archive:
            members = [member for member in archive.getmembers() if member.isfile()]
            content = archive.extractfile(members[0]) if len(members) == 1 else None
            if content is None:
                raise WorkloadError(f"line 1: expected an archive of one file, got {len(members)}")
            text = content.read()
    second = 0
    for number, line in enumerate(text.splitlines(), 1):
        for word in line.split():
            yield second, _count(number, word.decode("latin-1"))
            second += 1


FORMATS: Mapping[str, PublicFormat] = MappingProxyType(
    {
        "azure-functions-2019": PublicFormat(
            _azure_functions_2019,
            "HashFunction",
            "invocations_per_function_md.anon.dNN.csv: counts per minute, a day a file",
            own_clock=True,
        ),
        "azure-functions-2021": PublicFormat(_azure_functions_2021, "func", "one row a call: end_timestamp, duration"),
        "azure-llm": PublicFormat(_azure_llm, "", "Azure's LLM inference traces of 2023 and 2024: TIMESTAMP"),
        "ibm-code-engine": PublicFormat(
            _ibm_code_engine, "AppHash", "week_*.pickle, written as JSON Lines by pandas: InvocationTimes"
        ),
        "nasa-http": PublicFormat(_nasa_http, "", "logs of July and August 1995 in the Common Log Format"),
        "worldcup98": PublicFormat(_worldcup98, "", "wc_dayNN_N.gz: binary records of 20 bytes"),
        "twitter": PublicFormat(
            _twitter, "", "workload.tbz2 as BarAzmoon has it, or its text: requests per second", own_clock=True
        ),
        "mooncake": PublicFormat(_mooncake, "", "JSON Lines: timestamp in milliseconds"),
    }
)
