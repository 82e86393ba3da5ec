"""The number of pods that minimises the price of pods plus the price of late responses over some scenarios."""

from collections.abc import Callable
from dataclasses import dataclass, field

from autoscaler_tuning.policies.elastic.error_paths import PRIOR
from autoscaler_tuning.results import FloatArray

FOR_DUE = "for a burst that is due"


@dataclass(frozen=True, slots=True)
class Scenarios:
    """Scenarios of the arrivals until a pod started now would be ready, and what one pod serves of them in time.

    paths: cumulative arrivals, shape (ticks, scenarios): bursts that are due, then past errors, then the quantiles of
        noise, then a first burst.
    weights: shape (scenarios,), sum 1.
    served: cumulative responses of one pod that can be on time at each tick, shape (ticks,).
    late_price: price of one late response, in pods.
    due: number of bursts that are due.
    steady: what a steady stream costs with so many pods besides, because requests come in clusters, in pods.
    """

    paths: FloatArray
    weights: FloatArray
    served: FloatArray
    late_price: float
    due: int = 0
    steady: Callable[[int], float] = lambda _: 0.0
    _evaluated: dict[int, FloatArray] = field(default_factory=dict, init=False)

    def least_cost_pods(self, first: int, most: int) -> int:
        """Return the integer from 0 to most with the least cost, searched downhill from first: the cost is convex."""

        def cost(pods: int) -> float:
            return pods + self.late_price * float(self._late(pods) @ self.weights) + self.steady(pods)

        return _minimum(cost, first, most)

    def cause(self, pods: int) -> str:
        """Return what the last of these pods is for: the scenarios that cost most with one pod less."""
        if pods < 1:
            return ""
        costs = self._late(pods - 1) * self.weights
        due, costs = float(costs[: self.due].sum()), costs[self.due :]
        past, noise = float(costs[: -len(PRIOR) - 1].sum()), float(costs[-len(PRIOR) - 1 : -1].sum())
        noise += self.steady(pods - 1) / self.late_price
        by_cause = {
            FOR_DUE: due,
            "for bursts like past ones": past,
            "for noise": noise,
            "for a first burst": float(costs[-1]),
        }
        return max(by_cause, key=by_cause.__getitem__)

    def most_requests(self) -> float:
        """Return the most arrivals in any scenario except that of a first burst."""
        return float(self.paths[-1, :-1].max())

    def _late(self, pods: int) -> FloatArray:
        """Return the late responses in each scenario, shape (scenarios,).

        It is the largest lead of the arrivals over the responses that can be on time.
        """
        if pods not in self._evaluated:  # the search and cause() need the same ones
            lead = self.paths - (self.served * pods)[:, None]
            self._evaluated[pods] = lead.max(axis=0, initial=0.0)
        return self._evaluated[pods]


def _minimum(cost: Callable[[int], float], first: int, most: int) -> int:
    """Return the integer from 0 to most at which a convex cost is least, searching downhill from first."""
    best, best_cost = first, cost(first)
    for step in (1, -1):
        while 0 <= best + step <= most and (next_cost := cost(best + step)) < best_cost:
            best, best_cost = best + step, next_cost
    return best
