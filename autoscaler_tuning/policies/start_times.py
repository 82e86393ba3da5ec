"""Start times of pods, learned while the policy runs."""

from collections import deque
from collections.abc import Iterable

import numpy as np

from autoscaler_tuning.types import PodSample

# Knative gives up on a pod that is not ready after this time, its progress deadline. What took longer is no start, but
# for example a container that restarted hours later.
LONGEST_START_S = 600.0


class NewlyReady:
    """Finds the pods that have become ready since the last call."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def update(self, pods: Iterable[PodSample]) -> list[tuple[PodSample, float]]:
        """Return the pods that are ready and were not in the last call, each with its ready_s."""
        ready = [(pod, pod.ready_s) for pod in pods if pod.ready_s is not None]
        new = [(pod, ready_s) for pod, ready_s in ready if pod.name not in self._known]
        self._known = {pod.name for pod, _ in ready}
        return new


class StartTimes:
    """The newest hundred times from the start of a pod until it was ready."""

    def __init__(self, first_s: float) -> None:
        self._first_s = first_s
        self._times_s: deque[float] = deque(maxlen=100)
        self._newly_ready = NewlyReady()

    def update(self, pods: Iterable[PodSample]) -> None:
        """Add the start times of pods that became ready; a pod that was ready from the beginning has none."""
        times_s = [ready_s - pod.started_s for pod, ready_s in self._newly_ready.update(pods)]
        self.restore(times_s)

    @property
    def times_s(self) -> tuple[float, ...]:
        """The start times, oldest first."""
        return tuple(self._times_s)

    def restore(self, times_s: Iterable[float]) -> None:
        """Add start times, except those beyond the longest believable start."""
        self._times_s.extend(time_s for time_s in times_s if 0 < time_s <= LONGEST_START_S)

    @property
    def mean_s(self) -> float:
        """Mean start time; first_s until a pod has started."""
        return sum(self._times_s) / len(self._times_s) if self._times_s else self._first_s

    def until_ready_s(self, needed: int, started: int) -> float:
        """Return the mean time until `needed` of `started` pods that start together are ready.

        The needed-th smallest of n draws lies at about the quantile needed / (n + 1). Source: order statistics.
        """
        if len(self._times_s) < 2:
            return self.mean_s
        return float(np.quantile(self._times_s, needed / (started + 1)))
