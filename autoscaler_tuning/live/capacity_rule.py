"""Decides whether the dispatchers may hold requests back: only while scaling demonstrably works."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ScalingEvidence:
    """What is known about scaling at one moment.

    confirmed: the last decision was written, the write was confirmed, and no step has failed since.
    fresh: the dispatchers' signals are recent.
    demand: requests that wait or are in flight.
    starts: pods are ready or start, or it is known why they cannot.
    """

    confirmed: bool
    fresh: bool
    demand: int
    starts: bool


class CapacityRule:
    """Capacity is announced after a confirmed decision and with fresh signals, unless requests wait and no pod starts.

    The last case happens after a restart of Knative's autoscaler: it ignores bounds until a request reaches the
    activator. Without an announcement the dispatchers forward the requests, which wakes it.
    """

    def __init__(self, stuck_after_s: float) -> None:
        """stuck_after_s: time for which requests may wait without any pod."""
        self._stuck_after_s = stuck_after_s
        self._without_pods_since_s: float | None = None

    def objection(self, now_s: float, evidence: ScalingEvidence) -> str | None:
        """Return why the capacity must not be announced now; None if it may be."""
        if evidence.demand > 0 and not evidence.starts:
            if self._without_pods_since_s is None:
                self._without_pods_since_s = now_s
        else:
            self._without_pods_since_s = None
        if not evidence.confirmed:
            return "no confirmed decision"
        if not evidence.fresh:
            return "stale signals"
        since_s = self._without_pods_since_s
        if since_s is not None and now_s - since_s >= self._stuck_after_s:
            return f"requests have waited for {self._stuck_after_s:g} s and no pod starts"
        return None
