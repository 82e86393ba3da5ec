"""The policies by name."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from autoscaler_tuning.policies.base import Policy
from autoscaler_tuning.policies.elastic import Elastic, ElasticConfig
from autoscaler_tuning.policies.hpa import Hpa, HpaConfig
from autoscaler_tuning.policies.kpa import Kpa, KpaConfig
from autoscaler_tuning.types import Order

ORDERS: dict[str, Order] = {"fifo": "fifo", "deadline": "deadline"}


class UnknownPolicyError(ValueError):
    """No policy of this name; the text lists those there are."""


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """A policy with what belongs to it.

    make: a fresh object for each run.
    order: of the queue in front of the pods; Knative's is fifo.
    min_pods: the fewest pods that it may keep.
    decides_zero: whether it says itself when no pod is needed; the others leave that to Knative's window and grace.
    longest_window_s: what a run must outlast before the policy has shown all that it does.
    """

    name: str
    make: Callable[[], Policy]
    order: Order
    min_pods: int
    decides_zero: bool
    longest_window_s: float


def policy_named(text: str, slo_s: float = 0.5) -> PolicySpec:
    """`kpa`, `hpa` (70 %), `hpa50` and such, `elastic`; `NAME@fifo` or `NAME@deadline` for another queue order."""
    name, at, order = text.partition("@")
    spec = _spec(name, slo_s)
    if not at:
        return spec
    if order not in ORDERS:
        raise UnknownPolicyError(f"the order of {text!r} must be fifo or deadline, was {order!r}")
    return replace(spec, name=text, order=ORDERS[order])


def _spec(name: str, slo_s: float) -> PolicySpec:
    if name == "kpa":
        return PolicySpec(name, lambda: Kpa(KpaConfig()), "fifo", 0, False, 60.0)
    if name == "elastic":
        return PolicySpec(name, lambda: Elastic(ElasticConfig(slo_s=slo_s)), "deadline", 0, True, 0.0)
    if match := re.fullmatch(r"hpa([1-9]\d{0,2})?", name):
        percent = int(match[1] or 70)
        return PolicySpec(name, lambda: Hpa(HpaConfig(target_utilization_percent=percent)), "fifo", 1, True, 300.0)
    raise UnknownPolicyError(
        f"unknown policy {name!r}; known: elastic, hpa, hpaPERCENT, kpa, each with @fifo or @deadline"
    )
