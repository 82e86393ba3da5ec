"""One run with what was asked of it: what reports are made of, and the file that keeps it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from loadgen.errors import InputError
from loadgen.records import Failure, Record

# Every field of a record, so that whatever can be reported from a run can be reported from its file.
COLUMNS = tuple(one.name for one in fields(Record))


@dataclass(frozen=True, slots=True)
class Asked:
    """The plan and what the run is judged by; about and plan hold what else is worth knowing and only label reports."""

    url: str
    duration_s: float
    slo_s: float = 0.5
    max_lag_ms: float = 5.0
    about: Mapping[str, object] = field(default_factory=dict)
    plan: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Run:
    """What was asked and what became of it; started_unix_s only labels."""

    name: str
    asked: Asked
    records: tuple[Record, ...]
    started_unix_s: float


def read_run(path: Path) -> Run:
    """A run that `--json` wrote; raises OSError without such a file, InputError if it holds something else."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        about, plan, requests = document["about"], document["plan"], document["requests"]
        asked = Asked(
            str(about["url"]),
            float(plan["duration_s"]),
            float(about["slo_s"]),
            float(about.get("max_lag_ms", 5.0)),
            dict(about),
            dict(plan),
        )
        return Run(path.name, asked, _records(requests), float(document["started_unix_s"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: must be a run that --json wrote: {type(error).__name__}: {error}") from error


def columns_of(records: Sequence[Record]) -> dict[str, list[object]]:
    """Requests as columns of equal length, for JSON."""
    return {name: [getattr(record, name) for record in records] for name in COLUMNS}


def _records(requests: Mapping[str, Sequence[object]]) -> tuple[Record, ...]:
    """Fields that an older file lacks keep their defaults."""
    names = [name for name in COLUMNS if name in requests]
    rows = zip(*(requests[name] for name in names), strict=True)
    return tuple(_record(dict(zip(names, row, strict=True))) for row in rows)


def _record(row: Mapping[str, object]) -> Record:
    for name, value in row.items():
        if name.endswith("_s") and not (isinstance(value, int | float) or (value is None and name != "intended_s")):
            raise TypeError(f"{name} must be seconds, was {value!r}")
    record = Record(**row)  # type: ignore[arg-type]  # times are checked above, the rest is only shown
    record.failure = Failure(record.failure)
    return record
