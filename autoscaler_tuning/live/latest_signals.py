"""The dispatchers' signals as they were read last, with their age."""

from dataclasses import replace

from autoscaler_tuning.live.recording import ControllerMetrics
from autoscaler_tuning.live.signals import ScrapeError, Signals, observe
from autoscaler_tuning.live.sources import SignalSource
from autoscaler_tuning.live.targets import TargetState
from autoscaler_tuning.live.troubles import Troubles
from autoscaler_tuning.types import Observation


class LatestSignals:
    """Reads the signals and keeps the last ones.

    stale_after_s: age at which they are no longer fresh; a failure to read them is logged from then on.
    """

    def __init__(
        self, source: SignalSource, metrics: ControllerMetrics, troubles: Troubles, stale_after_s: float
    ) -> None:
        self._source, self._metrics, self._troubles, self._stale_after_s = source, metrics, troubles, stale_after_s
        self._read_s = self.tried_s = float("-inf")
        self.signals: Signals | None = None

    def age_s(self, now_s: float) -> float:
        """Return the age of the signals; infinite if there are none."""
        return now_s - self._read_s

    def is_fresh(self, now_s: float) -> bool:
        """Return whether the signals are recent."""
        return self.age_s(now_s) <= self._stale_after_s

    def read(self, now_s: float) -> bool:
        """Read the signals; return whether they show that the dispatcher has restarted."""
        self.tried_s = now_s
        try:
            signals = self._source.signals()
        except ScrapeError as error:
            self._metrics.failures.labels("signals").inc()
            if self.age_s(now_s) > self._stale_after_s:
                self._troubles.failed("signals", now_s, error)
            return False
        self._troubles.worked("signals", now_s)
        last, self.signals, self._read_s = self.signals, signals, now_s
        return last is not None and signals.now_s < last.now_s

    def observation(self, signals: Signals, now_s: float, state: TargetState, concurrency: int) -> Observation:
        """Return the observation, with all times moved to the dispatcher's clock, which is extrapolated to now."""
        offset_s = signals.now_s - self._read_s
        pods = tuple(
            replace(
                pod,
                started_s=pod.started_s + offset_s,
                ready_s=None if pod.ready_s is None else pod.ready_s + offset_s,
            )
            for pod in state.pods
        )
        return observe(replace(signals, now_s=now_s + offset_s), pods, self.is_fresh(now_s), concurrency)
