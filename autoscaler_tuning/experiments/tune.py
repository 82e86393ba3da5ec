"""Finds the knobs of KPA for some traffic and a price of late requests, and cross-validates them.

The search starts with stock and random settings, drops the worst of them as it tries them on more seeds (successive
halving, Jamieson and Talwalkar 2016), and then descends knob by knob. Cross-validation is in time: the traffic is cut
into blocks, and the knobs found on the earlier blocks are evaluated on the next one, which the search has not seen,
together with stock KPA on the same arrivals.

Windows and thresholds carry over to another rate, numbers of pods do not: a max-scale that suits the quiet part of the
traffic is far too low for the busy part. So each setting is tried at several scales of the rates, and min-scale and
max-scale are searched only if that did better on the held-out blocks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import exp, inf, log

import numpy as np

from autoscaler_tuning.experiments.compare import Case, Comparison, run_case
from autoscaler_tuning.experiments.estimates import Estimate, paired_ratio
from autoscaler_tuning.experiments.parallel import parallel_map
from autoscaler_tuning.policies.kpa.knobs import KpaKnobs
from autoscaler_tuning.results import PolicyRow
from loadgen.workload.workload import Workload

# Values to try for each knob, in ascending order. target is missing because only its product with the utilization
# matters. With a target-burst-capacity of 0 the activator only wakes the Revision, and each pod has its own queue.
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
Progress = Callable[[str], None]


class TuneError(ValueError):
    """The traffic or the settings of the search are unusable; the message gives the reason."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How thorough the search is.

    settings: random settings at the start.
    seeds: seeds of the settings that remain.
    blocks: blocks in time for the cross-validation.
    scales: factors on the rates of the traffic, at each of which every setting is tried.
    """

    settings: int = 48
    seeds: int = 3
    blocks: int = 4
    scales: tuple[float, ...] = (0.5, 1.0, 2.0)

    def __post_init__(self) -> None:
        if self.settings < 1 or self.seeds < 1 or self.blocks < 2:
            raise TuneError(
                f"settings and seeds must be at least 1 and blocks at least 2, got {self.settings}, {self.seeds} and "
                f"{self.blocks}"
            )
        if not self.scales or not all(0 < scale < inf for scale in self.scales):
            raise TuneError(f"scales must be above 0 and finite, got {self.scales}")


@dataclass(frozen=True, slots=True)
class HeldOutRun:
    """One run on a held-out block, with the tuned knobs and with stock KPA; the costs are those of `cost`."""

    label: str
    block: int
    stock: PolicyRow
    tuned: PolicyRow
    stock_cost: float
    tuned_cost: float

    @property
    def ratio(self) -> float:
        """Return the cost with the tuned knobs divided by that of stock KPA."""
        return max(1e-9, self.tuned_cost) / max(1e-9, self.stock_cost)


@dataclass(frozen=True, slots=True)
class Tuned:
    """The knobs found on all of the traffic, and the result of the cross-validation.

    ratio: cost relative to stock KPA on the traffic that was searched, which is too optimistic.
    typical_without_pods, typical_with_pods: geometric mean of the ratio on the held-out blocks, without and with
        min-scale and max-scale in the search. The search with the lower one was chosen.
    held_back: the runs on the held-out blocks.
    held_back_ratio, late, pod_seconds: cost on the held-out blocks relative to stock KPA, and its two parts. They are
        slightly optimistic too, because the same blocks decided whether min-scale and max-scale were searched.
    """

    knobs: KpaKnobs
    ratio: float
    typical_without_pods: float
    typical_with_pods: float
    held_back: tuple[HeldOutRun, ...]
    held_back_ratio: Estimate
    late: Estimate
    pod_seconds: Estimate


def cost(row: PolicyRow, late_price: float) -> float:
    """Return the cost of a run: its pod-seconds plus late_price for each late request."""
    return row.pod_seconds + late_price * row.late


def policy_name(knobs: KpaKnobs) -> str:
    """Return the name of KPA with these knobs, as `compare` accepts it."""
    settings = ",".join(f"{name}={value}" for name, value in knobs.annotations().items())
    return f"kpa[{settings}]" if settings else "kpa"


class KnobSearch:
    """Searches for the best knobs on some traffic, in which each part counts the same; caches the cost of each run."""

    def __init__(self, traffic: Sequence[Comparison], late_price: float, effort: Effort, progress: Progress) -> None:
        self._traffic = [part for comparison in traffic for part in _scaled(comparison, effort.scales)]
        self._late_price, self._effort, self._progress = late_price, effort, progress
        self._costs: dict[tuple[KpaKnobs, int, int], float] = {}

    def best(self, names: Sequence[str]) -> KpaKnobs:
        """Return the best setting found when only the knobs of these names are searched; deterministic."""
        rng, most = np.random.default_rng(0), self._effort.seeds
        candidates = list(dict.fromkeys([STOCK, *(_random_knobs(rng, names) for _ in range(self._effort.settings))]))
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
        """Return the cost relative to stock KPA, as the geometric mean over the traffic so that no part dominates."""
        count = seeds or self._effort.seeds
        logs = []
        for index in range(len(self._traffic)):
            tuned, stock = (sum(self._costs[(tried, index, seed)] for seed in range(count)) for tried in (knobs, STOCK))
            logs.append(log(max(1e-9, tuned) / max(1e-9, stock)))
        return exp(sum(logs) / len(logs))

    def _sorted(self, candidates: Sequence[KpaKnobs], seeds: int) -> list[KpaKnobs]:
        """Return the candidates sorted by cost, cheapest first; candidates of equal cost keep their order."""
        self._run([STOCK, *candidates], seeds)
        ranked = sorted(candidates, key=lambda knobs: self.ratio(knobs, seeds))
        self._progress(f"{self.ratio(ranked[0], seeds):.3f} of stock KPA's cost with {policy_name(ranked[0])}")
        return ranked

    def _run(self, candidates: Sequence[KpaKnobs], seeds: int) -> None:
        missing = [
            (knobs, index, seed)
            for knobs in dict.fromkeys(candidates)
            for index in range(len(self._traffic))
            for seed in range(seeds)
            if (knobs, index, seed) not in self._costs
        ]
        cases = [Case(self._traffic[index], policy_name(knobs), seed) for knobs, index, seed in missing]
        for key, run in zip(missing, parallel_map(run_case, cases), strict=True):
            self._costs[key] = cost(run.row, self._late_price)


def tune(traffic: Sequence[Comparison], late_price: float, effort: Effort, progress: Progress) -> Tuned:
    """Cross-validate with and without min-scale and max-scale, then search all of the traffic with the better choice.

    progress: called with a short text after each step of the search.
    Raises TuneError.
    """
    if not 0 < late_price < inf:
        raise TuneError(f"price of a late request must be above 0 and finite, got {late_price}")
    all_names = tuple(GRID)
    choices = [tuple(name for name in all_names if name not in POD_COUNTS), all_names]
    tried = [(_cross_validate(traffic, late_price, effort, names, progress), names) for names in choices]
    held_back, names = min(tried, key=lambda pair: _geometric_mean(pair[0]))
    search = KnobSearch(traffic, late_price, effort, progress)
    knobs = search.best(names)
    return Tuned(
        knobs,
        search.ratio(knobs),
        _geometric_mean(tried[0][0]),
        _geometric_mean(tried[1][0]),
        tuple(held_back),
        paired_ratio([run.tuned_cost for run in held_back], [run.stock_cost for run in held_back]),
        paired_ratio([run.tuned.late for run in held_back], [run.stock.late for run in held_back]),
        paired_ratio([run.tuned.pod_seconds for run in held_back], [run.stock.pod_seconds for run in held_back]),
    )


def _geometric_mean(runs: Sequence[HeldOutRun]) -> float:
    return exp(sum(log(run.ratio) for run in runs) / len(runs))


def _cross_validate(
    traffic: Sequence[Comparison], late_price: float, effort: Effort, names: Sequence[str], progress: Progress
) -> list[HeldOutRun]:
    """Return the runs on each block except the first, with the knobs found on the blocks before it."""
    runs: list[HeldOutRun] = []
    for block, before, after in folds(traffic, effort.blocks):
        knobs = KnobSearch(before, late_price, effort, progress).best(names)
        runs += _evaluate(after, knobs, block, effort.seeds, late_price)
    return runs


def folds(traffic: Sequence[Comparison], blocks: int) -> list[tuple[int, list[Comparison], list[Comparison]]]:
    """Return (block, the traffic before it, the traffic in it) for each block except the first.

    Raises TuneError if no block can be held out.
    """
    found = []
    for block in range(1, blocks):
        before = [part for one in traffic for part in _take_blocks(one, blocks, 0, block)]
        after = [part for one in traffic for part in _take_blocks(one, blocks, block, block + 1)]
        if before and after:
            found.append((block, before, after))
    if not found:
        raise TuneError("no block can be held out: fewer than two blocks have requests")
    return found


def _evaluate(
    after: Sequence[Comparison], knobs: KpaKnobs, block: int, seeds: int, late_price: float
) -> list[HeldOutRun]:
    """Run the knobs and stock KPA on a block that the search has not seen, with seeds that it has not used."""
    pairs = [(part, seed) for part in after for seed in range(1000, 1000 + seeds)]
    cases = [Case(part, name, seed) for part, seed in pairs for name in ("kpa", policy_name(knobs))]
    rows = [run.row for run in parallel_map(run_case, cases)]
    return [
        HeldOutRun(part.label, block, stock, tuned, cost(stock, late_price), cost(tuned, late_price))
        for (part, _), stock, tuned in zip(pairs, rows[::2], rows[1::2], strict=True)
    ]


def _take_blocks(comparison: Comparison, blocks: int, first: int, end: int) -> list[Comparison]:
    """Return the traffic of these blocks; empty if it has no requests. Raises TuneError if the blocks are too short."""
    length = len(comparison.counts) / blocks
    if length < LEAST_BLOCK_S:
        raise TuneError(
            f"workload must have {blocks} blocks of at least {LEAST_BLOCK_S} s to cross-validate, got "
            f"{len(comparison.counts)} s"
        )
    counts = comparison.counts[round(first * length) : round(end * length)]
    return [replace(comparison, counts=counts)] if sum(counts) else []


def _scaled(comparison: Comparison, scales: Sequence[float]) -> list[Comparison]:
    """Return the traffic at each scale of its rates that leaves any requests."""
    counts = [Workload(comparison.counts).scaled(scale).counts for scale in scales]
    return [replace(comparison, counts=scaled) for scaled in counts if sum(scaled)]


def _random_knobs(rng: np.random.Generator, names: Sequence[str]) -> KpaKnobs:
    return _with_changes(KpaKnobs(), {name: GRID[name][int(rng.integers(len(GRID[name])))] for name in names})


def _neighbours(knobs: KpaKnobs, name: str) -> list[KpaKnobs]:
    """Return the knobs with one of them one step lower and one step higher in its grid."""
    values = sorted({*GRID[name], getattr(knobs, name)})
    at = values.index(getattr(knobs, name))
    near = values[max(0, at - 1) : at] + values[at + 1 : at + 2]
    return [_with_changes(knobs, {name: value}) for value in near]


def _with_changes(knobs: KpaKnobs, changes: dict[str, float]) -> KpaKnobs:
    """Return the knobs with these changes, without a max-scale if it would be below the min-scale."""
    changed = {name: int(value) if name.endswith("_scale") else float(value) for name, value in changes.items()}
    least = changed.get("min_scale", knobs.min_scale)
    most = changed.get("max_scale", knobs.max_scale)
    return replace(knobs, **{**changed, "max_scale": 0 if most < least else most})  # type: ignore[arg-type]  # by name
