"""What the dispatchers' metrics say about answers: how many, how many in time, and the percentiles of their latency."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf

from prometheus_client.parser import text_string_to_metric_families

LATENCY, ANSWERS = "dispatcher_latency_seconds", "dispatcher_answers"
WINDOW = 10


@dataclass(frozen=True, slots=True)
class AnswerCounts:
    """Counters of one dispatcher.

    buckets: answers at most as slow as each bound in seconds, inf included. lost: answers with status 429, or of 500
        and more: for a request that no pod answered, or that there was no room or no time for.
    """

    buckets: Mapping[float, float]
    lost: float


def parse_counts(text: str) -> AnswerCounts:
    """Return the counters in a page of metrics. Raises ValueError if it is malformed."""
    buckets: dict[float, float] = {}
    lost = 0.0
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == f"{LATENCY}_bucket":
                buckets[float(sample.labels["le"])] = sample.value
            elif sample.name == f"{ANSWERS}_total" and _is_lost(sample.labels["status"]):
                lost += sample.value
    return AnswerCounts(buckets, lost)


def _is_lost(status: str) -> bool:
    return status == "429" or status >= "500"


@dataclass(frozen=True, slots=True)
class AnswersOfSecond:
    """Answers of the last second, and the p50, p95 and p99 of the last ten seconds; None without an answer.

    in_time: good answers within the SLO; a lost one never counts, however fast it was.
    """

    answers: float
    in_time: float
    lost: float
    percentiles_s: tuple[float | None, float | None, float | None]


class AnswerWindow:
    """Turns counters that only rise, of several dispatchers, into figures of a second."""

    def __init__(self, slo_s: float) -> None:
        self._slo_s = slo_s
        self._before: dict[str, AnswerCounts] = {}
        self._recent: deque[dict[float, float]] = deque(maxlen=WINDOW)

    def update(self, counts: Mapping[str, AnswerCounts]) -> AnswersOfSecond:
        """Add the counters of a second by dispatcher. A counter that has fallen began anew at 0.

        What a dispatcher had counted before it was seen first is left out.
        """
        risen: dict[float, float] = {}
        lost = 0.0
        for name, now in counts.items():
            before = self._before.get(name, now)
            restarted = now.buckets.get(inf, 0) < before.buckets.get(inf, 0)
            for bound, count in now.buckets.items():
                risen[bound] = risen.get(bound, 0.0) + count - (0.0 if restarted else before.buckets.get(bound, 0.0))
            lost += now.lost - (0.0 if now.lost < before.lost else before.lost)
            self._before[name] = now
        self._recent.append(risen)
        in_time = max(0.0, within(risen, self._slo_s) - lost)
        return AnswersOfSecond(risen.get(inf, 0.0), in_time, lost, self._percentiles())

    def _percentiles(self) -> tuple[float | None, float | None, float | None]:
        total: dict[float, float] = {}
        for risen in self._recent:
            for bound, count in risen.items():
                total[bound] = total.get(bound, 0.0) + count
        return quantile(total, 0.5), quantile(total, 0.95), quantile(total, 0.99)


def _steps(buckets: Mapping[float, float]) -> Iterable[tuple[float, float, float, float]]:
    """Yield lower bound, upper bound, count below the lower and count below the upper one, of each bucket."""
    lower = below = 0.0
    for bound in sorted(buckets):
        yield lower, bound, below, buckets[bound]
        lower, below = bound, buckets[bound]


def quantile(buckets: Mapping[float, float], share: float) -> float | None:
    """Return a quantile of a histogram of cumulative counts, linear within a bucket; None if it is empty.

    Above the largest finite bound, that bound. Source: the definition of Prometheus' histogram_quantile.
    """
    wanted = share * buckets.get(inf, 0.0)
    if wanted <= 0:
        return None
    for lower, upper, below, count in _steps(buckets):
        if count >= wanted:
            return lower if upper == inf else lower + (upper - lower) * (wanted - below) / (count - below)
    return None


def within(buckets: Mapping[float, float], limit_s: float) -> float:
    """Return how many answers took at most limit_s, linear within a bucket; exact at a bucket's bound."""
    for lower, upper, below, count in _steps(buckets):
        if limit_s <= upper:
            return below if upper == inf else below + (count - below) * (limit_s - lower) / (upper - lower)
    return buckets.get(inf, 0.0)
