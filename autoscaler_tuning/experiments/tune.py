"""Finds KPA's own knobs for some traffic and a price of lateness, and says how sure that is.

The search: stock and random settings, halved as they are tried on more seeds (successive halving, Jamieson and
Talwalkar 2016), then downhill knob by knob. How sure: cross-validation in time. The traffic is cut into blocks; knobs
found on the blocks before are judged on the next, which they have not seen, beside stock KPA on the same arrivals.

Numbers of pods do not carry over to another rate as windows and thresholds do: a max-scale that was right in the quiet
part is a disaster in the busy one. So the traffic is tried at several scales of its rates at once, and min-scale and
max-scale are left alone unless they did better on the blocks held back.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import exp, inf, log

import numpy as np

from autoscaler_tuning.experiments.compare import Case, Comparison, begun, run_case
from autoscaler_tuning.experiments.estimates import Estimate, paired_ratio
from autoscaler_tuning.experiments.parallel import each
from autoscaler_tuning.policies.kpa.knobs import KpaKnobs
from autoscaler_tuning.results import PolicyRow
from loadgen.workload.workload import Workload

# Values of each knob that are tried; neighbours stand side by side. target counts only as its product with the
# utilization. At a target-burst-capacity of 0 the activator only wakes the Revision: each pod has its own queue.
GRID: dict[str, tuple[float, ...]] = {
    "target_utilization_percentage": (30, 40, 50, 60, 70, 80, 90, 100),
    "window_s": (6, 8, 10, 12, 15, 20, 30, 45, 60, 90),
    "panic_window_percentage": (5, 10, 17, 25, 34, 50, 75, 100),
    "panic_threshold_percentage": (110, 150, 200, 300, 500, 1000),
    "scale_down_delay_s": (0, 4, 8, 12, 20, 30, 60),
    "target_burst_capacity": (0, 5, 20, 211),
    "min_scale": (0, 1, 2, 3, 4, 6, 8),
    "max_scale": (0, 4, 6, 8, 12, 16, 24, 32),
}
POD_COUNTS = ("min_scale", "max_scale")
LEAST_BLOCK_S = 30
MOST_ROUNDS = 3
STOCK = KpaKnobs()
Said = Callable[[str], None]


class TuneError(ValueError):
    """The traffic cannot be tuned on; the text says why."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How hard to search: random settings at first, seeds for those that stay, blocks in time for how sure it is.

    scales: factors on the rates at which the traffic is tried.
    """

    settings: int = 48
    seeds: int = 3
    blocks: int = 4
    scales: tuple[float, ...] = (0.5, 1.0, 2.0)

    def __post_init__(self) -> None:
        if self.settings < 1 or self.seeds < 1 or self.blocks < 2:
            raise TuneError(f"settings and seeds from 1, blocks from 2: {self.settings}, {self.seeds}, {self.blocks}")
        if not self.scales or not all(0 < scale < inf for scale in self.scales):
            raise TuneError(f"scales must be above 0 and finite, were {self.scales}")


@dataclass(frozen=True, slots=True)
class HeldBack:
    """One run on a block that the knobs were not found on, beside stock KPA's; costs as `cost` has them."""

    label: str
    block: int
    stock: PolicyRow
    tuned: PolicyRow
    stock_cost: float
    tuned_cost: float

    @property
    def ratio(self) -> float:
        """Tuned over stock."""
        return max(1e-9, self.tuned_cost) / max(1e-9, self.stock_cost)


@dataclass(frozen=True, slots=True)
class Tuned:
    """The knobs found on everything, and how those found on earlier blocks did on the next.

    ratio: of the found knobs' cost to stock KPA's, where they were found: too good to be true.
    typical_without_pods, typical_with_pods: geometric mean of that ratio on the blocks held back, where min-scale and
        max-scale were left alone, and where they were searched too; the less of the two was taken.
    held_back_ratio, late, pod_seconds: the same on the blocks held back: the cost, and its two parts. A little too good
        as well, as far as these blocks said whether to bound the pods.
    """

    knobs: KpaKnobs
    ratio: float
    typical_without_pods: float
    typical_with_pods: float
    held_back: tuple[HeldBack, ...]
    held_back_ratio: Estimate
    late: Estimate
    pod_seconds: Estimate


def cost(row: PolicyRow, late_price: float) -> float:
    """Pod-seconds, and late_price pod-seconds for each late answer."""
    return row.pod_seconds + late_price * row.late


def policy_of(knobs: KpaKnobs) -> str:
    """Its name, as `compare` takes it."""
    settings = ",".join(f"{name}={value}" for name, value in knobs.annotations().items())
    return f"kpa[{settings}]" if settings else "kpa"


class KnobSearch:
    """Searches on some traffic, all of it counting alike; keeps what it ran."""

    def __init__(self, traffic: Sequence[Comparison], late_price: float, effort: Effort, said: Said) -> None:
        self._traffic = [part for comparison in traffic for part in _scaled(comparison, effort.scales)]
        self._late_price, self._effort, self._said = late_price, effort, said
        self._costs: dict[tuple[KpaKnobs, int, int], float] = {}

    def best(self, names: Sequence[str]) -> KpaKnobs:
        """The best found of the knobs of these names; deterministic."""
        rng, most = np.random.default_rng(0), self._effort.seeds
        candidates = list(dict.fromkeys([STOCK, *(_drawn(rng, names) for _ in range(self._effort.settings))]))
        seeds = 1
        while len(candidates) > 3:
            candidates = self._sorted(candidates, seeds)[: max(3, len(candidates) // 3)]
            seeds = min(most, seeds + 1)
        best = self._sorted(list(dict.fromkeys([STOCK, *candidates])), most)[0]
        for _ in range(MOST_ROUNDS):
            before = best
            for name in names:
                best = self._sorted([best, *_neighbours(best, name)], most)[0]
            if best == before:
                break
        return best

    def ratio(self, knobs: KpaKnobs, seeds: int | None = None) -> float:
        """Cost over stock KPA's: the geometric mean over the traffic, so that none outweighs the others."""
        count = seeds or self._effort.seeds
        logs = []
        for index in range(len(self._traffic)):
            ours, stock = (sum(self._costs[(tried, index, seed)] for seed in range(count)) for tried in (knobs, STOCK))
            logs.append(log(max(1e-9, ours) / max(1e-9, stock)))
        return exp(sum(logs) / len(logs))

    def _sorted(self, candidates: Sequence[KpaKnobs], seeds: int) -> list[KpaKnobs]:
        """Cheapest first; of equals the first."""
        self._run([STOCK, *candidates], seeds)
        ranked = sorted(candidates, key=lambda knobs: self.ratio(knobs, seeds))
        self._said(f"{self.ratio(ranked[0], seeds):.3f} of stock KPA's cost with {policy_of(ranked[0])}")
        return ranked

    def _run(self, candidates: Sequence[KpaKnobs], seeds: int) -> None:
        missing = [
            (knobs, index, seed)
            for knobs in dict.fromkeys(candidates)
            for index in range(len(self._traffic))
            for seed in range(seeds)
            if (knobs, index, seed) not in self._costs
        ]
        cases = [Case(self._traffic[index], policy_of(knobs), seed) for knobs, index, seed in missing]
        for key, run in zip(missing, each(run_case, cases), strict=True):
            self._costs[key] = cost(run.row, self._late_price)


def tune(traffic: Sequence[Comparison], late_price: float, effort: Effort, said: Said) -> Tuned:
    """Cross-validate with and without the bounds on pods, and search on all of the traffic with what did better.

    Raises TuneError.
    """
    if not 0 < late_price < inf:
        raise TuneError(f"the price of a late answer must be above 0 and finite, was {late_price}")
    all_names = tuple(GRID)
    choices = [tuple(name for name in all_names if name not in POD_COUNTS), all_names]
    tried = [(_held_back(traffic, late_price, effort, names, said), names) for names in choices]
    held_back, names = min(tried, key=lambda pair: _typical(pair[0]))
    search = KnobSearch([begun(comparison) for comparison in traffic], late_price, effort, said)
    knobs = search.best(names)
    return Tuned(
        knobs,
        search.ratio(knobs),
        _typical(tried[0][0]),
        _typical(tried[1][0]),
        tuple(held_back),
        paired_ratio([run.tuned_cost for run in held_back], [run.stock_cost for run in held_back]),
        paired_ratio([run.tuned.late for run in held_back], [run.stock.late for run in held_back]),
        paired_ratio([run.tuned.pod_seconds for run in held_back], [run.stock.pod_seconds for run in held_back]),
    )


def _typical(runs: Sequence[HeldBack]) -> float:
    return exp(sum(log(run.ratio) for run in runs) / len(runs))


def _held_back(
    traffic: Sequence[Comparison], late_price: float, effort: Effort, names: Sequence[str], said: Said
) -> list[HeldBack]:
    """Each block but the first, judged with the knobs found on those before it."""
    found: list[HeldBack] = []
    for block, before, after in folds(traffic, effort.blocks):
        knobs = KnobSearch(before, late_price, effort, said).best(names)
        found += _judged(after, knobs, (block, effort.seeds), late_price)
    return found


def folds(traffic: Sequence[Comparison], blocks: int) -> list[tuple[int, list[Comparison], list[Comparison]]]:
    """(block, the traffic before it, the traffic in it) of each block but the first. Raises TuneError."""
    found = []
    for block in range(1, blocks):
        before = [part for comparison in traffic for part in _blocks(comparison, blocks, 0, block)]
        after = [part for comparison in traffic for part in _blocks(comparison, blocks, block, block + 1)]
        if before and after:
            found.append((block, before, after))
    if not found:
        raise TuneError("every block but one is without requests: nothing can be held back")
    return found


def _judged(
    after: Sequence[Comparison], knobs: KpaKnobs, block_and_seeds: tuple[int, int], late_price: float
) -> list[HeldBack]:
    """Seeds that the search never used, on a block that it never saw."""
    block, seeds = block_and_seeds
    pairs = [(part, seed) for part in after for seed in range(1000, 1000 + seeds)]
    cases = [Case(part, name, seed) for part, seed in pairs for name in ("kpa", policy_of(knobs))]
    rows = [run.row for run in each(run_case, cases)]
    return [
        HeldBack(part.label, block, stock, tuned, cost(stock, late_price), cost(tuned, late_price))
        for (part, _), stock, tuned in zip(pairs, rows[::2], rows[1::2], strict=True)
    ]


def _blocks(comparison: Comparison, blocks: int, first: int, end: int) -> list[Comparison]:
    """The seconds of these blocks; none if nobody asks in them. Raises TuneError."""
    length = len(comparison.counts) / blocks
    if length < LEAST_BLOCK_S:
        raise TuneError(
            f"{blocks} blocks of at least {LEAST_BLOCK_S} s to cross-validate: the workload has "
            f"{len(comparison.counts)} s"
        )
    counts = comparison.counts[round(first * length) : round(end * length)]
    return [begun(replace(comparison, counts=counts))] if sum(counts) else []


def _scaled(comparison: Comparison, scales: Sequence[float]) -> list[Comparison]:
    """The traffic at each scale of its rates, save where nothing is left of it."""
    counts = [Workload(comparison.counts).scaled(scale).counts for scale in scales]
    return [replace(comparison, counts=scaled) for scaled in counts if sum(scaled)]


def _drawn(rng: np.random.Generator, names: Sequence[str]) -> KpaKnobs:
    return _valid(KpaKnobs(), {name: GRID[name][int(rng.integers(len(GRID[name])))] for name in names})


def _neighbours(knobs: KpaKnobs, name: str) -> list[KpaKnobs]:
    """One step up and down in a knob's grid."""
    values = sorted({*GRID[name], getattr(knobs, name)})
    at = values.index(getattr(knobs, name))
    near = values[max(0, at - 1) : at] + values[at + 1 : at + 2]
    return [_valid(knobs, {name: value}) for value in near]


def _valid(knobs: KpaKnobs, changes: dict[str, float]) -> KpaKnobs:
    """A max-scale below the min-scale means none."""
    changed = {name: int(value) if name.endswith("_scale") else float(value) for name, value in changes.items()}
    least = changed.get("min_scale", knobs.min_scale)
    most = changed.get("max_scale", knobs.max_scale)
    return replace(knobs, **{**changed, "max_scale": 0 if most < least else most})  # type: ignore[arg-type]  # by name
