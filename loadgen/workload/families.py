"""Families of synthetic workloads: `step`, `ramp`, `diurnal`, `mmpp`, `flash`, `on-off`, `gamma` and `weibull`.

Each is a pure function of its settings, written as in `mmpp:seed=3,seconds=600,high=80`. Every family has `seconds`,
`seed`, `low` and `high` (requests per second) and `noise`. With the noise `poisson`, the count of each second is drawn
from a Poisson distribution, as in a log of real users. With `none`, it is the rate itself, rounded so that the running
total is never off by more than a half. `gamma` and `weibull` draw the time between two requests instead; they have
`rate`, the mean requests per second, and `cv`, the coefficient of variation, in place of `low`, `high` and `noise`.
"""

from collections.abc import Callable, Mapping
from math import inf
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from loadgen.errors import WorkloadError
from loadgen.workload.renewal import gamma_gaps, renewal_counts, weibull_gaps

Rates = NDArray[np.float64]
Settings = Mapping[str, float]

MOST_SECONDS = 31 * 86_400
MOST_PER_SECOND = 1_000_000
# Of a run; a request takes about 400 bytes from its plan to its report.
MOST_REQUESTS = 10_000_000
COMMON: Settings = MappingProxyType({"seconds": 600, "seed": 0, "low": 5, "high": 40})
NOISES = ("poisson", "none")
# 1 is Poisson; 16 is more than the fits that were published.
LEAST_CV, MOST_CV = 0.1, 16
# These random numbers must not share a stream with the arrivals within a second, whose seed is (seed, second).
RATES, COUNTS = 1, 2


class Family(NamedTuple):
    """A family: the function for its mean requests per second, and the defaults of its settings.

    A default of nan means that the value is derived from the other settings.
    is_drawn: the function returns the drawn requests of each second, to which no noise is added.
    """

    rates: Callable[[Settings, np.random.Generator], Rates]
    defaults: Settings
    is_drawn: bool = False


def _step(settings: Settings, _: np.random.Generator) -> Rates:
    """Return low, then high from at_s to until_s (by default the middle third), then low."""
    seconds = _seconds(settings)
    at_s, until_s = _or(settings["at_s"], seconds.size // 3), _or(settings["until_s"], 2 * seconds.size // 3)
    return np.where((seconds >= at_s) & (seconds < until_s), settings["high"], settings["low"])


def _ramp(settings: Settings, _: np.random.Generator) -> Rates:
    """Return a straight line from low in the first second to high in the last."""
    return np.linspace(settings["low"], settings["high"], _seconds(settings).size)


def _diurnal(settings: Settings, _: np.random.Generator) -> Rates:
    """Return a cosine with a period of period_s (by default the whole run): low at its start, high in its middle."""
    seconds = _seconds(settings)
    period_s = _or(settings["period_s"], seconds.size)
    return _between(settings, (1 - np.cos(2 * np.pi * (seconds + 0.5) / period_s)) / 2)


def _mmpp(settings: Settings, rng: np.random.Generator) -> Rates:
    """Return the rates of a Markov-modulated Poisson process with two states, which starts in the low one.

    low_s, high_s: mean time in each state; the times are exponentially distributed. A second in which the state
    changes has the mean of its parts.
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
    """Return a flash crowd that rises to high within rise_s and then decays with the time constant decay_s.

    at_s: when it starts, by default after a third of the run.
    """
    seconds = _seconds(settings)
    since_s = seconds - _or(settings["at_s"], seconds.size // 3) + 1
    rise, decay = since_s / settings["rise_s"], np.exp(-(since_s - settings["rise_s"]) / settings["decay_s"])
    return _between(settings, np.clip(np.minimum(rise, decay), 0, 1))


def _on_off(settings: Settings, _: np.random.Generator) -> Rates:
    """Return high for on_s and low for off_s in turn; low is 0 by default, so that the service can scale to zero."""
    phase_s = _seconds(settings) % (settings["on_s"] + settings["off_s"])
    return np.where(phase_s < settings["on_s"], settings["high"], settings["low"])


def _gamma(settings: Settings, rng: np.random.Generator) -> Rates:
    """Return requests whose distances have a Gamma distribution."""
    return renewal_counts(gamma_gaps(settings["cv"]), settings["rate"], int(settings["seconds"]), rng)


def _weibull(settings: Settings, rng: np.random.Generator) -> Rates:
    """Return requests whose distances have a Weibull distribution."""
    return renewal_counts(weibull_gaps(settings["cv"]), settings["rate"], int(settings["seconds"]), rng)


NAN = float("nan")
DRAWN: Settings = MappingProxyType({"seconds": 600, "seed": 0, "rate": 10, "cv": 4})
FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "step": Family(_step, {**COMMON, "at_s": NAN, "until_s": NAN}),
        "ramp": Family(_ramp, COMMON),
        "diurnal": Family(_diurnal, {**COMMON, "period_s": NAN}),
        "mmpp": Family(_mmpp, {**COMMON, "low_s": 60, "high_s": 20}),
        "flash": Family(_flash, {**COMMON, "at_s": NAN, "rise_s": 10, "decay_s": 60}),
        "on-off": Family(_on_off, {**COMMON, "low": 0, "on_s": 30, "off_s": 90}),
        "gamma": Family(_gamma, DRAWN, is_drawn=True),
        "weibull": Family(_weibull, DRAWN, is_drawn=True),
    }
)


def is_family(spec: str) -> bool:
    """Return whether the text is the name of a family, alone or before a colon."""
    return spec.partition(":")[0] in FAMILIES


def family_rates(spec: str) -> Rates:
    """Return the mean requests of each second, shape (seconds,), for `NAME` or `NAME:key=value,...`.

    Raises WorkloadError if there is no such family or setting.
    """
    return _rates(_parsed(spec))


def family_counts(spec: str) -> tuple[int, ...]:
    """Return the requests of each second, drawn from (seed, second) unless noise is none. Raises WorkloadError."""
    parsed = _parsed(spec)
    rates = _rates(parsed)
    if parsed.noise == "none" or FAMILIES[parsed.name].is_drawn:
        return tuple(np.diff(np.rint(np.cumsum(rates)), prepend=0).astype(int).tolist())
    seed = int(parsed.settings["seed"])
    return tuple(int(np.random.default_rng((seed, second, COUNTS)).poisson(rate)) for second, rate in enumerate(rates))


class _Parsed(NamedTuple):
    """The parts of a text such as `mmpp:seed=3,noise=none`."""

    name: str
    settings: Settings
    noise: str


def _rates(parsed: _Parsed) -> Rates:
    rng = np.random.default_rng((int(parsed.settings["seed"]), 0, RATES))
    return FAMILIES[parsed.name].rates(parsed.settings, rng)


def _parsed(spec: str) -> _Parsed:
    name, _, words = spec.partition(":")
    if name not in FAMILIES:
        raise WorkloadError(f"{spec}: family must be one of {', '.join(FAMILIES)}, got {name!r}")
    family, noise = FAMILIES[name], NOISES[0]
    settings = dict(family.defaults)
    for word in filter(None, words.split(",")):
        key, _, value = word.partition("=")
        if key == "noise" and value in NOISES and not family.is_drawn:
            noise = value
        elif key in settings:
            settings[key] = _number(spec, key, value)
        else:
            known = ", ".join([*settings, *([] if family.is_drawn else [f"noise ({' or '.join(NOISES)})"])])
            raise WorkloadError(f"{spec}: settings of {name} must be {known}, got {word!r}")
    if family.is_drawn and settings["seconds"] * settings["rate"] > MOST_REQUESTS:
        raise WorkloadError(
            f"{spec}: seconds x rate must be at most {MOST_REQUESTS} requests, got "
            f"{settings['seconds'] * settings['rate']:.0f}"
        )
    return _Parsed(name, settings, noise)


def _number(spec: str, key: str, word: str) -> float:
    """Parse the value of a setting and check its range."""
    try:
        value = float(word)
    except ValueError:
        value = NAN
    whole = key in ("seconds", "seed")
    least = {"seconds": 1, "seed": 0, "low": 0, "high": 0, "at_s": 0, "until_s": 0}.get(key, 1e-9)
    least = {"cv": LEAST_CV, "rate": 1e-6}.get(key, least)
    most = {"seconds": MOST_SECONDS, **dict.fromkeys(("low", "high", "rate"), MOST_PER_SECOND), "cv": MOST_CV}.get(
        key, inf
    )
    if not least <= value <= most or value == inf or (whole and value != int(value)):
        kind = "an integer" if whole else "a number"
        raise WorkloadError(f"{spec}: {key} must be {kind} from {least:.7g} to {most:.7g}, got {word!r}")
    return value


def _between(settings: Settings, high_ratio: Rates) -> Rates:
    """Interpolate between low (0) and high (1)."""
    rates: Rates = settings["low"] + (settings["high"] - settings["low"]) * high_ratio
    return rates


def _seconds(settings: Settings) -> NDArray[np.int64]:
    return np.arange(int(settings["seconds"]))


def _or(value: float, derived: float) -> float:
    return derived if np.isnan(value) else value
