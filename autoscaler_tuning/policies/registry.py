"""The registry of policies: one row per policy, from which everything else about the policy is derived.

To add a policy, write its file and add its row to POLICIES. A name may include settings and a queue order: `kpa`,
`hpa50@deadline`, `elastic[hold_s=0]`, `kpa[window=6,panic-window-percentage=50]`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Generic, TypeVar

from autoscaler_tuning.policies.base import Bounded, Policy, RevisionSettings
from autoscaler_tuning.policies.elastic.config import ABLATIONS, ElasticConfig
from autoscaler_tuning.policies.elastic.elastic import Elastic
from autoscaler_tuning.policies.hpa.hpa import Hpa, HpaConfig
from autoscaler_tuning.policies.kpa.knobs import KPA_TUNED, KpaKnobs, apply_annotations
from autoscaler_tuning.policies.kpa.kpa import Kpa
from autoscaler_tuning.policies.never_worse import NeverWorse
from autoscaler_tuning.policies.peak import Peak, PeakConfig
from autoscaler_tuning.policies.scale_to_zero import knative_decides, scales_the_deployment, writes_bounds
from autoscaler_tuning.policies.settings import SettingError, apply_settings
from autoscaler_tuning.policies.shadow import Shadow, ShadowConfig
from autoscaler_tuning.types import Order

ORDERS: dict[str, Order] = {"fifo": "fifo", "deadline": "deadline"}
NAME = re.compile(r"(?P<name>[^\[\]@]*)(\[(?P<settings>[^\[\]]*)\])?(@(?P<order>.*))?")
NUMBER = re.compile(r"[1-9]\d{0,2}")

Config = TypeVar("Config")
Made = TypeVar("Made", bound=Policy)


class UnknownPolicyError(ValueError):
    """There is no such policy or setting; the message lists those that exist."""


class KnativeClass(StrEnum):
    """The autoscaler class of the Revision that a policy scales (annotation autoscaling.knative.dev/class)."""

    KPA = "kpa.autoscaling.knative.dev"
    HPA = "hpa.autoscaling.knative.dev"


@dataclass(frozen=True, slots=True)
class MainKnob:
    """The setting that trades pods for late responses, and the values that a frontier tries."""

    name: str
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyEntry(Generic[Config, Made]):
    """One policy of the registry.

    about: one-line description.
    config: returns the default settings for an SLO in seconds.
    make: returns a fresh policy with these settings.
    order: order of the queue in front of the pods; Knative's is fifo.
    main_knob: None for a policy that has no frontier.
    knative_class: autoscaler class that the Revision needs.
    on_knative: how the policy acts on a Revision and scales to zero (scale_to_zero.py).
    decides_zero: False for Knative's own autoscaler, whose last pod ends by Knative's window and grace period.
    revision: returns the bounds and windows of the Revision that follow from the settings.
    parse: applies the settings that a user typed to the defaults; raises SettingError.
    number: the setting that a number directly after the policy's name sets, as in hpa50.
    """

    name: str
    about: str
    config: Callable[[float], Config]
    make: Callable[[Config], Made]
    order: Order = "fifo"
    main_knob: MainKnob | None = None
    knative_class: KnativeClass = KnativeClass.KPA
    on_knative: Callable[[Made, RevisionSettings], Policy] = writes_bounds
    decides_zero: bool = True
    revision: Callable[[Config], RevisionSettings] = lambda _: RevisionSettings()
    parse: Callable[[Config, Mapping[str, str]], Config] = apply_settings
    number: str | None = None


def _elastic(config: ElasticConfig) -> Policy:
    """Return `elastic` with stock KPA as the choice that it must not be worse than."""
    inner = Elastic(config)
    if not config.compares_with_stock:
        return inner
    stock = Bounded(knative_decides(Kpa(), RevisionSettings()), 0, config.most_pods)
    shadow = ShadowConfig(config.slo_s, "fifo", "deadline", config.late_price, config.first_service_time_s)
    return NeverWorse(inner, Shadow(stock, shadow))


KPA = PolicyEntry(
    name="kpa",
    about="Knative's autoscaler with its defaults",
    config=lambda _: KpaKnobs(),
    make=lambda knobs: Kpa(knobs.config()),
    main_knob=MainKnob("target-utilization-percentage", (30, 40, 50, 60, 70, 80, 90, 100)),
    on_knative=knative_decides,
    decides_zero=False,
    revision=KpaKnobs.revision,
    parse=apply_annotations,
)

POLICIES: tuple[PolicyEntry[Any, Any], ...] = (
    KPA,
    replace(
        KPA,
        name="kpa-tuned",
        about="Knative's autoscaler with the settings that `tune` found",
        config=lambda _: KPA_TUNED,
    ),
    PolicyEntry(
        name="hpa",
        about="Kubernetes' HPA with a CPU target of 70 % of the request, or of PERCENT as hpaPERCENT",
        config=lambda _: HpaConfig(),
        make=Hpa,
        main_knob=MainKnob("target_utilization_percent", (30, 50, 70, 90, 120, 200, 300, 400)),
        knative_class=KnativeClass.HPA,
        on_knative=scales_the_deployment,
        revision=lambda _: RevisionSettings(min_pods=1, longest_window_s=300.0),
        number="target_utilization_percent",
    ),
    PolicyEntry(
        name="peak",
        about="pods for the busiest of the last ten seconds: a ten-line baseline",
        config=lambda _: PeakConfig(),
        make=Peak,
        main_knob=MainKnob("utilization", (0.4, 0.5, 0.6, 0.7, 0.85, 1.0)),
    ),
    PolicyEntry(
        name="elastic",
        about="our policy: the number of pods that minimises the cost of pods plus late responses",
        config=lambda slo_s: ElasticConfig(slo_s=slo_s),
        make=_elastic,
        order="deadline",
        main_knob=MainKnob("late_price", (4, 10, 25, 60, 120, 250, 600)),
    ),
)

# Short names for a policy with certain settings.
ALIASES = ABLATIONS


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """A policy that a run can use: its row, its settings and the queue order.

    name: as the user typed it.
    """

    name: str
    entry: PolicyEntry[Any, Any]
    config: Any
    order: Order

    def make(self) -> Policy:
        """Return a fresh policy."""
        policy: Policy = self.entry.make(self.config)
        return policy

    def on_knative(self) -> Policy:
        """Return a fresh policy wrapped to act as it does on a Revision, where Knative removes the last pod."""
        return self.entry.on_knative(self.entry.make(self.config), self.revision)

    @property
    def revision(self) -> RevisionSettings:
        """Bounds and windows of the Revision."""
        return self.entry.revision(self.config)

    @property
    def knobs(self) -> KpaKnobs | None:
        """KPA's settings if the policy is Knative's own autoscaler, else None."""
        return None if self.entry.decides_zero else self.config


def policy_named(text: str, slo_s: float = 0.5) -> PolicySpec:
    """Return the policy of `NAME[setting=value,...]@ORDER`; raise UnknownPolicyError if there is none.

    Settings of kpa are Knative's annotations; ORDER is fifo or deadline.
    """
    name, settings, order = split_name(text)
    if name in ALIASES:
        if settings:
            raise UnknownPolicyError(f"{name} takes no settings: it stands for {ALIASES[name]}, add them to that")
        spec = policy_named(ALIASES[name], slo_s)
    else:
        spec = _spec(name, settings, slo_s)
    if order is None:
        return replace(spec, name=text.strip())
    if order not in ORDERS:
        raise UnknownPolicyError(f"the order of {text!r} must be fifo or deadline, got {order!r}")
    return replace(spec, name=text.strip(), order=ORDERS[order])


def split_name(text: str) -> tuple[str, dict[str, str], str | None]:
    """Split a policy's text into name, settings and queue order; raise UnknownPolicyError if it is malformed."""
    match = NAME.fullmatch(text.strip())
    if match is None:
        raise UnknownPolicyError(f"a policy must be NAME[setting=value,...]@ORDER, got {text!r}")
    return match["name"], _settings(match["settings"]), match["order"]


def split_names(text: str) -> list[str]:
    """Split a list of policies at its commas, except at those within brackets."""
    return [name.strip() for name in re.split(r",(?![^\[]*\])", text)]


def with_knob(text: str, value: float) -> str | None:
    """Return the policy's text with its main knob set to this value; None for a policy without a main knob.

    The text's other settings stay as they are.
    """
    name, settings, order = split_name(text)
    if name in ALIASES:
        return None
    entry, implied = _entry(name)
    if (knob := entry.main_knob) is None:
        return None
    others = {**implied, **settings}
    others.pop(knob.name, None)
    words = ",".join(f"{key}={word}" for key, word in [*others.items(), (knob.name, f"{value:g}")])
    return f"{entry.name}[{words}]" + ("" if order is None else f"@{order}")


def _settings(text: str | None) -> dict[str, str]:
    settings: dict[str, str] = {}
    for part in (text or "").split(","):
        name, equals, value = (word.strip() for word in part.partition("="))
        if part.strip() and not (name and equals and value):
            raise UnknownPolicyError(f"a setting must be name=value, got {part!r}")
        if name:
            settings[name] = value
    return settings


def _entry(name: str) -> tuple[PolicyEntry[Any, Any], dict[str, str]]:
    """Return the row of a name and the setting that a number in the name implies; raise UnknownPolicyError."""
    for entry in POLICIES:
        if name == entry.name:
            return entry, {}
        number = name.removeprefix(entry.name)
        if entry.number and name.startswith(entry.name) and NUMBER.fullmatch(number):
            return entry, {entry.number: number}
    names = [f"{entry.name}, {entry.name}PERCENT" if entry.number else entry.name for entry in POLICIES]
    known = ", ".join(sorted([*names, *ALIASES]))
    raise UnknownPolicyError(f"unknown policy {name!r}; known: {known}, each with @fifo or @deadline")


def _spec(name: str, settings: Mapping[str, str], slo_s: float) -> PolicySpec:
    entry, implied = _entry(name)
    try:
        config = entry.parse(entry.config(slo_s), {**implied, **settings})
    except SettingError as error:
        raise UnknownPolicyError(str(error)) from error
    return PolicySpec(name, entry, config, entry.order)
