"""The service time that a policy acts on: the measured one, unless it is implausible."""

from dataclasses import dataclass
from math import exp

from autoscaler_tuning.types import Observation

# A measured time is doubted above this many times the last one believed, or the assumed one if none has been believed.
MOST_FACTOR, MOST_FIRST_FACTOR = 10.0, 5.0
# A measured time is confirmed if it is at most this many times the evidence or the last one believed.
AGREES_FACTOR = 2.0
# A time that is still measured after all ready pods were busy for this long is believed without evidence, because
# requests that were rejected look like completed ones.
MOST_BUSY_S = 30.0
# Evidence that is this old counts 1/e.
MEMORY_S = 30.0


@dataclass(slots=True)
class _Evidence:
    """How long pods were busy, and how many requests left, each fading with its age."""

    busy_pod_seconds: float = 0.0
    completed: float = 0.0

    @property
    def service_time_s(self) -> float:
        """Time in a pod of one request. Source: Little's law."""
        return self.busy_pod_seconds / max(1.0, self.completed)


class BelievedServiceTime:
    """Measured service times, of which one that jumps is doubted until there is evidence for it.

    The wait for a pod that starts, or in an activator, can be measured as service time. A request that waits keeps no
    ready pod busy, so the evidence is the time that ready pods were busy, divided by the requests that left. While a
    measured time is doubted, the policy acts on the last one believed, or on the evidence if that is longer.
    used_s, measured_s: the service time to act on and the measured one, None if unknown, of the last update.
    """

    def __init__(self, first_s: float) -> None:
        self.used_s = self._believed_s = first_s
        self.measured_s: float | None = None
        self._has_measured = False
        self._doubted = False
        self._all_busy_s = 0.0
        self._evidence = _Evidence()
        self._seen: tuple[float, int] | None = None

    @property
    def believed_s(self) -> float | None:
        """The last measured time that was believed; None if none was."""
        return self._believed_s if self._has_measured else None

    def restore(self, believed_s: float) -> None:
        """Take a time that was believed before."""
        self.used_s = self._believed_s = believed_s
        self._has_measured = True

    @property
    def doubted_s(self) -> float | None:
        """The measured time if it is doubted, else None."""
        return self.measured_s if self._doubted else None

    def update(self, obs: Observation) -> float:
        """Return the service time to act on at this tick; call it once a tick."""
        self._collect(obs)
        self.measured_s = obs.service_time_s
        if self.measured_s:
            self.used_s = self._judged(self.measured_s)
        return self.used_s

    def _judged(self, measured_s: float) -> float:
        self._doubted = self._is_doubtful(measured_s)
        if self._doubted:
            return min(measured_s, max(self._believed_s, self._evidence.service_time_s))
        self._believed_s, self._has_measured, self._all_busy_s = measured_s, True, 0.0
        return measured_s

    def _is_doubtful(self, measured_s: float) -> bool:
        if measured_s <= AGREES_FACTOR * max(self._believed_s, self._evidence.service_time_s):
            return False
        if self._doubted:
            return self._all_busy_s < MOST_BUSY_S
        return measured_s > self._believed_s * (MOST_FACTOR if self._has_measured else MOST_FIRST_FACTOR)

    def _collect(self, obs: Observation) -> None:
        left = obs.arrived - obs.waiting - obs.in_flight
        if self._seen is not None:
            then_s, left_before = self._seen
            elapsed_s = max(0.0, obs.now_s - then_s)
            fading = exp(-elapsed_s / MEMORY_S)
            busy = min(obs.in_flight, obs.ready_pods)
            self._evidence.busy_pod_seconds = fading * self._evidence.busy_pod_seconds + busy * elapsed_s
            self._evidence.completed = fading * self._evidence.completed + max(0, left - left_before)
            if self._doubted and obs.in_flight >= obs.ready_pods > 0:
                self._all_busy_s += elapsed_s
        self._seen = obs.now_s, left
