"""The world of a simulation: how long pods take to start and to serve, and what surrounds them."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf, isfinite
from typing import Literal

import numpy as np

from autoscaler_tuning.results import FloatArray
from autoscaler_tuning.types import Order

MAY_BE_0 = (
    *("service_cv", "actuation_s", "start_serial_s", "readiness_delay_s", "termination_s", "judged_from_s"),
    *("queue_proxy_cpu_per_request_s", "cpu_per_start_s"),
)
ABOVE_0 = ("service_time_s", "slo_s", "cpu_limit_cores")
COUNTS = ("concurrency", "max_pods", "nodes", "queue_limit", "gateway_workers")


class SimulationError(ValueError):
    """Impossible parameters; the text names the rule and the value."""


@dataclass(frozen=True, slots=True)
class SimConfig:
    """The world of one simulation.

    service_time_s, service_cv: mean and coefficient of variation of the time in a pod; cv 0 is constant.
    service_distribution: of that time; exponential has a cv of 1, whatever service_cv says.
    service_samples_s, cold_start_samples_s: measured times; where given, draws come from these.
    cold_start_s: (least, most) of the uniform time from decision to ready.
    start_serial_s, nodes: what of a start a node does one after the other, so that many at once take longer.
    actuation_s: from a decision to pods that are created or told to stop: patch, reconcile, ReplicaSet.
    readiness_delay_s: from ready to the first request that is sent there; the activator looks every 0.2 s.
    termination_s: how long a stopped pod lasts at least; Knative's queue-proxy waits 30 s before it goes.
    queue_limit: requests that may wait; more are refused and lost. None is no limit.
    gateway_workers: of the ingress, each with its own turn, where requests go straight to the pods.
    cpu_per_request_s, queue_proxy_cpu_per_request_s, cpu_per_start_s: CPU time, for policies that look at CPU; a
        request's grows with its service time. A request without it computes all the time, at the pod's limit.
    cpu_limit_cores: no pod can use more.
    judged_from_s: what came before this only teaches the policy, and counts for nothing in the row.
    """

    service_time_s: float = 0.1
    service_cv: float = 0.1
    service_distribution: Literal["lognormal", "exponential"] = "lognormal"
    service_samples_s: tuple[float, ...] = ()
    cold_start_s: tuple[float, float] = (2.0, 6.0)
    cold_start_samples_s: tuple[float, ...] = ()
    actuation_s: float = 0.0
    start_serial_s: float = 0.0
    nodes: int = 1
    readiness_delay_s: float = 0.0
    termination_s: float = 30.0
    slo_s: float = 0.5
    concurrency: int = 1
    initial_pods: int = 0
    max_pods: int = 40
    queue_limit: int | None = None
    gateway_workers: int = 2
    cpu_per_request_s: float | None = None
    queue_proxy_cpu_per_request_s: float = 0.0
    cpu_per_start_s: float = 0.5
    cpu_limit_cores: float = 1.0
    order: Order = "fifo"
    judged_from_s: float = 0.0

    def __post_init__(self) -> None:
        self._check_numbers()
        if not 0 <= self.cold_start_s[0] <= self.cold_start_s[1] < inf:
            raise SimulationError(f"cold_start_s must be 0 <= least <= most, was {self.cold_start_s}")
        if not 0 <= self.initial_pods <= self.max_pods:
            raise SimulationError(f"initial_pods must be from 0 to max_pods, {self.max_pods}, was {self.initial_pods}")
        if any(not 0 < sample_s < inf for sample_s in (*self.service_samples_s, *self.cold_start_samples_s)):
            raise SimulationError("measured times must be above 0 s and finite, got one that was not")
        most_s = self.cpu_limit_cores * self.service_time_s / self.concurrency
        if self.cpu_per_request_s is not None and not 0 <= self.cpu_per_request_s <= most_s:
            raise SimulationError(
                f"cpu_per_request_s must be from 0 to what the limit allows in a service time, {most_s:g} s, "
                f"was {self.cpu_per_request_s}"
            )

    def _check_numbers(self) -> None:
        for name in (*ABOVE_0, *MAY_BE_0):
            value, above = getattr(self, name), name in ABOVE_0
            if not (isfinite(value) and value >= 0 and (value > 0 or not above)):
                raise SimulationError(f"{name} must be {'above' if above else 'at least'} 0 and finite, was {value}")
        for name in COUNTS:
            count = getattr(self, name)
            if count is not None and count < 1:
                raise SimulationError(f"{name} must be at least 1, was {count}")

    @property
    def cpu_ratio(self) -> float:
        """CPU seconds of pod and queue-proxy for each second of service."""
        if self.cpu_per_request_s is None:
            own = self.cpu_limit_cores / self.concurrency
        else:
            own = self.cpu_per_request_s / self.service_time_s
        return own + self.queue_proxy_cpu_per_request_s / self.service_time_s


def service_times(config: SimConfig, rng: np.random.Generator, size: int) -> FloatArray:
    """Time in a pod of each request, shape (size,), in seconds."""
    if config.service_samples_s:
        return rng.choice(np.asarray(config.service_samples_s), size)
    if config.service_distribution == "exponential":
        return rng.exponential(config.service_time_s, size)
    variance = np.log1p(config.service_cv * config.service_cv)
    return rng.lognormal(np.log(config.service_time_s) - variance / 2, np.sqrt(variance), size)


def cold_starts(config: SimConfig, rng: np.random.Generator) -> Iterator[float]:
    """Time to start of one pod after another, without end, in seconds."""
    while True:
        if config.cold_start_samples_s:
            yield from rng.choice(np.asarray(config.cold_start_samples_s), 64).tolist()
        else:
            yield from rng.uniform(*config.cold_start_s, size=64).tolist()
