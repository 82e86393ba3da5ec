"""How long pods take to start, learned as they do."""

from collections import deque
from collections.abc import Iterable

import numpy as np

from autoscaler_tuning.types import PodSample


class StartTimes:
    """Times from the start of a pod to its readiness; the newest hundred."""

    def __init__(self, first_s: float) -> None:
        self._first_s = first_s
        self._times_s: deque[float] = deque(maxlen=100)
        self._known: set[str] = set()

    def update(self, pods: Iterable[PodSample]) -> None:
        """Take in the pods there are; one that was ready from the beginning tells nothing."""
        names = set()
        for pod in pods:
            names.add(pod.name)
            if pod.ready_s is not None and pod.name not in self._known:
                self._known.add(pod.name)
                if pod.ready_s > pod.started_s:
                    self._times_s.append(pod.ready_s - pod.started_s)
        self._known &= names

    @property
    def mean_s(self) -> float:
        """Mean time to start; what was believed at first while none was seen."""
        return sum(self._times_s) / len(self._times_s) if self._times_s else self._first_s

    def until_ready_s(self, needed: int, started: int) -> float:
        """Mean time until `needed` of `started` pods, started together, are ready.

        The needed-th of n sorted draws lies about at the quantile needed / (n + 1). Source: order statistics.
        """
        if len(self._times_s) < 2:
            return self.mean_s
        return float(np.quantile(self._times_s, needed / (started + 1)))
