"""Synthetic workloads by name: `step`, `ramp`, `diurnal`, `mmpp`, `flash`, `on-off`; pure functions of their settings.

`mmpp:seed=3,seconds=600,high=80` names one. Every family has `seconds`, `seed`, `low` and `high` (requests per second)
and `noise`: `poisson` draws each second's count from a Poisson distribution, as in a log of real users, `none` gives
the bare rate, rounded so that the running total is never off by more than a half.
"""

from collections.abc import Callable, Mapping
from math import inf
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from loadgen.errors import WorkloadError

Rates = NDArray[np.float64]
Settings = Mapping[str, float]

MOST_SECONDS = 31 * 86_400
MOST_PER_SECOND = 1_000_000
COMMON: Settings = MappingProxyType({"seconds": 600, "seed": 0, "low": 5, "high": 40})
NOISES = ("poisson", "none")
# What is drawn here must not share a stream with the arrivals within a second, whose seed is (seed, second).
RATES, COUNTS = 1, 2


class Family(NamedTuple):
    """rates: mean requests in each second; defaults: its own settings; nan: derived from the others."""

    rates: Callable[[Settings, np.random.Generator], Rates]
    defaults: Settings


def _step(settings: Settings, _: np.random.Generator) -> Rates:
    """Low, then high between at_s and until_s (thirds unless said), then low."""
    seconds = _seconds(settings)
    at_s, until_s = _or(settings["at_s"], seconds.size // 3), _or(settings["until_s"], 2 * seconds.size // 3)
    return np.where((seconds >= at_s) & (seconds < until_s), settings["high"], settings["low"])


def _ramp(settings: Settings, _: np.random.Generator) -> Rates:
    """From low in the first second to high in the last, in a straight line."""
    return np.linspace(settings["low"], settings["high"], _seconds(settings).size)


def _diurnal(settings: Settings, _: np.random.Generator) -> Rates:
    """A day in period_s (the whole run unless said): low at its start, high in its middle, a cosine between."""
    seconds = _seconds(settings)
    period_s = _or(settings["period_s"], seconds.size)
    return _between(settings, (1 - np.cos(2 * np.pi * (seconds + 0.5) / period_s)) / 2)


def _mmpp(settings: Settings, rng: np.random.Generator) -> Rates:
    """Markov-modulated Poisson process with two states, which begins in the low one.

    low_s, high_s: mean stay in each state, exponentially distributed. A second in which the state changes has the mean
    of its parts.
    Source: Fischer and Meier-Hellstern, The Markov-modulated Poisson process (MMPP) cookbook, 1993.
    """
    size = _seconds(settings).size
    stays_s: list[float] = []
    while sum(stays_s) < size:
        stays_s += rng.exponential((settings["low_s"], settings["high_s"]), (64, 2)).ravel().tolist()
    ends_s = np.concatenate([[0.0], np.cumsum(stays_s)])
    high_s = np.concatenate([[0.0], np.cumsum(np.where(np.arange(len(stays_s)) % 2, stays_s, 0.0))])
    return _between(settings, np.diff(np.interp(np.arange(size + 1), ends_s, high_s)))


def _flash(settings: Settings, _: np.random.Generator) -> Rates:
    """A crowd from at_s on (a third unless said): up to high within rise_s, then back with time constant decay_s."""
    seconds = _seconds(settings)
    since_s = seconds - _or(settings["at_s"], seconds.size // 3) + 1
    rise, decay = since_s / settings["rise_s"], np.exp(-(since_s - settings["rise_s"]) / settings["decay_s"])
    return _between(settings, np.clip(np.minimum(rise, decay), 0, 1))


def _on_off(settings: Settings, _: np.random.Generator) -> Rates:
    """High for on_s, low for off_s, and again; low is 0 unless said, so that pods can go to zero."""
    phase_s = _seconds(settings) % (settings["on_s"] + settings["off_s"])
    return np.where(phase_s < settings["on_s"], settings["high"], settings["low"])


NAN = float("nan")
FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "step": Family(_step, {"at_s": NAN, "until_s": NAN}),
        "ramp": Family(_ramp, {}),
        "diurnal": Family(_diurnal, {"period_s": NAN}),
        "mmpp": Family(_mmpp, {"low_s": 60, "high_s": 20}),
        "flash": Family(_flash, {"at_s": NAN, "rise_s": 10, "decay_s": 60}),
        "on-off": Family(_on_off, {"low": 0, "on_s": 30, "off_s": 90}),
    }
)


def is_family(spec: str) -> bool:
    """Whether it begins with a family's name, alone or before a colon."""
    return spec.partition(":")[0] in FAMILIES


def family_rates(spec: str) -> Rates:
    """Mean requests in each second, shape (seconds,), of `NAME` or `NAME:key=value,...`; raises WorkloadError."""
    return _rates(*_parsed(spec)[:2])


def family_counts(spec: str) -> tuple[int, ...]:
    """Requests in each second, each drawn from (seed, its number) unless noise is none; raises WorkloadError."""
    name, settings, noise = _parsed(spec)
    rates = _rates(name, settings)
    if noise == "none":
        return tuple(np.diff(np.rint(np.cumsum(rates)), prepend=0).astype(int).tolist())
    seed = int(settings["seed"])
    return tuple(int(np.random.default_rng((seed, second, COUNTS)).poisson(rate)) for second, rate in enumerate(rates))


def _rates(name: str, settings: Settings) -> Rates:
    return FAMILIES[name].rates(settings, np.random.default_rng((int(settings["seed"]), 0, RATES)))


def _parsed(spec: str) -> tuple[str, dict[str, float], str]:
    """Name, settings and noise."""
    name, _, words = spec.partition(":")
    if name not in FAMILIES:
        raise WorkloadError(f"{spec}: a family must be one of {', '.join(FAMILIES)}, was {name!r}")
    settings, noise = {**COMMON, **FAMILIES[name].defaults}, NOISES[0]
    for word in filter(None, words.split(",")):
        key, _, value = word.partition("=")
        if key == "noise" and value in NOISES:
            noise = value
        elif key in settings:
            settings[key] = _number(spec, key, value)
        else:
            known = ", ".join([*settings, f"noise ({' or '.join(NOISES)})"])
            raise WorkloadError(f"{spec}: {name} has {known}; found {word!r}")
    return name, settings, noise


def _number(spec: str, key: str, word: str) -> float:
    """A setting's value, within what it may be."""
    try:
        value = float(word)
    except ValueError:
        value = NAN
    whole = key in ("seconds", "seed")
    least = {"seconds": 1, "seed": 0, "low": 0, "high": 0, "at_s": 0, "until_s": 0}.get(key, 1e-9)
    most = {"seconds": MOST_SECONDS, "low": MOST_PER_SECOND, "high": MOST_PER_SECOND}.get(key, inf)
    if not least <= value <= most or value == inf or (whole and value != int(value)):
        kind = "a whole number" if whole else "a number"
        raise WorkloadError(f"{spec}: {key} must be {kind} from {least:.7g} to {most:.7g}, was {word!r}")
    return value


def _between(settings: Settings, high_ratio: Rates) -> Rates:
    """Low where it is 0, high where it is 1."""
    rates: Rates = settings["low"] + (settings["high"] - settings["low"]) * high_ratio
    return rates


def _seconds(settings: Settings) -> NDArray[np.int64]:
    return np.arange(int(settings["seconds"]))


def _or(value: float, derived: float) -> float:
    return derived if np.isnan(value) else value
