"""Pods that another controller scales, as its metrics tell; for a shadow on this machine."""

from collections.abc import Callable

import requests
from prometheus_client.parser import text_string_to_metric_families

from autoscaler_tuning.live.targets import TargetState
from autoscaler_tuning.types import PodPhase, PodSample

PODS = "autoscaler_pods"


class WatchedController:
    """The target of a running `control`, by its address; it is asked, never told."""

    def __init__(self, url: str, clock: Callable[[], float], every_s: float = 0.25, timeout_s: float = 2.0) -> None:
        self._url, self._clock = f"{url.rstrip('/')}/metrics", clock
        self._every_s, self._timeout_s = every_s, timeout_s
        self._asked_s = float("-inf")
        self._state = TargetState((), None, 0)

    def poll(self) -> TargetState:
        """Raises requests.RequestException if it does not answer, ValueError if what it says is not metrics."""
        now_s = self._clock()
        if now_s - self._asked_s >= self._every_s:
            self._asked_s = now_s
            answer = requests.get(self._url, timeout=self._timeout_s)
            answer.raise_for_status()
            self._state = TargetState(pods_of(answer.text, now_s), None, 0)
        return self._state

    def scale_to(self, pods: int) -> None:
        """Nothing: somebody else does."""

    def close(self) -> None:
        """Nothing."""


def pods_of(text: str, now_s: float) -> tuple[PodSample, ...]:
    """One sample for each pod that the metrics count; how long it took to start they do not say."""
    found: list[PodSample] = []
    for family in text_string_to_metric_families(text):
        for sample in family.samples if family.name == PODS else ():
            phase = PodPhase(sample.labels["phase"])
            ready_s = None if phase is PodPhase.STARTING else now_s
            found += [PodSample(f"{phase}-{n}", phase, now_s, ready_s) for n in range(int(sample.value))]
    return tuple(found)
