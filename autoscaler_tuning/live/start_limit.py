"""Stops a policy from asking for more and more pods while pods cannot start."""

from dataclasses import replace

from autoscaler_tuning.types import Decision


class StartLimit:
    """While pods cannot start, no more pods are wanted than when that began, and at least one.

    The problem ends once it has not been seen for clear_after_s: a container that crashes runs between two crashes.
    """

    def __init__(self, clear_after_s: float = 30.0) -> None:
        self._clear_after_s = clear_after_s
        self._seen_s = float("-inf")
        self._most: int | None = None

    def observe(self, now_s: float, problem: str | None, wanted: int) -> bool:
        """Take notice of the problem, if there is one, and of the pods wanted so far; return whether one is present."""
        if problem is not None:
            self._seen_s = now_s
            self._most = max(1, wanted) if self._most is None else self._most
        elif now_s - self._seen_s >= self._clear_after_s:
            self._most = None
        return self._most is not None

    def applied(self, decision: Decision) -> Decision:
        """Return the decision with at most the pods that are allowed."""
        if self._most is None or decision.pods <= self._most:
            return decision
        reason = f"no more than {self._most} pods while pods cannot start; {decision.reason}"
        return replace(decision, pods=self._most, reason=reason)
