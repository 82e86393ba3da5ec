"""The bounds and knobs that an object had before the controller wrote to it, and what the controller writes instead.

The lower bound leads. The upper one is the user's and is never changed, so that the cluster's own autoscaler can still
scale the pods if the controller dies. The object is a Revision, the PodAutoscaler of one, or an HPA.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from knative.objects import (
    ACTIVATION_SCALE,
    CLASS,
    HPA_CLASS,
    MAX_SCALE,
    MIN_SCALE,
    REVISIONS,
    TARGET_UTILIZATION,
    WINDOW,
    annotation,
    spellings,
)
from knative.workloads import HPAS, MAX_REPLICAS, MIN_REPLICAS, ScaledObject

MANAGED_OF_HPA = (MIN_REPLICAS, MAX_REPLICAS)
MANAGED = tuple(
    key for name in (MIN_SCALE, MAX_SCALE, ACTIVATION_SCALE, TARGET_UTILIZATION, WINDOW) for key in spellings(name)
)
# With this, and requests held back to the ready pods, Knative's own autoscaler wants no more pods than are busy.
BUSY_KNOBS = {TARGET_UTILIZATION: "100"}
# Knative's shortest window: it removes the last pod soonest.
KNOBS = {WINDOW: "6s"}

# Settings by name; None means that the setting is not set.
Settings = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class FoundBounds:
    """The settings of an object that the controller manages, as they were before its first write.

    settings: by their full names, in the spelling that was found.
    """

    name: str
    settings: Mapping[str, str]
    plural: str = REVISIONS

    @classmethod
    def of(cls, scaled: ScaledObject) -> Self:
        """Return what is found on an object to which no controller has written."""
        managed = managed_of(scaled.plural)
        return cls(scaled.name, {key: text for key, text in scaled.settings.items() if key in managed}, scaled.plural)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Return the bounds that text() stored. Raises ValueError if it is something else."""
        try:
            stored = json.loads(text)
            settings = {str(key): str(value) for key, value in stored["annotations"].items()}
            return cls(str(stored["revision"]), settings, str(stored.get("kind", REVISIONS)))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"stored bounds must be an object with revision and annotations, got {text!r}") from error

    def text(self) -> str:
        """Return the bounds as JSON, to be stored outside the object; the names are those of the first versions."""
        stored = {"revision": self.name, "annotations": dict(self.settings), "kind": self.plural}
        return json.dumps(stored, sort_keys=True)

    def with_edits(self, scaled: ScaledObject) -> Self:
        """Return the bounds with an HPA's upper bound as it is now: it has no template in which to change that.

        The controller never writes this bound, so another value is always the user's.
        """
        if self.plural != HPAS or MAX_REPLICAS not in scaled.settings:
            return self
        return replace(self, settings={**self.settings, MAX_REPLICAS: scaled.settings[MAX_REPLICAS]})

    def within(self, pods: int) -> int:
        """Return the number of pods within the user's bounds, where 0 or no upper bound is no limit.

        An HPA gets at least 1: Kubernetes refuses 0 unless a feature gate is on.
        """
        least, most = MANAGED_OF_HPA if self.plural == HPAS else (MIN_SCALE, MAX_SCALE)
        limit = self._number(most) or pods
        return max(self._number(least), min(pods, limit), 1 if self.plural == HPAS else 0)

    def given_back(self) -> dict[str, str | None]:
        """Return all managed settings as they were found."""
        return {key: self.settings.get(key) for key in managed_of(self.plural)}

    def with_least(self, pods: int) -> dict[str, str | None]:
        """Return the managed settings with the lower bound set to this number of pods, within the user's bounds.

        Knative refuses a min-scale above activation-scale, so that is raised with it.
        """
        least = self.within(pods)
        wanted = {**self.given_back(), least_of(self.plural): str(least)}
        if 0 < self._number(ACTIVATION_SCALE) < least:
            wanted[ACTIVATION_SCALE] = str(least)
        return wanted

    def led(self, pods: int) -> dict[str, str | None]:
        """Return the managed settings while the controller leads: the lower bound and the knobs.

        Without wanted pods the utilization stays as found: after a kill in idle time, Knative's own autoscaler then
        scales with the user's headroom. It is not for a Revision with an HPA, where the knobs mean something else.
        """
        return {**self.with_least(pods), **KNOBS, **(BUSY_KNOBS if pods > 0 else {})}

    def _number(self, name: str) -> int:
        return int(annotation(self.settings, name) or 0)


def managed_of(plural: str) -> tuple[str, ...]:
    """Return the names of the settings that the controller manages on objects of this kind."""
    return MANAGED_OF_HPA if plural == HPAS else MANAGED


def least_of(plural: str) -> str:
    """Return the name of the lower bound of objects of this kind."""
    return MIN_REPLICAS if plural == HPAS else MIN_SCALE


def has_hpa(scaled: ScaledObject) -> bool:
    """Return whether Kubernetes' HPA scales the pods, by itself or for Knative."""
    return scaled.plural == HPAS or annotation(scaled.settings, CLASS) == HPA_CLASS


def patch_to(wanted: Settings, actual: Mapping[str, str]) -> dict[str, str | None]:
    """Return the settings of one merge patch from actual to wanted; empty if there is no difference.

    The patch has both bounds even if one is right: the outcome is then valid whatever another client writes meanwhile.
    A max-scale of 0 means no limit and is never written; removing max-scale means the same.
    """
    if all(_same(key, value, actual.get(key)) for key, value in wanted.items()):
        return {}
    patch: dict[str, str | None] = {}
    for key, value in wanted.items():
        if _is_max_scale(key) and _unlimited(value):
            if not _unlimited(actual.get(key)):
                patch[key] = None
        elif value is not None or key in actual:
            patch[key] = value
    return patch


def _same(key: str, one: str | None, other: str | None) -> bool:
    return one == other or (_is_max_scale(key) and _unlimited(one) and _unlimited(other))


def _is_max_scale(key: str) -> bool:
    return key in spellings(MAX_SCALE)


def _unlimited(max_scale: str | None) -> bool:
    return max_scale is None or max_scale.strip("+-0") == ""
