"""When each request is meant to be sent: pure functions of the rates, the mode and the seed."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from loadgen.errors import InputError
from loadgen.workload.workload import Workload

Times = NDArray[np.float64]


def _count(rng: np.random.Generator, count: int) -> Times:
    return np.sort(rng.random(count))


def _poisson(rng: np.random.Generator, count: int) -> Times:
    return np.sort(rng.random(rng.poisson(count)))


def _even(rng: np.random.Generator, count: int) -> Times:
    return np.arange(count) / max(1, count)


def _burst(rng: np.random.Generator, count: int) -> Times:
    return np.zeros(count)


# count: exactly as many as the workload says, at random moments (a Poisson process given its total).
# poisson: the workload's numbers are means. even: equal gaps. burst: all at the second's start.
MODES: dict[str, Callable[[np.random.Generator, int], Times]] = {
    "count": _count,
    "poisson": _poisson,
    "even": _even,
    "burst": _burst,
}


RECORDED = "recorded"  # a trace's own times


def planned_times(workload: Workload, mode: str | None, seed: int, first_second: int = 0) -> Times:
    """As arrival_times; a trace's own times in mode recorded, which is the default where there are any.

    Raises InputError if the workload has none, as after a scale.
    """
    if mode is None:
        mode = RECORDED if workload.recorded_s else "count"
    if mode != RECORDED:
        return arrival_times(workload.counts, mode, seed, first_second)
    if sum(workload.counts) != len(workload.recorded_s):
        raise InputError("--mode recorded needs a trace with a time for each request, at --scale 1")
    return np.array(workload.recorded_s)


def arrival_times(counts: Sequence[int], mode: str, seed: int, first_second: int = 0) -> Times:
    """Seconds from the start, ascending, shape (requests,).

    Each second draws from a generator of its own, seeded by (seed, its number in the workload), so a part of a
    workload, which begins at its first_second, has the same arrivals as in the whole.
    Raises ValueError for an unknown mode.
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, was {mode!r}")
    within = [
        second + MODES[mode](np.random.default_rng((seed, first_second + second)), count)
        for second, count in enumerate(counts)
        if count
    ]
    return np.concatenate(within) if within else np.empty(0)
