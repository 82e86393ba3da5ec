"""The clairvoyant bound: a lower bound on the pod-seconds of any policy, even one that knows every arrival in advance.

Time is divided into slots of grid_s. n[k] is the mean number of ready pods in slot k. U, S, X and E are sums from the
start: U of pod starts, S of work done (in seconds of one pod), X of work given up as late, and E of work that pods
finish after they were stopped.

    minimise    sum(n) grid_s + cold_start_s U[last]
    subject to  n[k] - n[k-1] <= U[k] - U[k-1], where n[-1] are the initial pods
                S[k] - S[k-1] <= concurrency n[k] grid_s + E[k] - E[k-1]
                E[k] <= longest service time x concurrency x (initial pods + U[k])
                S[k] <= work that has arrived,  S[k] + X[k] >= work whose deadline has passed
                X[k] <= work of the longest requests, as many as may be late,  S[last] = all work that was answered
                n[k] >= 1 in slots in which Knative keeps a pod, because a request arrived within its stable window

Every run satisfies these constraints. The mean over a slot varies no more than the pods themselves, so it needs no more
starts. A pod counts from its start until it is stopped, and after that it only finishes the requests that it serves. So
the linear program is a lower bound on the pod-seconds (ready and starting) of any policy. With integer n and U it is a
lower bound for the policies that change their pods only on the grid; E then grows in each slot by the work that the
pods stopped in that slot leave to finish, and the dual value is the proved bound.

Source: an optimal-capacity program in the manner of Lin, Wierman, Andrew and Thereska (2011), with deadlines.
"""

from dataclasses import dataclass
from math import ceil, floor, inf
from typing import Literal

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array, eye_array, hstack

from autoscaler_tuning.results import FloatArray

# Status that scipy's milp returns for an infeasible program.
INFEASIBLE = 2


class BoundError(ValueError):
    """A parameter is invalid, or the program has no solution; the message states which."""


@dataclass(frozen=True, slots=True)
class BoundConfig:
    """Assumptions of the bound.

    cold_start_s: the shortest cold start. late_ratio: share of the requests that may be late.
    lost: how many of the late requests were never answered, so that their work need not be done.
    zero_window_s: how long Knative keeps a pod after a request, once that request has started one, which takes at most
        wake_s; with 0 the pods may scale to zero at any time.
    end_s: end of the run if it is after the last deadline; until then late work may be done and pods cost.
    time_limit_s, gap_ratio: limits at which the search for whole pods stops.
    """

    slo_s: float = 0.5
    cold_start_s: float = 2.0
    initial_pods: int = 0
    max_pods: int = 40
    concurrency: int = 1
    late_ratio: float = 0.0
    lost: int = 0
    zero_window_s: float = 0.0
    wake_s: float = 10.0
    grid_s: float = 0.5
    end_s: float | None = None
    time_limit_s: float = 30.0
    gap_ratio: float = 0.002

    def __post_init__(self) -> None:
        for name in ("slo_s", "grid_s", "time_limit_s"):
            if not 0 < getattr(self, name) < inf:
                raise BoundError(f"{name} must be above 0 and finite, got {getattr(self, name)}")
        for name in ("cold_start_s", "zero_window_s", "wake_s"):
            if not 0 <= getattr(self, name) < inf:
                raise BoundError(f"{name} must be at least 0 and finite, got {getattr(self, name)}")
        if not 0 <= self.late_ratio <= 1:
            raise BoundError(f"late_ratio must be from 0 to 1, got {self.late_ratio}")


@dataclass(frozen=True, slots=True)
class Bound:
    """A lower bound on pod-seconds.

    pod_seconds: cost of the best plan found. proved_pod_seconds: proved lower bound on the cost of every plan. The two
        are equal for the linear program.
    pods: pods of the best plan in each slot.
    """

    pod_seconds: float
    proved_pod_seconds: float
    pods: FloatArray


def lp_bound(arrivals_s: FloatArray, service_s: FloatArray, config: BoundConfig) -> Bound:
    """Return the lower bound for any policy; raise BoundError if there is none.

    arrivals_s, service_s: shape (n,), arrivals ascending, both in seconds.
    """
    return _solve(arrivals_s, service_s, config, whole_pods=False)


def milp_bound(arrivals_s: FloatArray, service_s: FloatArray, config: BoundConfig) -> Bound:
    """Return the same for whole pods that change only on the grid; the search may stop at the time limit."""
    return _solve(arrivals_s, service_s, config, whole_pods=True)


def _solve(arrivals_s: FloatArray, service_s: FloatArray, config: BoundConfig, whole_pods: bool) -> Bound:
    if len(arrivals_s) == 0 or len(arrivals_s) != len(service_s):
        raise BoundError(
            "arrivals_s must not be empty and service_s must be as long, "
            f"got {len(arrivals_s)} arrivals and {len(service_s)} service times"
        )
    edges_s = slot_edges_s(arrivals_s, config)
    slots = len(edges_s)
    longest_first = np.sort(service_s)[::-1]
    late = floor(config.late_ratio * len(arrivals_s) + 1e-9)
    total_s = float(service_s.sum()) - float(longest_first[: config.lost].sum())
    arrived_s = work_until(arrivals_s, service_s, edges_s, "left")
    due_s = work_until(arrivals_s + config.slo_s, service_s, edges_s, "right")
    due_s = np.minimum(due_s, total_s) if config.lost else due_s
    n, u, s, x = (slice(k * slots, (k + 1) * slots) for k in range(4))
    cost = np.zeros(5 * slots)
    cost[n], cost[u.stop - 1] = config.grid_s, config.cold_start_s
    lower, upper = np.zeros(5 * slots), np.full(5 * slots, np.inf)
    lower[n], upper[n] = required_pods(arrivals_s, config, edges_s), config.max_pods
    upper[s] = arrived_s
    upper[x] = longest_first[:late].sum()
    lower[s.stop - 1] = min(total_s, arrived_s[-1])
    found = milp(
        cost,
        constraints=_constraints(config, float(longest_first[0]), due_s, whole_pods),
        bounds=Bounds(lower, upper),
        integrality=np.repeat([1, 1, 0, 0, 0], slots) if whole_pods else None,
        options={"time_limit": config.time_limit_s, "mip_rel_gap": config.gap_ratio},
    )
    if found.status == INFEASIBLE:
        raise BoundError(f"infeasible: {config.max_pods} pods cannot keep late_ratio down to {config.late_ratio:.4%}")
    proved = found.mip_dual_bound if whole_pods else found.fun
    if proved is None:
        raise BoundError(f"the search proved no bound within time_limit_s, {config.time_limit_s} s")
    best = float("nan") if found.fun is None else float(found.fun)
    return Bound(best, float(proved), np.zeros(0) if found.x is None else found.x[n])


def _constraints(config: BoundConfig, longest_s: float, due_s: FloatArray, whole_pods: bool) -> list[LinearConstraint]:
    """Return the constraints on (n, U, S, X, E), each as long as due_s; the sums U, S, X and E must never fall."""
    slots = len(due_s)
    one = eye_array(slots, format="csr")
    step = (one - eye_array(slots, k=-1, format="csr")).tocsr()
    per_stop_s = longest_s * config.concurrency
    first = np.zeros(slots)
    first[0] = config.initial_pods
    nothing = csr_array((slots, slots))
    if whole_pods:  # E grows by what the stops of a slot leave to finish; stops are starts minus the growth of n
        finished = {"n": per_stop_s * step, "u": -per_stop_s * step, "e": step}
    else:
        finished = {"u": -per_stop_s * one, "e": one}

    def row(most: float | FloatArray, **parts: csr_array) -> LinearConstraint:
        return LinearConstraint(hstack([parts.get(name, nothing) for name in "nusxe"], format="csr"), ub=most)

    return [
        row(first, n=step, u=-step),
        row(0.0, n=-config.concurrency * config.grid_s * one, s=step, e=-step),
        row(per_stop_s * (first if whole_pods else config.initial_pods), **finished),
        row(-due_s, s=-one, x=-one),
        row(0.0, u=-step),
        row(0.0, s=-step),
        row(0.0, x=-step),
        row(0.0, e=-step),
    ]


def slot_edges_s(arrivals_s: FloatArray, config: BoundConfig) -> FloatArray:
    """Return the times at which slots end, shape (slots,), up to end_s or the last deadline."""
    end_s = max(config.end_s or 0.0, float(arrivals_s[-1] + config.slo_s))
    edges_s: FloatArray = config.grid_s * np.arange(1.0, ceil(end_s / config.grid_s) + 1)
    return edges_s


def required_pods(arrivals_s: FloatArray, config: BoundConfig, edges_s: FloatArray) -> FloatArray:
    """Return 1 for each slot throughout which Knative keeps a pod ready, else 0; slots end at edges_s.

    Knative's windows consist of whole seconds, so a pod may stop up to two seconds before its window is over.
    """
    newest = np.searchsorted(arrivals_s, edges_s - config.grid_s - config.wake_s, side="right") - 1
    requested_s = np.where(newest >= 0, arrivals_s[newest], -inf)
    until_s = np.minimum(requested_s + config.zero_window_s - 2.0, inf if config.end_s is None else config.end_s)
    return (edges_s <= until_s).astype(float)


def work_until(
    times_s: FloatArray, service_s: FloatArray, edges_s: FloatArray, side: Literal["left", "right"]
) -> FloatArray:
    """Return the work with a time before each edge (side left) or up to and including it (right), shape (slots,)."""
    return np.concatenate([[0.0], np.cumsum(service_s)])[np.searchsorted(times_s, edges_s, side=side)]
