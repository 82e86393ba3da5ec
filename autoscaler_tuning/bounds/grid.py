"""The clairvoyant optimum in whole pods that change on a grid, by dynamic programming with a price on late work.

The same problem as milp_bound of bound.py, a hundred times sooner: the state after a slot is (pods, unfinished work).
No pod is started and stopped within one slot, which the program there allows; so this one may lie a little higher.
A price on late work takes the place of the limit on it; for any price, least cost - price x limit is a lower bound
(Lagrange), and the best of a few prices is nearly the optimum. Work is counted in whole quanta, rounded so that the
bound stays one.

Source: Everett (1963), Lagrange multipliers for resource allocation; Bellman (1957).
"""

from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from autoscaler_tuning.bounds.linear_program import BoundConfig, BoundError, awake, slot_edges_s, work_until
from autoscaler_tuning.results import FloatArray

# Pod-seconds for a second of late work; from hardly anything to more than any start.
PRICES = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 9.0, 14.0, 20.0, 40.0, 80.0, 200.0, 1000.0)
QUANTA_PER_SLOT = 25


class GridBound:
    """Bounds for any late ratio on the same arrivals; what was solved for one is kept for the next."""

    def __init__(self, arrivals_s: FloatArray, service_s: FloatArray, config: BoundConfig) -> None:
        """arrivals_s, service_s: shape (n,), arrivals ascending, in seconds; config.late_ratio counts for nothing here.

        Raises BoundError unless the SLO is a whole number of slots.
        """
        slots_of_slo = round(config.slo_s / config.grid_s)
        if abs(slots_of_slo * config.grid_s - config.slo_s) > 1e-9 or slots_of_slo < 1:
            raise BoundError(f"slo_s must be a multiple of grid_s, {config.grid_s} s, was {config.slo_s}")
        self._service_s, self._config = service_s, config
        edges_s = slot_edges_s(arrivals_s, config)
        self._came = _quanta(arrivals_s, service_s, config, edges_s)
        self._awake = awake(arrivals_s, config, edges_s)
        self._due = _sums_of(self._came, slots_of_slo)
        self._costs: dict[float, float] = {}

    def pod_seconds(self, late_ratio: float) -> float:
        """What pods cost at the least when at most this share of the requests is late."""
        late = floor(late_ratio * len(self._service_s) + 1e-9)
        limit_s = float(np.sort(self._service_s)[::-1][:late].sum())
        low, high = 0, len(PRICES) - 1
        while low < high:  # concave in the price: uphill
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
        """Least cost over all plans. Values are kept as (pods, quanta waiting + 1): one quantum may be done in advance,
        which makes up for the rounding of what came.
        """
        config = self._config
        late_cost = price * config.grid_s / QUANTA_PER_SLOT
        per_stop = ceil(float(self._service_s.max()) * config.concurrency * QUANTA_PER_SLOT / config.grid_s)
        value = np.full((self._most_pods() + 1, int(self._due.max()) + 2), np.inf)
        value[min(config.initial_pods, len(value) - 1), 1] = 0.0
        slots = zip(self._came.tolist(), self._due.tolist(), self._awake.tolist(), strict=True)
        for quanta, most, is_awake in slots:
            value = _resized(value, config.cold_start_s, per_stop)
            if is_awake:
                value[0] = np.inf
            value = self._served(value, quanta, most, late_cost)
        return float(value.min())

    def _most_pods(self) -> int:
        """No more than would do in one slot all work that there can be: a further pod only costs."""
        useful = ceil((int(self._due.max()) + int(self._came.max()) + 1) / (QUANTA_PER_SLOT * self._config.concurrency))
        return min(self._config.max_pods, max(1, useful))

    def _served(self, value: FloatArray, quanta: int, most: int, late_cost: float) -> FloatArray:
        """One slot: work comes, pods work, and what then waits beyond most is late, paid for and dropped."""
        config, width = self._config, value.shape[1]
        after = np.full_like(value, np.inf)
        columns = np.arange(width)
        for pods in range(len(value)):
            target = columns + quanta - pods * config.concurrency * QUANTA_PER_SLOT
            kept = np.clip(target, 0, most + 1)
            costs = value[pods] + late_cost * np.maximum(0, target - (most + 1)) + config.grid_s * pods
            low = int(np.searchsorted(target, 0, side="right"))  # all that end idle are alike: the cheapest counts
            high = int(np.searchsorted(target, most + 1, side="right"))
            after[pods, kept[low:high]] = costs[low:high]
            if low:
                after[pods, 0] = min(after[pods, 0], costs[:low].min())
            if high < width:
                after[pods, most + 1] = min(after[pods, most + 1], costs[high:].min())
        return after


def _resized(value: FloatArray, cold_start_s: float, per_stop: int) -> FloatArray:
    """Pods are stopped, each finishing up to per_stop quanta, or started at the price of a start."""
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
    """Quanta of the newest slots, at each slot: what may still wait at its end."""
    sums = np.concatenate([np.zeros(slots, dtype=np.intp), np.cumsum(came)])
    newest: NDArray[np.intp] = sums[slots:] - sums[:-slots]
    return newest


def _quanta(
    arrivals_s: FloatArray, service_s: FloatArray, config: BoundConfig, edges_s: FloatArray
) -> NDArray[np.intp]:
    """Quanta of work that come in each slot; their sums are rounded down, so that none comes too much."""
    sums = np.floor(work_until(arrivals_s, service_s, edges_s, "left") * QUANTA_PER_SLOT / config.grid_s + 1e-9)
    quanta: NDArray[np.intp] = np.diff(sums, prepend=0.0).astype(np.intp)
    return quanta
