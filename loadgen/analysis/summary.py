"""The figures of a run."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadgen.records import Failure, Record

# Share of the plan that must be sent for a run to be valid.
LEAST_SENT = 0.995
PERCENTILES = (50, 90, 95, 99)


@dataclass(frozen=True, slots=True)
class Spread:
    """Statistics of durations, in seconds; nan if there was nothing to measure."""

    least_s: float
    mean_s: float
    p50_s: float
    p90_s: float
    p95_s: float
    p99_s: float
    most_s: float


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of one run.

    latency: from the intended send, over responses with any status; from_sent: the same from the actual send.
    late: planned requests without a successful response within the SLO. invalid: reasons why the run is invalid.
    statuses: of the requests that were tried, 0 without a response. errors: of all planned requests.
    """

    planned: int
    sent: int
    good: int
    late: int
    attack_s: float
    wait_s: float
    latency: Spread
    from_sent: Spread
    lag: Spread
    bytes_in: int
    bytes_out: int
    statuses: dict[int, int]
    errors: dict[str, int]
    classes: dict[str, int]
    invalid: tuple[str, ...]


def summarise(records: Sequence[Record], slo_s: float, max_lag_ms: float) -> Summary:
    """Summarise a run; requests that were never sent, rejected or failed count as late."""
    sent = [record for record in records if record.sent_s is not None]
    done = [record for record in sent if record.done_s is not None]
    good = [record for record in done if record.good]
    in_time = sum(1 for record in good if (record.done_s or 0.0) - record.intended_s <= slo_s)
    first_s = min((record.sent_s or 0.0 for record in sent), default=0.0)
    last_s = max((record.sent_s or 0.0 for record in sent), default=0.0)
    lag = spread([(record.sent_s or 0.0) - record.intended_s for record in sent])
    return Summary(
        planned=len(records),
        sent=len(sent),
        good=len(good),
        late=len(records) - in_time,
        attack_s=last_s - first_s,
        wait_s=max(0.0, max((record.done_s or 0.0 for record in done), default=last_s) - last_s),
        latency=spread([(record.done_s or 0.0) - record.intended_s for record in done]),
        from_sent=spread([(record.done_s or 0.0) - (record.sent_s or 0.0) for record in done]),
        lag=lag,
        bytes_in=sum(record.bytes_in for record in records),
        bytes_out=sum(record.bytes_out for record in sent),
        statuses=dict(sorted(Counter(record.status for record in records if record.tried).items())),
        errors=dict(Counter(record.error for record in records if record.error).most_common()),
        classes=dict(Counter(record.label for record in good if record.label).most_common()),
        invalid=_invalid(records, sent, lag.p99_s, max_lag_ms),
    )


def _invalid(records: Sequence[Record], sent: Sequence[Record], lag_p99_s: float, max_lag_ms: float) -> tuple[str, ...]:
    """Return the reasons why the run is incomplete, or measures this machine rather than the server.

    One late request alone makes no run invalid: below a hundred requests, the p99 lag is nearly that of the latest one.
    """
    if not records:
        return ("at least one request must be planned, got none",)
    reasons, planned = [], len(records)
    if unfinished := sum(one.failure is Failure.INTERRUPTED for one in records):
        reasons.append(f"the run was interrupted: {unfinished} of {planned} requests have no outcome")
    if len(sent) < LEAST_SENT * planned:
        local = next((f"; error on this machine: {one.error}" for one in records if one.failure is Failure.LOCAL), "")
        rule = f"at least {100 * LEAST_SENT:g} % of the planned requests must be sent"
        reasons.append(f"{rule}, got {len(sent)} of {planned}{local}")
    lagging = sum(1000 * ((record.sent_s or 0.0) - record.intended_s) > max_lag_ms for record in sent)
    if 1000 * lag_p99_s > max_lag_ms and (lagging > 1 or lagging == len(sent)):
        reasons.append(f"p99 send lag must be at most {max_lag_ms:g} ms (--max-lag-ms), got {1000 * lag_p99_s:.1f} ms")
    return tuple(reasons)


def spread(values_s: Sequence[float]) -> Spread:
    """Return the statistics of any number of durations."""
    if not values_s:
        return Spread(*([float("nan")] * 7))
    array: NDArray[np.float64] = np.array(values_s)
    p50_s, p90_s, p95_s, p99_s = (float(value) for value in np.percentile(array, PERCENTILES))
    return Spread(float(array.min()), float(array.mean()), p50_s, p90_s, p95_s, p99_s, float(array.max()))
