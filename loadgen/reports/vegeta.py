"""vegeta's two JSON formats: its encoded results, a line for each request, and its report.

The timestamp of a request is its intended send and its latency is measured from there, so that what vegeta prints of
our runs is free of coordinated omission. Without a response, the latency ends when the failure was known (a timeout, a
reset).
Source: vegeta 12, lib/results.go and lib/metrics.go, and "report -type=json" in its README.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np

from loadgen.analysis.columns import Floats, quantile
from loadgen.analysis.runs import Run
from loadgen.records import Record
from loadgen.reports.strict_json import strict_json

NS = 1_000_000_000
# Lower bounds of the report's buckets, in seconds.
BUCKETS_S = (0.0, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
PERCENTILES = {"50th": 0.5, "90th": 0.9, "95th": 0.95, "99th": 0.99}


def results(run: Run) -> Iterator[str]:
    """Yield a line of JSON for every request that was tried, as `vegeta encode` does."""
    started_ns = _ns(run.started_unix_s)
    for number, record in enumerate(run.records):
        if not record.tried:
            continue
        yield strict_json(
            {
                "attack": run.name,
                "seq": number,
                "code": record.status,
                "timestamp": _rfc3339(started_ns + round(record.intended_s * NS)),
                "latency": _latency_ns(record),
                "bytes_out": record.bytes_out,
                "bytes_in": record.bytes_in,
                "error": record.error,
                "body": None,
                "method": str(run.settings.about.get("method", "POST")),
                "url": run.settings.url,
                "headers": {"X-Request-Id": [record.request_id]} if record.request_id else None,
            }
        )


class _Attack(NamedTuple):
    """The requests that were tried, the first and last time at which one was due, and the time of the last response."""

    tried: Sequence[Record]
    earliest_ns: int
    latest_ns: int
    end_ns: int

    @property
    def successes(self) -> int:
        """Return the responses that vegeta counts as successful."""
        return sum(200 <= record.status < 400 for record in self.tried)

    @property
    def rates(self) -> tuple[float, float]:
        """Return requests and successful ones per second; as in vegeta, their numbers if all are due at one moment.

        Source: Close() in vegeta 12, lib/metrics.go.
        """
        duration_s, took_s = (self.latest_ns - self.earliest_ns) / NS, (self.end_ns - self.earliest_ns) / NS
        if not duration_s:
            return float(len(self.tried)), float(self.successes)
        return len(self.tried) / duration_s, self.successes / took_s


def rates(run: Run) -> tuple[float, float]:
    """Return the rate and the throughput of vegeta's report, in requests per second."""
    return _attack(run).rates


def _attack(run: Run) -> _Attack:
    tried = [record for record in run.records if record.tried]
    intended_ns = [round(record.intended_s * NS) for record in tried]
    ends_ns = [began + _latency_ns(record) for began, record in zip(intended_ns, tried, strict=True)]
    return _Attack(tried, min(intended_ns, default=0), max(intended_ns, default=0), max(ends_ns, default=0))


def report(run: Run) -> dict[str, object]:
    """Return what `vegeta report -type=json -buckets=...` prints; all durations are in nanoseconds."""
    attack = _attack(run)
    tried, earliest_ns, latest_ns, end_ns = attack
    latency_ns = np.array([_latency_ns(record) for record in tried], dtype=np.float64)
    rate, throughput = attack.rates
    codes = sorted({record.status for record in tried})
    started_ns = _ns(run.started_unix_s)
    return {
        "latencies": _latencies(latency_ns),
        "buckets": _buckets(latency_ns),
        "bytes_in": _bytes([record.bytes_in for record in tried]),
        "bytes_out": _bytes([record.bytes_out for record in tried]),
        "earliest": _rfc3339(started_ns + earliest_ns),
        "latest": _rfc3339(started_ns + latest_ns),
        "end": _rfc3339(started_ns + end_ns),
        "duration": latest_ns - earliest_ns,
        "wait": end_ns - latest_ns,
        "requests": len(tried),
        "rate": rate,
        "throughput": throughput,
        "success": attack.successes / len(tried) if tried else 0.0,
        "status_codes": {str(code): sum(record.status == code for record in tried) for code in codes},
        "errors": list(dict.fromkeys(record.error for record in tried if record.error)),
    }


def _ns(unix_s: float) -> int:
    """Convert whole seconds and the rest separately: a single product would round today's times to 256 ns."""
    return int(unix_s) * NS + round(unix_s % 1 * NS)


def _latency_ns(record: Record) -> int:
    ends_s = record.done_s if record.done_s is not None else record.ended_s
    return max(0, round(((ends_s or record.intended_s) - record.intended_s) * NS))


def _latencies(latency_ns: Floats) -> dict[str, int]:
    if not latency_ns.size:
        return dict.fromkeys(("total", "mean", *PERCENTILES, "max", "min"), 0)
    return {
        "total": int(latency_ns.sum()),
        "mean": int(latency_ns.mean()),
        **{name: int(quantile(latency_ns, share)) for name, share in PERCENTILES.items()},
        "max": int(latency_ns.max()),
        "min": int(latency_ns.min()),
    }


def _buckets(latency_ns: Floats) -> dict[str, int]:
    counts, _ = np.histogram(latency_ns, bins=[*(bound_s * NS for bound_s in BUCKETS_S), np.inf])
    return {str(round(bound_s * NS)): int(count) for bound_s, count in zip(BUCKETS_S, counts, strict=True)}


def _bytes(counts: Sequence[int]) -> dict[str, float]:
    return {"total": sum(counts), "mean": sum(counts) / len(counts) if counts else 0.0}


def _rfc3339(unix_ns: int) -> str:
    moment = datetime.fromtimestamp(unix_ns // NS, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{unix_ns % NS:09d}Z"
