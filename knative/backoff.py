"""When to start another pod after pods died: at once the first time, then later and later."""

from dataclasses import dataclass, replace

SETTLED_S = 5.0
FIRST_DELAY_S = 1.0
MAX_DELAY_S = 30.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """Memory of the deaths in a row, as CrashLoopBackOff has it.

    failures: rounds of deaths since a pod last settled.
    counted_s: when the last round was counted.
    next_start_s: no pod is started before.
    """

    failures: int = 0
    counted_s: float = float("-inf")
    next_start_s: float = float("-inf")

    def died(self, now_s: float, started_s: float, ready_s: float | None) -> "Backoff":
        """A pod died unasked.

        Says nothing new: a pod older than the last counted death (eight pods of a broken program die together, and
        are one failure), and one that had settled (it was killed, or hit something rare).
        """
        if started_s < self.counted_s or (ready_s is not None and now_s - ready_s >= SETTLED_S):
            return self
        failures = self.failures + 1
        return Backoff(failures, now_s, now_s + delay_s(failures))

    def settled(self, now_s: float, started_s: float, ready_s: float) -> "Backoff":
        """A pod is ready: once it stayed so for SETTLED_S, and is no older than the last death, all is forgiven."""
        if self.failures and started_s >= self.counted_s and now_s - ready_s >= SETTLED_S:
            return replace(self, failures=0)
        return self


def delay_s(failures: int) -> float:
    """Wait after so many rounds of deaths in a row: 0, 1, 2, 4 ... 30 s."""
    if failures <= 1:
        return 0.0
    # the exponent is bounded too: 2.0 ** 1024 overflows after a night of crashes
    return min(MAX_DELAY_S, FIRST_DELAY_S * 2.0 ** min(failures - 2, 16))
