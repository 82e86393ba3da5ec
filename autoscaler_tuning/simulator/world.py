"""The simulated environment: start and service times of pods, nodes, CPU use and the request path."""

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
    """A parameter is invalid; the message states the rule and the value."""


@dataclass(frozen=True, slots=True)
class SimConfig:
    """Settings of one simulation.

    service_time_s, service_cv: mean and coefficient of variation of the time in a pod; a cv of 0 makes it constant.
    service_distribution: distribution of that time; an exponential one has a cv of 1 and ignores service_cv.
    service_samples_s, cold_start_samples_s: measured times; if given, times are drawn from them.
    cold_start_s: (least, most) of the uniformly distributed time from decision to ready, without start_serial_s.
    start_serial_s, nodes: part of a pod start that each node runs for one pod at a time, so that many starts at once
        take longer; number of nodes.
    actuation_s: time from a decision until pods are created or stopped: patch, reconcile, ReplicaSet.
    readiness_delay_s: time from ready to the first request that is sent to the pod; the activator probes every 0.2 s.
    termination_s: shortest time that a stopped pod terminates; Knative's queue-proxy waits 30 s before it exits.
    queue_limit: most waiting requests; further ones are refused and lost. None means no limit.
    gateway_workers: workers of the ingress, each with a round robin of its own, if requests go straight to the pods.
    cpu_per_request_s, queue_proxy_cpu_per_request_s, cpu_per_start_s: CPU time, for policies that observe CPU; that of
        a request is proportional to its service time. With cpu_per_request_s None a busy pod uses its CPU limit.
    cpu_limit_cores: most CPU that a pod can use.
    order: order of the queue.
    judged_from_s: earlier requests only warm up the policy and do not count in the row.
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
            raise SimulationError(f"cold_start_s must be 0 <= least <= most and finite, got {self.cold_start_s}")
        if not 0 <= self.initial_pods <= self.max_pods:
            raise SimulationError(f"initial_pods must be from 0 to max_pods, {self.max_pods}, got {self.initial_pods}")
        for sample_s in (*self.service_samples_s, *self.cold_start_samples_s):
            if not 0 < sample_s < inf:
                raise SimulationError(f"measured times must be above 0 s and finite, got {sample_s}")
        most_s = self.cpu_limit_cores * self.service_time_s / self.concurrency
        if self.cpu_per_request_s is not None and not 0 <= self.cpu_per_request_s <= most_s:
            raise SimulationError(
                f"cpu_per_request_s must be from 0 to what cpu_limit_cores allows within a service time, {most_s:g} s, "
                f"got {self.cpu_per_request_s}"
            )

    def _check_numbers(self) -> None:
        for name in (*ABOVE_0, *MAY_BE_0):
            value, above = getattr(self, name), name in ABOVE_0
            if not (isfinite(value) and value >= 0 and (value > 0 or not above)):
                raise SimulationError(f"{name} must be {'above' if above else 'at least'} 0 and finite, got {value}")
        for name in COUNTS:
            count = getattr(self, name)
            if count is not None and count < 1:
                raise SimulationError(f"{name} must be at least 1, got {count}")

    @property
    def cpu_ratio(self) -> float:
        """CPU time of pod and queue-proxy per second of service."""
        if self.cpu_per_request_s is None:
            own = self.cpu_limit_cores / self.concurrency
        else:
            own = self.cpu_per_request_s / self.service_time_s
        return own + self.queue_proxy_cpu_per_request_s / self.service_time_s


def service_times(config: SimConfig, rng: np.random.Generator, size: int) -> FloatArray:
    """Draw the time in a pod of each request, shape (size,), in seconds."""
    if config.service_samples_s:
        return rng.choice(np.asarray(config.service_samples_s), size)
    if config.service_distribution == "exponential":
        return rng.exponential(config.service_time_s, size)
    variance = np.log1p(config.service_cv * config.service_cv)
    return rng.lognormal(np.log(config.service_time_s) - variance / 2, np.sqrt(variance), size)


def cold_starts(config: SimConfig, rng: np.random.Generator) -> Iterator[float]:
    """Draw start times of pods without end, in seconds."""
    while True:
        if config.cold_start_samples_s:
            yield from rng.choice(np.asarray(config.cold_start_samples_s), 64).tolist()
        else:
            yield from rng.uniform(*config.cold_start_s, size=64).tolist()
