"""Reads the pods of another controller from its metrics, for shadow mode on this machine."""

from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families

from autoscaler_tuning.live.direct import direct_session
from autoscaler_tuning.live.targets import TargetState
from autoscaler_tuning.types import PodPhase, PodSample

PODS = "autoscaler_pods"


class WatchedController:
    """A read-only target: the pods of the `control` process at this address."""

    def __init__(self, url: str, clock: Callable[[], float], every_s: float = 0.25, timeout_s: float = 2.0) -> None:
        self._url, self._clock = f"{url.rstrip('/')}/metrics", clock
        self._every_s, self._timeout_s = every_s, timeout_s
        self._session = direct_session()
        self._polled_s = float("-inf")
        self._state = TargetState((), None, 0)

    def poll(self) -> TargetState:
        """Return the pods that the controller reports, read at most once in every_s.

        Raises requests.RequestException if it does not respond, ValueError if the response is not metrics.
        """
        now_s = self._clock()
        if now_s - self._polled_s >= self._every_s:
            self._polled_s = now_s
            response = self._session.get(self._url, timeout=self._timeout_s)
            response.raise_for_status()
            self._state = TargetState(pods_of(response.text, now_s), None, 0)
        return self._state

    def scale_to(self, pods: int) -> None:
        """Do nothing: the other controller scales the pods."""

    def release(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def pods_of(text: str, now_s: float) -> tuple[PodSample, ...]:
    """Return one sample for each pod in the metrics; its start time is now_s, because the metrics do not contain it."""
    found: list[PodSample] = []
    for family in text_string_to_metric_families(text):
        for sample in family.samples if family.name == PODS else ():
            phase = PodPhase(sample.labels["phase"])
            ready_s = None if phase is PodPhase.STARTING else now_s
            found += [PodSample(f"{phase}-{n}", phase, now_s, ready_s) for n in range(int(sample.value))]
    return tuple(found)
