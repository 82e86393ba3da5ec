"""What the dispatchers' metrics say about answers: how many, how many in time, and the percentiles of their latency."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

from prometheus_client.parser import text_string_to_metric_families

LATENCY, ANSWERS, LATE = "dispatcher_latency_seconds", "dispatcher_answers", "dispatcher_late"
WINDOW = 10
# Each new pod of a dispatcher has another address; those that answered longest ago are forgotten.
MOST_DISPATCHERS = 100


@dataclass(frozen=True, slots=True)
class AnswerCounts:
    """Counters of one dispatcher.

    buckets: answers at most as slow as each bound in seconds, inf included. answers, late: all, and those that were not
        in time, as dispatcher_late counts them. lost: answers with status 429, or of 500 and more: for a request that
        no pod answered, or that there was no room or no time for.
    """

    buckets: Mapping[float, float]
    answers: float
    late: float
    lost: float


def parse_counts(text: str) -> AnswerCounts:
    """Return the counters in a page of metrics. Raises ValueError if it is malformed."""
    buckets: dict[float, float] = {}
    answers = late = lost = 0.0
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == f"{LATENCY}_bucket":
                buckets[float(sample.labels["le"])] = sample.value
            elif sample.name == f"{ANSWERS}_total":
                answers += sample.value
                lost += sample.value if _is_lost(sample.labels["status"]) else 0.0
            elif sample.name == f"{LATE}_total":
                late = sample.value
    return AnswerCounts(buckets, answers, late, lost)


def _is_lost(status: str) -> bool:
    return status == "429" or status >= "500"


@dataclass(frozen=True, slots=True)
class AnswersOfSecond:
    """Answers of the last second, and the p50, p95 and p99 of the last ten seconds; None without an answer."""

    answers: float
    in_time: float
    lost: float
    percentiles_s: tuple[float | None, float | None, float | None]


class AnswerWindow:
    """Turns counters that only rise, of several dispatchers, into figures of a second."""

    def __init__(self) -> None:
        self._before: dict[str, AnswerCounts] = {}
        self._recent: deque[dict[float, float]] = deque(maxlen=WINDOW)

    def update(self, counts: Mapping[str, AnswerCounts]) -> AnswersOfSecond:
        """Add the counters of a second by dispatcher. Those of a restarted one began anew at 0.

        What a dispatcher had counted before it was seen first is left out.
        """
        risen: dict[float, float] = {}
        answers = late = lost = 0.0
        for name, now in counts.items():
            before = self._before.get(name, now)
            if now.answers < before.answers:
                before = AnswerCounts({}, 0.0, 0.0, 0.0)
            for bound, count in now.buckets.items():
                risen[bound] = risen.get(bound, 0.0) + count - before.buckets.get(bound, 0.0)
            answers += now.answers - before.answers
            late += now.late - before.late
            lost += now.lost - before.lost
            self._before.pop(name, None)
            self._before[name] = now
        for name in list(self._before)[:-MOST_DISPATCHERS]:
            del self._before[name]
        self._recent.append(risen)
        return AnswersOfSecond(answers, max(0.0, answers - late), lost, self._percentiles())

    def _percentiles(self) -> tuple[float | None, float | None, float | None]:
        total: dict[float, float] = {}
        for risen in self._recent:
            for bound, count in risen.items():
                total[bound] = total.get(bound, 0.0) + count
        return quantile(total, 0.5), quantile(total, 0.95), quantile(total, 0.99)


def quantile(buckets: Mapping[float, float], share: float) -> float | None:
    """Return a quantile of a histogram of cumulative counts, linear within a bucket; None if it is empty.

    Above the largest finite bound, that bound. Source: the definition of Prometheus' histogram_quantile.
    """
    wanted = share * buckets.get(inf, 0.0)
    if wanted <= 0:
        return None
    lower = below = 0.0
    for upper in sorted(buckets):
        count = buckets[upper]
        if count >= wanted:
            return lower if upper == inf else lower + (upper - lower) * (wanted - below) / (count - below)
        lower, below = upper, count
    return None
