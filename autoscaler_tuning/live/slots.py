"""Pods that serve several requests at once (containerConcurrency above 1), for policies that know one a pod."""

from dataclasses import replace
from math import ceil

from autoscaler_tuning.policies.base import Policy
from autoscaler_tuning.types import Decision, Observation


class Slots:
    """Wraps a policy: it sees each request that a pod can serve at once, a slot, as a pod; its wish is rounded up.

    The price of a late request is then in seconds of a slot. The start times of pods are those of their slots. The
    figures behind the decision are in pods again.
    """

    def __init__(self, inner: Policy) -> None:
        self.inner = inner

    @property
    def interval_s(self) -> float:
        return self.inner.interval_s

    def decide(self, obs: Observation) -> Decision:
        """Return the inner policy's decision in pods."""
        slots = obs.concurrency
        if slots == 1:
            return self.inner.decide(obs)
        ready_pods, starting_pods = slots * obs.ready_pods, slots * obs.starting_pods
        seen = replace(obs, ready_pods=ready_pods, starting_pods=starting_pods, concurrency=1)
        decision = self.inner.decide(seen)
        pods = ceil(decision.pods / slots)
        record = {name: _in_pods(name, value, slots) for name, value in decision.record.items()}
        reason = f"{pods} pods for {slots} requests each; {decision.reason}"
        return replace(decision, pods=pods, reason=reason, record=record)


def _in_pods(name: str, value: float, slots: int) -> float:
    """Convert a figure whose name ends in its unit: pods are rounded up like the wish, pod-seconds are not."""
    if name.endswith("_pods"):
        return float(ceil(value / slots))
    return value / slots if name.endswith("_pod_seconds") else value
