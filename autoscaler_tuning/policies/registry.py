"""The policies by name: `kpa`, `hpa50@deadline`, `elastic[hold_s=0]`, `kpa[window=6,panic-window-percentage=50]`."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from math import isfinite
from typing import Any, TypeVar

from autoscaler_tuning.policies.base import Policy
from autoscaler_tuning.policies.elastic.elastic import Elastic, ElasticConfig
from autoscaler_tuning.policies.hpa.hpa import Hpa, HpaConfig
from autoscaler_tuning.policies.kpa.knobs import KPA_TUNED, KpaKnobs
from autoscaler_tuning.policies.kpa.kpa import Kpa
from autoscaler_tuning.policies.peak import Peak, PeakConfig
from autoscaler_tuning.types import Order

ORDERS: dict[str, Order] = {"fifo": "fifo", "deadline": "deadline"}
NAME = re.compile(r"(?P<name>[^\[\]@]*)(\[(?P<settings>[^\[\]]*)\])?(@(?P<order>.*))?")
KNATIVE_WINDOW_S = 60.0
# Elastic without one of its parts.
ABLATIONS = {
    "elastic-nohold": "elastic[hold_s=0]",
    "elastic-nohedge": "elastic[hedge=1]",
    "elastic-nojump": "elastic[forecast.jump_sigmas=1e9]",
    "elastic-notrend": "elastic[forecast.trend_gain=0]",
    "elastic-nosurprise": "elastic[scenarios.surprise=0]",
    "elastic-nolikeness": "elastic[scenarios.likeness=0]",
    "elastic-nopast": "elastic[scenarios.memory_s=0.001]",
}

Config = TypeVar("Config")


class UnknownPolicyError(ValueError):
    """No policy of this name, or no such setting; the text lists those there are."""


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """A policy with what belongs to it.

    make: a fresh object for each run.
    order: of the queue in front of the pods; Knative's is fifo.
    min_pods: the fewest pods that it may keep. max_pods: the most, where it says so itself.
    decides_zero: whether it says itself when no pod is needed; the others leave that to Knative's window and grace.
    longest_window_s: what a run must outlast before the policy has shown all that it does.
    zero_window_s, retention_s: Knative's stable window and retention period on the way to zero.
    knobs: of KPA, which Knative runs itself where there is one.
    """

    name: str
    make: Callable[[], Policy]
    order: Order
    min_pods: int
    decides_zero: bool
    longest_window_s: float
    max_pods: int | None = None
    zero_window_s: float = KNATIVE_WINDOW_S
    retention_s: float = 0.0
    knobs: KpaKnobs | None = None


def policy_named(text: str, slo_s: float = 0.5) -> PolicySpec:
    """`kpa`, `kpa-tuned`, `hpa` (70 %), `hpa50` and such, `peak`, `elastic`, or elastic without a part.

    `NAME[setting=value,...]` changes settings (of kpa: Knative's annotations); `NAME@fifo` or `NAME@deadline` takes
    another queue order. Raises UnknownPolicyError.
    """
    match = NAME.fullmatch(text.strip())
    if match is None:
        raise UnknownPolicyError(f"a policy is NAME[setting=value,...]@ORDER, was {text!r}")
    spec = _spec(match["name"], _settings(match["settings"]), slo_s)
    if match["order"] is None:
        return replace(spec, name=text.strip())
    if match["order"] not in ORDERS:
        raise UnknownPolicyError(f"the order of {text!r} must be fifo or deadline, was {match['order']!r}")
    return replace(spec, name=text.strip(), order=ORDERS[match["order"]])


def split_names(text: str) -> list[str]:
    """Names separated by commas, those within brackets left alone."""
    return [name.strip() for name in re.split(r",(?![^\[]*\])", text)]


def overridden(config: Config, settings: Mapping[str, str]) -> Config:
    """The configuration with some settings changed; `forecast.alpha` reaches inside. Raises UnknownPolicyError."""
    for name, text in settings.items():
        outer, _, inner = name.partition(".")
        known = [field.name for field in fields(config)]  # type: ignore[arg-type]  # every caller passes a dataclass
        if outer not in known or is_dataclass(getattr(config, outer)) != bool(inner):
            raise UnknownPolicyError(f"no setting {name!r} of {type(config).__name__}; known: {', '.join(known)}")
        held = getattr(config, outer)
        value = overridden(held, {inner: text}) if inner else _parsed(name, text, held)
        try:
            config = replace(config, **{outer: value})  # type: ignore[type-var]  # as above
        except ValueError as error:
            raise UnknownPolicyError(f"{type(config).__name__}: {error}") from error
    return config


def _parsed(name: str, text: str, held: Any) -> Any:
    """As the setting's present value is typed."""
    try:
        if isinstance(held, bool):
            return {"true": True, "false": False}[text]
        value = type(held)(text)
        if isinstance(value, float) and not isfinite(value):
            raise ValueError(text)
    except (KeyError, ValueError) as error:
        raise UnknownPolicyError(f"{name} must be a {type(held).__name__}, was {text!r}") from error
    return value


def _settings(text: str | None) -> dict[str, str]:
    settings: dict[str, str] = {}
    for part in (text or "").split(","):
        name, equals, value = (word.strip() for word in part.partition("="))
        if part.strip() and not (name and equals and value):
            raise UnknownPolicyError(f"a setting is name=value, was {part!r}")
        if name:
            settings[name] = value
    return settings


def _spec(name: str, settings: dict[str, str], slo_s: float) -> PolicySpec:
    if name in ABLATIONS:
        spec = policy_named(ABLATIONS[name], slo_s)
        if settings:
            raise UnknownPolicyError(f"{name} is {ABLATIONS[name]}: write that, with the other settings")
        return spec
    if name in ("kpa", "kpa-tuned"):
        knobs = overridden(KpaKnobs() if name == "kpa" else KPA_TUNED, _as_fields(settings))
        return kpa_spec(name, knobs)
    if name == "elastic":
        config = overridden(ElasticConfig(slo_s=slo_s), settings)
        return PolicySpec(name, lambda: Elastic(config), "deadline", 0, True, 0.0)
    if name == "peak":
        peak = overridden(PeakConfig(), settings)
        return PolicySpec(name, lambda: Peak(peak), "fifo", 0, True, 0.0)
    if match := re.fullmatch(r"hpa([1-9]\d{0,2})?", name):
        hpa = overridden(HpaConfig(target_utilization_percent=int(match[1] or 70)), settings)
        return PolicySpec(name, lambda: Hpa(hpa), "fifo", 1, True, 300.0)
    known = f"elastic, {', '.join(ABLATIONS)}, hpa, hpaPERCENT, kpa, kpa-tuned, peak"
    raise UnknownPolicyError(f"unknown policy {name!r}; known: {known}, each with @fifo or @deadline")


def kpa_spec(name: str, knobs: KpaKnobs) -> PolicySpec:
    """KPA with these knobs, and Knative's bounds and way to zero that go with them."""
    config = knobs.config()
    return PolicySpec(
        name,
        lambda: Kpa(config),
        "fifo",
        knobs.min_scale,
        False,
        knobs.window_s,
        knobs.max_scale or None,
        knobs.window_s,
        knobs.scale_to_zero_pod_retention_period_s,
        knobs,
    )


def _as_fields(settings: Mapping[str, str]) -> dict[str, str]:
    """Annotations' names to fields: window=6s -> window_s=6."""
    names = {field.name for field in fields(KpaKnobs)}
    found = {}
    for name, value in settings.items():
        plain = name.replace("-", "_")
        timed = f"{plain}_s" in names
        found[f"{plain}_s" if timed else plain] = value.removesuffix("s") if timed else value
    return found
