"""A run with its settings, the input of all reports, and the file format that stores it."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from loadgen.errors import InputError
from loadgen.masking import masked
from loadgen.records import Failure, Record

# Every field of a record, so that every report can also be made from the file.
COLUMNS = tuple(one.name for one in fields(Record))


@dataclass(frozen=True, slots=True)
class RunSettings:
    """The duration of the plan and the limits that judge the run; about and plan only label reports.

    Secrets in the URL are masked, so that no report contains them.
    """

    url: str
    duration_s: float
    slo_s: float = 0.5
    max_lag_ms: float = 5.0
    about: Mapping[str, object] = field(default_factory=dict)
    plan: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", masked(self.url))
        if "url" in self.about:  # as in a file that --json wrote
            object.__setattr__(self, "about", {**self.about, "url": self.url})


@dataclass(frozen=True, slots=True)
class Run:
    """The settings of a run and the outcome of each request; started_unix_s only labels reports."""

    name: str
    settings: RunSettings
    records: tuple[Record, ...]
    started_unix_s: float


def read_run(path: Path) -> Run:
    """Read a run that `--json` wrote; raise OSError if there is no such file, InputError if it is not such a run."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        about, plan, requests = document["about"], document["plan"], document["requests"]
        settings = RunSettings(
            url=str(about["url"]),
            duration_s=float(plan["duration_s"]),
            slo_s=float(about["slo_s"]),
            max_lag_ms=float(about.get("max_lag_ms", 5.0)),
            about=dict(about),
            plan=dict(plan),
        )
        return Run(path.name, settings, _records(requests), float(document["started_unix_s"]))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: must be a run that --json wrote: {type(error).__name__}: {error}") from error


def columns_of(records: Sequence[Record]) -> dict[str, list[object]]:
    """Return the records as columns of equal length, for JSON."""
    return {name: [getattr(record, name) for record in records] for name in COLUMNS}


def _records(requests: Mapping[str, Sequence[object]]) -> tuple[Record, ...]:
    """Return the records; fields that an older file lacks get their defaults."""
    names = [name for name in COLUMNS if name in requests]
    rows = zip(*(requests[name] for name in names), strict=True)
    return tuple(_record(dict(zip(names, row, strict=True))) for row in rows)


def _record(row: Mapping[str, object]) -> Record:
    for name, value in row.items():
        if name.endswith("_s") and not (isinstance(value, int | float) or (value is None and name != "intended_s")):
            raise TypeError(f"{name} must be a number of seconds, got {value!r}")
    record = Record(**row)  # type: ignore[arg-type]  # times are checked above, other fields are only displayed
    record.failure = Failure(record.failure)
    if record.confidence is None:  # JSON has no nan
        record.confidence = math.nan
    return record
