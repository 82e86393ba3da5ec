"""Back-off of pod starts: the first retry is immediate, the next ones wait increasingly long."""

from dataclasses import dataclass, replace

SETTLED_S = 5.0
FIRST_DELAY_S = 1.0
MAX_DELAY_S = 30.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """State of the back-off, which works like Kubernetes' CrashLoopBackOff.

    failures: consecutive rounds of failed pods since a pod last settled.
    counted_s: when the last round was counted.
    next_start_s: earliest time of the next start.
    """

    failures: int = 0
    counted_s: float = float("-inf")
    next_start_s: float = float("-inf")

    def died(self, now_s: float, started_s: float, ready_s: float | None) -> "Backoff":
        """Return the back-off after a pod has died.

        Two cases do not count. A pod that was started before the last counted failure belongs to the same round: eight
        pods of a broken program die together and are one failure. A pod that had settled shows that the program works:
        it was killed, or hit a rare fault.
        """
        if started_s < self.counted_s or (ready_s is not None and now_s - ready_s >= SETTLED_S):
            return self
        failures = self.failures + 1
        return Backoff(failures, now_s, now_s + delay_s(failures))

    def settled(self, now_s: float, started_s: float, ready_s: float) -> "Backoff":
        """Return the back-off while a pod is ready: reset once it has settled, if it started after the last failure."""
        if self.failures and started_s >= self.counted_s and now_s - ready_s >= SETTLED_S:
            return replace(self, failures=0)
        return self


def delay_s(failures: int) -> float:
    """Return the delay after this many consecutive failures: 0 after the first, then 1, 2, 4 ... 30 s."""
    if failures <= 1:
        return 0.0
    # the exponent is bounded as well, because 2.0 ** 1024 would overflow after a night of crashes
    return min(MAX_DELAY_S, FIRST_DELAY_S * 2.0 ** min(failures - 2, 16))
