"""Keeps pods while nothing is known about the traffic: no data, or no request seen yet, is no reason to remove pods."""

from dataclasses import replace

from autoscaler_tuning.types import Decision, Observation


class TrafficKnowledge:
    """Replaces decisions that a policy made without knowledge of the traffic."""

    def __init__(self, unseen_for_s: float) -> None:
        """unseen_for_s: time of fresh signals without a request, after which the traffic counts as idle."""
        self._unseen_for_s = unseen_for_s
        self._began_s: float | None = None

    def restart(self) -> None:
        """Forget what is known: the dispatcher, and with it its counters, began anew."""
        self._began_s = None

    def applied(self, decision: Decision, last: Decision | None, obs: Observation, now_s: float) -> Decision:
        """Return the decision, or one that keeps the last pods.

        last: the last decision; None if there is none, and then the pods that run stay.
        now_s: the controller's clock, which does not restart with the dispatcher.
        """
        kept = obs.ready_pods + obs.starting_pods if last is None else last.pods
        if not obs.fresh:
            return replace(decision, pods=kept, reason=f"no fresh signals: keep {kept} pods")
        if self._began_s is None:
            self._began_s = now_s
        seen = obs.arrived > 0 or obs.waiting > 0 or obs.in_flight > 0
        if seen or now_s - self._began_s >= self._unseen_for_s or kept <= decision.pods:
            return decision
        return replace(decision, pods=kept, reason=f"no request seen yet: keep {kept} pods")
