"""Pods that serve several requests at once (containerConcurrency above 1), for policies that know one a pod."""

from dataclasses import replace
from math import ceil

from autoscaler_tuning.policies.base import Policy
from autoscaler_tuning.types import Decision, Observation


class Slots:
    """Wraps a policy: it sees each request that a pod can serve at once, a slot, as a pod; its wish is rounded up.

    The price of a late request is then in seconds of a slot. The start times of pods are those of their slots.
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
        decision = self.inner.decide(replace(obs, ready_pods=ready_pods, starting_pods=starting_pods))
        pods = ceil(decision.pods / slots)
        return replace(decision, pods=pods, reason=f"{pods} pods for {slots} requests each; {decision.reason}")
