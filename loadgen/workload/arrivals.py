"""Intended send times, as pure functions of the rates, the mode and the seed."""

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


# count: exactly the workload's number of requests, at random times (a Poisson process conditioned on its total).
# poisson: the workload's numbers are means. even: equal gaps. burst: all at the start of the second.
MODES: dict[str, Callable[[np.random.Generator, int], Times]] = {
    "count": _count,
    "poisson": _poisson,
    "even": _even,
    "burst": _burst,
}
RECORDED = "recorded"  # the times of the trace itself


def planned_times(workload: Workload, mode: str | None, seed: int, first_second: int = 0) -> Times:
    """Return the times of a trace in mode recorded, otherwise those of arrival_times.

    The default mode is recorded if the workload has recorded times, otherwise count. Raises InputError if mode is
    recorded and the workload has no such times, for example because it was scaled.
    """
    if mode is None:
        mode = RECORDED if workload.recorded_s else "count"
    if mode != RECORDED:
        return arrival_times(workload.counts, mode, seed, first_second)
    if sum(workload.counts) != len(workload.recorded_s):
        raise InputError("--mode recorded needs a trace with a time for each request and --scale 1")
    return np.array(workload.recorded_s)


def arrival_times(counts: Sequence[int], mode: str, seed: int, first_second: int = 0) -> Times:
    """Return the times in seconds from the start, ascending, shape (requests,).

    Each second uses its own generator, seeded by (seed, number of the second), so that a part of a workload that starts
    at first_second has the same arrivals as in the whole workload.
    Raises ValueError for an unknown mode.
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
    within = [
        second + MODES[mode](np.random.default_rng((seed, first_second + second)), count)
        for second, count in enumerate(counts)
        if count
    ]
    return np.concatenate(within) if within else np.empty(0)
