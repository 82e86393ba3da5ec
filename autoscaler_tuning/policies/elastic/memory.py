"""What `elastic` has learned, as values for JSON, so that a restarted controller does not begin ignorant."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from autoscaler_tuning.policies.base import StateError

VERSION = 1
# Arrivals that are older than this say nothing about the present rate.
MOST_AGE_S = 600.0
# More of them, or larger ones, come from no controller.
MOST_VALUES, MOST_VALUE = 10_000, 1e12


@dataclass(frozen=True, slots=True)
class Memory:
    """The state of `elastic`.

    tick_s, arrivals: length of a tick, and the requests of each of the newest ones, oldest first.
    service_time_s: None if none has been believed. start_times_s: of the newest pods.
    bursts: times of the newest bursts, at most 0, relative to when the state was taken.
    profile: cumulative arrivals of the newest burst in each tick. intervals: (seconds, hits, misses) of each.
    """

    tick_s: float
    arrivals: tuple[int, ...]
    service_time_s: float | None
    start_times_s: tuple[float, ...]
    bursts: tuple[float, ...]
    profile: tuple[float, ...]
    intervals: tuple[tuple[float, int, int], ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values, with the version of the format."""
        return {"version": VERSION, **{name: getattr(self, name) for name in self.__slots__}}


def parse_memory(state: object) -> Memory:
    """Return the state that as_json gave, before or after JSON; raise StateError if it is of another kind."""
    if not isinstance(state, Mapping):
        raise StateError(f"the state of elastic must be an object, got {type(state).__name__}")
    if state.get("version") != VERSION:
        raise StateError(f"the state of elastic must have version {VERSION}, got {state.get('version')!r}")
    service_time_s = state.get("service_time_s")
    intervals = state.get("intervals")
    if not isinstance(intervals, Sequence) or any(len(_numbers("intervals", one)) != 3 for one in intervals):
        raise StateError(f"intervals of the state must be lists of three numbers, got {intervals!r:.80}")
    (tick_s,) = _numbers("tick_s", [state.get("tick_s")])
    return Memory(
        tick_s=tick_s,
        arrivals=tuple(map(int, _numbers("arrivals", state.get("arrivals")))),
        service_time_s=None if service_time_s is None else _numbers("service_time_s", [service_time_s])[0],
        start_times_s=_numbers("start_times_s", state.get("start_times_s")),
        bursts=_numbers("bursts", state.get("bursts"), least=-inf),
        profile=_numbers("profile", state.get("profile")),
        intervals=tuple((float(seconds), int(hits), int(misses)) for seconds, hits, misses in intervals),
    )


def _numbers(name: str, values: object, least: float = 0.0) -> tuple[float, ...]:
    """Return a list of numbers from least on; raise StateError if it is anything else."""
    if isinstance(values, Sequence) and not isinstance(values, str) and len(values) <= MOST_VALUES:
        are_numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        if are_numbers and all(least <= value < MOST_VALUE and value > -MOST_VALUE for value in values):
            return tuple(values)
    raise StateError(f"{name} of the state must be at most {MOST_VALUES} finite numbers, got {values!r:.80}")
