"""KPA's knobs under the names that Knative's users know, and the set that `tune` found."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import isfinite

from autoscaler_tuning.policies.base import RevisionSettings
from autoscaler_tuning.policies.kpa.kpa import KpaConfig
from autoscaler_tuning.policies.settings import apply_settings

# Ranges that Knative's webhook accepts; with a panic threshold of 100 % or less, KPA would panic under steady load.
LIMITS = {
    "target": (0.01, 1e6),
    "target_utilization_percentage": (1, 100),
    "window_s": (6, 3600),
    "panic_window_percentage": (1, 100),
    "panic_threshold_percentage": (110, 1000),
    "scale_down_delay_s": (0, 3600),
    "target_burst_capacity": (-1, 1e9),
    "scale_to_zero_pod_retention_period_s": (0, 3600),
}


@dataclass(frozen=True, slots=True)
class KpaKnobs:
    """Annotations autoscaling.knative.dev/... of one Revision, by the same names, with Knative's defaults.

    target: requests in flight per pod, at most containerConcurrency. max_scale: 0 means no limit.
    Source: knative/serving pkg/apis/autoscaling/register.go, annotation_validation.go; pkg/autoscaler/config/config.go.
    """

    target: float = 1.0
    target_utilization_percentage: float = 70.0
    window_s: float = 60.0
    panic_window_percentage: float = 10.0
    panic_threshold_percentage: float = 200.0
    scale_down_delay_s: float = 0.0
    target_burst_capacity: float = 211.0
    scale_to_zero_pod_retention_period_s: float = 0.0
    min_scale: int = 0
    max_scale: int = 0

    def __post_init__(self) -> None:
        for name, (least, most) in LIMITS.items():
            value = getattr(self, name)
            if not (isfinite(value) and least <= value <= most):
                raise ValueError(f"{name} must be from {least:g} to {most:g}, got {value}")
        for name in ("window_s", "scale_down_delay_s", "scale_to_zero_pod_retention_period_s"):
            if getattr(self, name) % 1:
                raise ValueError(f"{name} must be in whole seconds, got {getattr(self, name)}")
        if -1 < self.target_burst_capacity < 0:
            raise ValueError(f"target_burst_capacity must be -1 or at least 0, got {self.target_burst_capacity}")
        if self.min_scale < 0 or self.max_scale < 0 or 0 < self.max_scale < self.min_scale:
            raise ValueError(
                "min_scale and max_scale must be 0 <= min_scale <= max_scale, or max_scale 0 for no limit, "
                f"got {self.min_scale}, {self.max_scale}"
            )

    def config(self, concurrency: int = 1) -> KpaConfig:
        """Return the autoscaler settings that Knative derives from these knobs for this containerConcurrency.

        Source: knative/serving pkg/reconciler/autoscaling/resources/target.go, kpa/resources/decider.go.
        """
        total = min(self.target, float(concurrency))
        panic_window_s = int(self.window_s * self.panic_window_percentage / 100 + 0.5)
        return KpaConfig(
            target_value=max(0.01, total * self.target_utilization_percentage / 100),
            total_value=total,
            stable_window_s=self.window_s,
            panic_window_s=max(1, panic_window_s),
            panic_threshold=self.panic_threshold_percentage / 100,
            scale_down_delay_s=self.scale_down_delay_s,
            target_burst_capacity=self.target_burst_capacity,
        )

    def revision(self) -> RevisionSettings:
        """Return the bounds and windows that these annotations set on the Revision."""
        return RevisionSettings(
            min_pods=self.min_scale,
            max_pods=self.max_scale or None,
            longest_window_s=self.window_s,
            zero_window_s=self.window_s,
            retention_s=self.scale_to_zero_pod_retention_period_s,
        )

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of all annotations that are knobs, without their group."""
        return tuple(annotation_of(field.name) for field in fields(cls))

    def annotations(self) -> dict[str, str]:
        """Return the annotations that differ from Knative's defaults, by their names without the group."""
        stock = KpaKnobs()
        changed = [f.name for f in fields(self) if getattr(self, f.name) != getattr(stock, f.name)]
        return {
            annotation_of(name): digits(getattr(self, name)) + ("s" if name.endswith("_s") else "") for name in changed
        }


def apply_annotations(knobs: KpaKnobs, settings: Mapping[str, str]) -> KpaKnobs:
    """Return the knobs with these annotations applied, such as window=6s; raise SettingError if one is invalid."""
    names = {field.name for field in fields(KpaKnobs)}
    found = {}
    for name, value in settings.items():
        plain = name.replace("-", "_")
        timed = f"{plain}_s" in names
        found[f"{plain}_s" if timed else plain] = value.removesuffix("s") if timed else value
    return apply_settings(knobs, found)


def digits(value: float) -> str:
    """Return a number with all its digits and no exponent, and whole numbers as integers, as Knative parses them."""
    return str(int(value)) if value == int(value) else repr(value)


def annotation_of(field_name: str) -> str:
    """Return the annotation of a field: window_s -> window, min_scale -> min-scale."""
    return field_name.removesuffix("_s").replace("_", "-")


# The policy `kpa-tuned`: the stronger of two sets that `tune` found. docs/kpa-tuned.md has the commands and results.
KPA_TUNED = KpaKnobs(
    target_utilization_percentage=30.0,
    window_s=8.0,
    panic_window_percentage=5.0,
    panic_threshold_percentage=110.0,
    scale_down_delay_s=60.0,
)
