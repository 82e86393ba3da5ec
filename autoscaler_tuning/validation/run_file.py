"""The file format of a recorded run: JSON Lines, one object a line, plain or gzipped; docs/recorded-runs.md.

The first line has the format, its version and the set-up; then come requests, pods, decisions and starts, in any order
of kinds but each in order of time; the last line has their numbers, so that a file that was cut is noticed.
"""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from autoscaler_tuning.validation.run_setup import RecordedError, RunSetup

FORMAT, VERSION = "elastic-recorded-run", 1
# A longer time between two samples of the pods hides starts and stops.
MOST_GAP_S = 10.0
# How much earlier than planned a request may have been sent, or answered than sent: rounding and timers.
CLOCK_ERROR_S = 0.05
# Longest time from the plan of a request to its end, and most pods; beyond it a clock jumped or a number is damaged.
MOST_LATENCY_S = 3600.0
MOST_PODS = 100_000
GZIP_MAGIC = b"\x1f\x8b"


class RequestLine(NamedTuple):
    """One request: planned, sent and answered at these times; sent_s and done_s are None if that never happened."""

    intended_s: float
    sent_s: float | None
    done_s: float | None
    status: int


class PodsLine(NamedTuple):
    """The pods at one moment, and how many the autoscaler wanted then; None if unknown."""

    t_s: float
    ready_pods: int
    starting_pods: int
    terminating_pods: int
    desired_pods: int | None


class DecisionLine(NamedTuple):
    """A decision that changed the wanted pods, with its reason."""

    t_s: float
    pods: int
    reason: str


class StartLine(NamedTuple):
    """The start of one pod; ready_s is None if it was never ready."""

    pod: str
    created_s: float
    ready_s: float | None


@dataclass(frozen=True, slots=True)
class RunRecord:
    """Everything in the file of a run; times in seconds from its start."""

    setup: RunSetup
    requests: tuple[RequestLine, ...]
    pods: tuple[PodsLine, ...]
    decisions: tuple[DecisionLine, ...] = ()
    starts: tuple[StartLine, ...] = ()

    def __post_init__(self) -> None:
        if not self.requests:
            raise RecordedError("a run must have at least one request, got none")
        _check_requests(self.requests)
        _check_times("pods", [one.t_s for one in self.pods])
        _check_times("decisions", [one.t_s for one in self.decisions])
        _check_times("starts", [one.created_s for one in self.starts])
        for one in self.starts:
            if one.ready_s is not None and one.ready_s < one.created_s:
                raise RecordedError(f"ready_s must be at least created_s, {one.created_s:g}, got {one.ready_s:g}")
        _check_samples(self.requests, self.pods)


# Kinds of the lines between the first and the last, with the field of RunRecord and the type of a row.
KINDS: Mapping[str, tuple[str, Any]] = {
    "request": ("requests", RequestLine),
    "pods": ("pods", PodsLine),
    "decision": ("decisions", DecisionLine),
    "start": ("starts", StartLine),
}
MAY_BE_NULL = ("sent_s", "done_s", "desired_pods", "ready_s")


def write_run(path: Path, record: RunRecord) -> None:
    """Write a run; gzipped if the name ends in .gz."""
    text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in _lines(record)).encode()
    path.write_bytes(gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)


def _lines(record: RunRecord) -> Iterator[dict[str, Any]]:
    yield {"kind": "run", "format": FORMAT, "version": VERSION, "setup": record.setup.to_json()}
    for kind, (name, _) in KINDS.items():
        for row in getattr(record, name):
            yield {"kind": kind, **row._asdict()}
    yield {"kind": "end", **{name: len(getattr(record, name)) for name, _ in KINDS.values()}}


def is_run_file(path: Path) -> bool:
    """Return whether a file is meant to be a recorded run in this format, of any version, by its name or first line."""
    if {".jsonl", ".ndjson"} & set(path.suffixes):
        return True
    try:
        first = json.loads(_content(path).split(b"\n", 1)[0])
    except (RecordedError, ValueError):
        return False
    return isinstance(first, dict) and "kind" in first


def read_run(path: Path) -> RunRecord:
    """Read a run. Raises RecordedError, with the file, the line, the rule and the value."""
    lines = _content(path).splitlines()
    if not lines:
        raise RecordedError(f"{path} must be a recorded run, got an empty file")
    rows: dict[str, list[Any]] = {name: [] for name, _ in KINDS.values()}
    setup: RunSetup | None = None
    for number, line in enumerate(lines, 1):
        try:
            if setup is None:
                setup = _setup(_object(line))
            elif number == len(lines):
                _check_end(rows, _object(line))
            else:
                _add(rows, _object(line))
        except RecordedError as error:
            raise RecordedError(f"{path}, line {number}: {error}") from error
    if setup is None or len(lines) == 1:
        raise RecordedError(f"{path} must have more than its first line: the file was cut")
    try:
        return RunRecord(setup, **{name: tuple(found) for name, found in rows.items()})
    except RecordedError as error:
        raise RecordedError(f"{path}: {error}") from error


def _content(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if data.startswith(GZIP_MAGIC) else data
    except FileNotFoundError:
        raise
    except (OSError, EOFError, zlib.error) as error:
        raise RecordedError(f"{path} must be a recorded run, plain or gzipped: {error}") from error


def _object(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise RecordedError(f"each line must be a JSON object, got {line[:60]!r}") from error
    if not isinstance(found, dict):
        raise RecordedError(f"each line must be a JSON object, got {line[:60]!r}")
    return found


def _setup(first: Mapping[str, Any]) -> RunSetup:
    if first.get("kind") != "run" or first.get("format") != FORMAT:
        raise RecordedError(f"the first line must have the format {FORMAT!r}, got {first.get('format')!r:.60}")
    if first.get("version") != VERSION:
        raise RecordedError(f"version must be {VERSION}, got {first.get('version')!r:.60}")
    return RunSetup.from_json(first.get("setup"))


def _add(rows: dict[str, list[Any]], line: dict[str, Any]) -> None:
    kind = line.pop("kind", None)
    if not isinstance(kind, str) or kind not in KINDS:
        raise RecordedError(f"kind must be one of {', '.join(KINDS)}, got {kind!r:.60}")
    name, row_type = KINDS[kind]
    names = row_type._fields
    if set(line) != set(names):
        raise RecordedError(f"a {kind} must have the fields {', '.join(names)}, got {', '.join(line) or 'none'}")
    for field, value in line.items():
        _check_value(field, value)
    rows[name].append(row_type(**line))


def _check_value(field: str, value: object) -> None:
    if value is None and field in MAY_BE_NULL:
        return
    if field in ("reason", "pod"):
        if not isinstance(value, str):
            raise RecordedError(f"{field} must be a text, got {value!r:.60}")
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise RecordedError(f"{field} must be a finite number, got {value!r:.60}")
    if not field.endswith("_s") and not (isinstance(value, int) and value >= 0):
        raise RecordedError(f"{field} must be an integer of at least 0, got {value!r:.60}")
    if field.endswith("pods") and value > MOST_PODS:
        raise RecordedError(f"{field} must be at most {MOST_PODS}, got {value!r:.60}")


def _check_end(rows: Mapping[str, list[Any]], last: Mapping[str, Any]) -> None:
    if last.get("kind") != "end":
        raise RecordedError(f"the last line must be of the kind end, got {last.get('kind')!r:.60}: the file was cut")
    for name, found in rows.items():
        if last.get(name) != len(found):
            raise RecordedError(f"{name} must be {last.get(name)} lines, as the last line says, got {len(found)}")


def _check_times(name: str, times_s: list[float]) -> None:
    for before_s, time_s in pairwise(times_s):
        if time_s < before_s:
            raise RecordedError(f"times of {name} must not go back, got {time_s:g} s after {before_s:g} s")


def _check_requests(requests: tuple[RequestLine, ...]) -> None:
    _check_times("requests", [one.intended_s for one in requests])
    for one in requests:
        if one.intended_s < 0:
            raise RecordedError(f"intended_s must be at least 0, got {one.intended_s:g}")
        if one.sent_s is not None and one.sent_s < one.intended_s - CLOCK_ERROR_S:
            raise RecordedError(f"sent_s must be at least intended_s, {one.intended_s:g}, got {one.sent_s:g}")
        if one.done_s is not None and (one.sent_s is None or one.done_s < one.sent_s - CLOCK_ERROR_S):
            raise RecordedError(f"done_s must be at least sent_s, {one.sent_s}, got {one.done_s:g}")
        last_s = max(one.sent_s or 0.0, one.done_s or 0.0)
        if last_s > one.intended_s + MOST_LATENCY_S:
            raise RecordedError(
                f"sent_s and done_s must be within {MOST_LATENCY_S:g} s of intended_s, {one.intended_s:g}, "
                f"got {last_s:g}"
            )


def _check_samples(requests: tuple[RequestLine, ...], pods: tuple[PodsLine, ...]) -> None:
    """Check that the samples of the pods cover the requests without gaps."""
    end_s = max(one.intended_s for one in requests)
    times_s = [0.0, *(one.t_s for one in pods if 0 <= one.t_s <= end_s), end_s]
    for before_s, time_s in pairwise(times_s):
        if time_s - before_s > MOST_GAP_S:
            raise RecordedError(
                f"samples of the pods must be at most {MOST_GAP_S:g} s apart while there are requests, got none from "
                f"{before_s:g} to {time_s:g} s"
            )
