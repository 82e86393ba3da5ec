"""Expected service time, learned only from samples that hold no waiting."""

from bisect import bisect_left, insort
from collections import deque
from math import inf, sqrt

SERVICE_TIMES_KEPT = 256
# An older rise of the capacity no longer delays a request: the new pod has received its first ones.
SETTLED_S = 1.0
# A backend that answered this recently is awake.
AWAKE_S = 10.0


class ServiceTimes:
    """Mean, spread and 95th percentile of the latest service times.

    The largest sample counts as the next smaller one does, and so for each 128th: a single freak moves the mean
    little, while values that come again count in full.
    """

    def __init__(self) -> None:
        self._kept: deque[float] = deque(maxlen=SERVICE_TIMES_KEPT)
        self._ranked: list[float] = []
        self._sum_s = 0.0
        self._squares = 0.0
        self._summary: tuple[float, float] | None = None

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, service_time_s: float) -> None:
        """Add a service time; beyond SERVICE_TIMES_KEPT the oldest one is dropped."""
        if len(self._kept) == SERVICE_TIMES_KEPT:
            oldest_s = self._kept[0]
            del self._ranked[bisect_left(self._ranked, oldest_s)]
            self._sum_s -= oldest_s
            self._squares -= oldest_s**2
        self._kept.append(service_time_s)
        insort(self._ranked, service_time_s)
        self._sum_s += service_time_s
        self._squares += service_time_s**2
        self._summary = None

    def mean_s(self) -> float | None:
        """Return the mean; None before the first measurement."""
        return self._summarised()[0] if self._ranked else None

    def spread_s(self) -> float | None:
        """Return the standard deviation; None before the first measurement."""
        return self._summarised()[1] if self._ranked else None

    def least_s(self) -> float:
        """Return a service time that is rarely undercut: mean less spread, 0 if nothing is known."""
        if not self._ranked:
            return 0.0
        mean_s, spread_s = self._summarised()
        return max(0.0, mean_s - spread_s)

    def p95_s(self) -> float | None:
        """Return the 95th percentile by nearest rank; None before the first measurement."""
        if not self._ranked:
            return None
        return self._ranked[max(0, -(-95 * len(self._ranked) // 100) - 1)]

    def _summarised(self) -> tuple[float, float]:
        """Return mean and spread with the largest samples cut to the next smaller one."""
        if self._summary is not None:
            return self._summary
        count, ranked = len(self._ranked), self._ranked
        cut = 0 if count < 3 else 1 + count // 128
        bound_s, over = ranked[-1 - cut], ranked[count - cut :]
        mean_s = (self._sum_s - sum(over) + cut * bound_s) / count
        square = (self._squares - sum(value**2 for value in over) + cut * bound_s**2) / count
        self._summary = mean_s, sqrt(max(0.0, square - mean_s**2))
        return self._summary


class AnswerTimes:
    """How long after its release a request is answered, in all but one of twenty cases.

    Under overload the next request is one that can barely be in time. By the mean of the time in the pod, the hops
    would make half of the answers late by milliseconds.
    """

    def __init__(self) -> None:
        self._responses, self._hops = ServiceTimes(), ServiceTimes()
        self._tail_s = 0.0

    def add(self, response_s: float, pod_s: float | None) -> None:
        """Add a response that waited for no pod. pod_s: the time in the pod as the pod reports it."""
        self._responses.add(response_s)
        if pod_s is not None:
            self._hops.add(max(0.0, response_s - pod_s))
        self._tail_s = (self._responses.p95_s() or 0.0) + 2 * (self._hops.p95_s() or 0.0)

    def expected_s(self, service_s: float, slo_s: float) -> float:
        """Return the 95th percentile of the responses, with the hops counted twice more for the client's two ways.

        It is at least the mean service time, and a longer tail than half of the SLO does not count: no request would
        be feasible.
        """
        return max(service_s, min(self._tail_s, slo_s / 2))


class CapacityRises:
    """Remembers when the announced capacity last rose, to tell which samples may hold a wait for a new pod."""

    def __init__(self) -> None:
        self._rose_s = -inf

    def announce(self, before: float, after: float, now_s: float) -> None:
        """Note an announcement. before: the capacity that was fresh until now, 0 without one."""
        if after > before:
            self._rose_s = now_s

    def settled(self, sent_s: float) -> bool:
        """Return whether the capacity neither rose in SETTLED_S before sent_s nor since."""
        return self._rose_s <= sent_s - SETTLED_S
