"""Keeps a policy from being a worse choice than the autoscaler that it replaces."""

from dataclasses import dataclass
from math import inf

from autoscaler_tuning.policies.base import Policy
from autoscaler_tuning.policies.shadow import Shadow
from autoscaler_tuning.types import Decision, Observation


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the policy may cost more than the stock autoscaler.

    ratio: most that it may cost, as a multiple of the stock autoscaler's cost.
    pod_seconds: overspending beyond that ratio from which on the stock autoscaler decides; 40 late responses.
    credit_pod_seconds: most that the policy can save up for later by costing less.
    forgiven_s: time in which half of pod_seconds is forgiven, so that the policy gets another chance.
    """

    ratio: float = 1.05
    pod_seconds: float = 10_000.0
    credit_pod_seconds: float = 10_000.0
    forgiven_s: float = 3600.0

    def __post_init__(self) -> None:
        for name, least in (("ratio", 1.0), ("pod_seconds", 0.0), ("credit_pod_seconds", 0.0), ("forgiven_s", 1.0)):
            if not least <= getattr(self, name) < inf:
                raise ValueError(f"{name} must be finite and at least {least:g}, got {getattr(self, name)}")


class NeverWorse:
    """Wraps a policy: while it has overspent, the stock autoscaler decides.

    The stock autoscaler runs in a shadow service on the live arrivals (shadow.py). Each tick adds to `overspent` what
    the live pods and late responses have cost beyond `ratio` times what those of the shadow service have. It stays from
    -credit_pod_seconds, so that savings of one hour pay for little in another, to pod_seconds, from which on the wanted
    pods are those of the shadow service, until half of it is made up for or forgiven.

    So within any hour (forgiven_s), as the fluid queues count late responses,
        cost <= ratio x stock cost + 1.5 pod_seconds + credit_pod_seconds + 4 jumps,
    because within an hour the stock autoscaler takes over at most twice. Each time costs at most two jumps: the one
    that exhausts the allowance, and the switch, whose pods have to start while those of the shadow service are ready. A
    jump is what the largest rate costs during one start: (late_price x rate + pods for it) x (start time + 1 s, which
    is two ticks). With the defaults, 20 requests a second of 0.1 s and starts of 3 s: 25,000 + 4 x 20,008 pod-seconds.
    Source: a budgeted form of tracking the best expert (Herbster and Warmuth 1998) for two experts, one of them fixed.
    """

    def __init__(self, inner: Policy, stock: Shadow, allowance: Allowance | None = None) -> None:
        self._inner, self._stock, self._allowance = inner, stock, allowance or Allowance()
        self._costs = (0.0, 0.0)
        self._counted_s: float | None = None
        self._overspent = 0.0
        self._stock_decides = False

    @property
    def inner(self) -> Policy:
        """The policy that decides while it has not overspent."""
        return self._inner

    @property
    def interval_s(self) -> float:
        return self._inner.interval_s

    def decide(self, obs: Observation) -> Decision:
        """Return the decision of the policy, or of the stock autoscaler; invalid ones never pass."""
        stock, wanted = self._stock.decide(obs), self._inner.decide(obs)
        self._count(obs)
        record = {**wanted.record, "overspent_pod_seconds": self._overspent, "stock_pods": float(stock.pods)}
        if obs.fresh and is_valid(stock) and (self._stock_decides or not is_valid(wanted)):
            because = f"its decisions have cost {self._overspent:.0f} pod-seconds more than allowed"
            if not is_valid(wanted):
                because = f"{wanted.pods} is no number of pods"
            reason = f"stock: {stock.pods} pods instead of {wanted.pods}, because {because}; {stock.reason}"
            return Decision(stock.pods, reason, record)
        if not is_valid(wanted):
            current = max(0, obs.ready_pods) + max(0, obs.starting_pods)
            return Decision(current, f"no valid decision: keep {current} pods", record)
        return Decision(wanted.pods, wanted.reason, record)

    def _count(self, obs: Observation) -> None:
        """Add what both services have cost since the last tick, and decide who decides."""
        (live_before, stock_before), allowance = self._costs, self._allowance
        self._costs = live, stock = self._stock.live_cost, self._stock.cost
        spent = live - live_before - allowance.ratio * (stock - stock_before)
        if obs.fresh:
            elapsed_s = 0.0 if self._counted_s is None else obs.now_s - self._counted_s
            spent -= allowance.pod_seconds / 2 * min(1.0, max(0.0, elapsed_s / allowance.forgiven_s))
            self._counted_s = obs.now_s
        self._overspent = min(allowance.pod_seconds, max(-allowance.credit_pod_seconds, self._overspent + spent))
        least = allowance.pod_seconds * (0.5 if self._stock_decides else 1.0)
        self._stock_decides = self._overspent >= least


def is_valid(decision: Decision) -> bool:
    """Return whether a decision is an integer of at least 0."""
    return isinstance(decision.pods, int) and decision.pods >= 0
