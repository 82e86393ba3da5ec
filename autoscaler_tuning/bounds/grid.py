"""The clairvoyant bound for whole pods that change only on a time grid, by dynamic programming.

It solves the same problem as milp_bound of linear_program.py about a hundred times faster. The state after a slot is
(pods, unfinished work). A pod cannot start and stop within one slot, which the program there allows, so this bound may
be slightly higher. A price on late work replaces the limit on it: for any price, least cost - price x limit is a lower
bound (Lagrange), and the best of a few prices is close to the optimum. Work is counted in whole quanta, rounded so that
the result remains a lower bound.

Source: Everett (1963), Lagrange multipliers for resource allocation; Bellman (1957).
"""

from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from autoscaler_tuning.bounds.linear_program import BoundConfig, BoundError, required_pods, slot_edges_s, work_until
from autoscaler_tuning.results import FloatArray

# Prices of a second of late work, in pod-seconds: from almost nothing to more than the cost of any start.
PRICES = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 9.0, 14.0, 20.0, 40.0, 80.0, 200.0, 1000.0)
QUANTA_PER_SLOT = 25


class GridBound:
    """Bounds for any late ratio on the same arrivals; solutions found for one late ratio are reused for the next."""

    def __init__(self, arrivals_s: FloatArray, service_s: FloatArray, config: BoundConfig) -> None:
        """Divide the arrivals into slots; raise BoundError unless the SLO is a whole number of slots.

        arrivals_s, service_s: shape (n,), arrivals ascending, both in seconds. config.late_ratio is ignored.
        """
        slots_of_slo = round(config.slo_s / config.grid_s)
        if abs(slots_of_slo * config.grid_s - config.slo_s) > 1e-9 or slots_of_slo < 1:
            raise BoundError(f"slo_s must be a multiple of grid_s, {config.grid_s} s, got {config.slo_s}")
        self._service_s, self._config = service_s, config
        edges_s = slot_edges_s(arrivals_s, config)
        self._arriving = _quanta(arrivals_s, service_s, config, edges_s)
        self._required_pods = required_pods(arrivals_s, config, edges_s)
        self._due = _sums_of(self._arriving, slots_of_slo)
        self._costs: dict[float, float] = {}

    def pod_seconds(self, late_ratio: float) -> float:
        """Return a lower bound on the pod-seconds with which at most this share of the requests is late."""
        late = floor(late_ratio * len(self._service_s) + 1e-9)
        limit_s = float(np.sort(self._service_s)[::-1][:late].sum())
        low, high = 0, len(PRICES) - 1
        while low < high:  # the bound is concave in the price, so a search uphill finds its maximum
            middle = (low + high) // 2
            if self._bound(PRICES[middle], limit_s) < self._bound(PRICES[middle + 1], limit_s):
                low = middle + 1
            else:
                high = middle
        return max(0.0, self._bound(PRICES[low], limit_s))

    def _bound(self, price: float, limit_s: float) -> float:
        if price not in self._costs:
            self._costs[price] = self._least(price)
        return self._costs[price] - price * limit_s

    def _least(self, price: float) -> float:
        """Return the least cost over all plans at this price.

        value[pods, quanta waiting + 1] is the least cost of a plan in that state. One quantum may be done in advance,
        which makes up for the rounding of the arriving work.
        """
        config = self._config
        late_cost = price * config.grid_s / QUANTA_PER_SLOT
        per_stop = ceil(float(self._service_s.max()) * config.concurrency * QUANTA_PER_SLOT / config.grid_s)
        value = np.full((self._most_pods() + 1, int(self._due.max()) + 2), np.inf)
        value[min(config.initial_pods, len(value) - 1), 1] = 0.0
        slots = zip(self._arriving.tolist(), self._due.tolist(), self._required_pods.tolist(), strict=True)
        for quanta, most, required in slots:
            value = _resized(value, config.cold_start_s, per_stop)
            if required:
                value[0] = np.inf
            value = self._served(value, quanta, most, late_cost)
        return float(value.min())

    def _most_pods(self) -> int:
        """Return the pods that can do all the work there can be within one slot; a further pod only adds cost."""
        useful = ceil(
            (int(self._due.max()) + int(self._arriving.max()) + 1) / (QUANTA_PER_SLOT * self._config.concurrency)
        )
        return min(self._config.max_pods, max(1, useful))

    def _served(self, value: FloatArray, quanta: int, most: int, late_cost: float) -> FloatArray:
        """Advance one slot: work arrives and pods work; waiting work beyond `most` is late, priced and dropped."""
        config, width = self._config, value.shape[1]
        after = np.full_like(value, np.inf)
        columns = np.arange(width)
        for pods in range(len(value)):
            target = columns + quanta - pods * config.concurrency * QUANTA_PER_SLOT
            kept = np.clip(target, 0, most + 1)
            costs = value[pods] + late_cost * np.maximum(0, target - (most + 1)) + config.grid_s * pods
            low = int(np.searchsorted(target, 0, side="right"))  # all states that end idle are equal: keep the cheapest
            high = int(np.searchsorted(target, most + 1, side="right"))
            after[pods, kept[low:high]] = costs[low:high]
            if low:
                after[pods, 0] = min(after[pods, 0], costs[:low].min())
            if high < width:
                after[pods, most + 1] = min(after[pods, most + 1], costs[high:].min())
        return after


def _resized(value: FloatArray, cold_start_s: float, per_stop: int) -> FloatArray:
    """Return the least cost after pods stop, each finishing up to per_stop quanta, or start at cold_start_s each."""
    value = value.copy()
    for pods in range(len(value) - 1, 0, -1):
        width = value.shape[1]
        shifted = np.full(width, np.inf)
        if per_stop < width:
            shifted[: width - per_stop] = value[pods, per_stop:]
        shifted[0] = min(shifted[0], value[pods, : per_stop + 1].min())
        np.minimum(value[pods - 1], shifted, out=value[pods - 1])
    ramp = cold_start_s * np.arange(len(value))[:, None]
    cheapest: FloatArray = np.minimum.accumulate(value - ramp, axis=0) + ramp
    return cheapest


def _sums_of(came: NDArray[np.intp], slots: int) -> NDArray[np.intp]:
    """Return the quanta that arrived in the newest slots, for each slot: the work that may still wait at its end."""
    sums = np.concatenate([np.zeros(slots, dtype=np.intp), np.cumsum(came)])
    newest: NDArray[np.intp] = sums[slots:] - sums[:-slots]
    return newest


def _quanta(
    arrivals_s: FloatArray, service_s: FloatArray, config: BoundConfig, edges_s: FloatArray
) -> NDArray[np.intp]:
    """Return the quanta of work that arrive in each slot; their running sum never exceeds the real work."""
    sums = np.floor(work_until(arrivals_s, service_s, edges_s, "left") * QUANTA_PER_SLOT / config.grid_s + 1e-9)
    quanta: NDArray[np.intp] = np.diff(sums, prepend=0.0).astype(np.intp)
    return quanta
