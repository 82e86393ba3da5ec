"""The bounds and knobs that a Revision had before the controller wrote to it, and what the controller writes instead.

min-scale leads. max-scale is the user's and is never changed, so that Knative's own autoscaler can still scale the
Revision if the controller dies.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from knative.objects import (
    ACTIVATION_SCALE,
    CLASS,
    HPA_CLASS,
    MAX_SCALE,
    MIN_SCALE,
    TARGET_UTILIZATION,
    WINDOW,
    Revision,
    annotation,
    spellings,
)

MANAGED = tuple(
    key for name in (MIN_SCALE, MAX_SCALE, ACTIVATION_SCALE, TARGET_UTILIZATION, WINDOW) for key in spellings(name)
)
# With this, and requests held back to the ready pods, Knative's own autoscaler wants no more pods than are busy.
BUSY_KNOBS = {TARGET_UTILIZATION: "100"}
# Knative's shortest window: it removes the last pod soonest.
KNOBS = {WINDOW: "6s"}

# Annotations by name; None means that the annotation is not set.
Annotations = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class FoundBounds:
    """The annotations of a Revision that the controller manages, as they were before its first write.

    annotations: by their full names, in the spelling that was found.
    """

    revision: str
    annotations: Mapping[str, str]

    @classmethod
    def of(cls, revision: Revision) -> Self:
        """Return what is found on a Revision to which no controller has written."""
        return cls(revision.name, {key: text for key, text in revision.annotations.items() if key in MANAGED})

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Return the bounds that text() stored. Raises ValueError if it is something else."""
        try:
            stored = json.loads(text)
            return cls(str(stored["revision"]), {str(key): str(value) for key, value in stored["annotations"].items()})
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"stored bounds must be an object with revision and annotations, got {text!r}") from error

    def text(self) -> str:
        """Return the bounds as JSON, to be stored outside the Revision."""
        return json.dumps({"revision": self.revision, "annotations": dict(self.annotations)}, sort_keys=True)

    def within(self, pods: int) -> int:
        """Return the number of pods within the user's min-scale and max-scale, where 0 or no max-scale is no limit."""
        most = self._number(MAX_SCALE) or pods
        return max(self._number(MIN_SCALE), min(pods, most))

    def given_back(self) -> dict[str, str | None]:
        """Return all managed annotations as they were found."""
        return {key: self.annotations.get(key) for key in MANAGED}

    def with_min_scale(self, pods: int) -> dict[str, str | None]:
        """Return the managed annotations with min-scale set to this number of pods, within the user's bounds.

        Knative refuses a min-scale above activation-scale, so that is raised with it.
        """
        least = self.within(pods)
        wanted = {**self.given_back(), MIN_SCALE: str(least)}
        if 0 < self._number(ACTIVATION_SCALE) < least:
            wanted[ACTIVATION_SCALE] = str(least)
        return wanted

    def led(self, pods: int) -> dict[str, str | None]:
        """Return the managed annotations while the controller leads: min-scale and the knobs.

        Without wanted pods the utilization stays as found: after a kill in idle time, Knative's own autoscaler then
        scales with the user's headroom. An HPA's Revision keeps its own knobs, which mean something else there.
        """
        return {**self.with_min_scale(pods), **KNOBS, **(BUSY_KNOBS if pods > 0 else {})}

    def _number(self, name: str) -> int:
        return int(annotation(self.annotations, name) or 0)


def has_hpa(revision: Revision) -> bool:
    """Return whether Kubernetes' HPA scales the Revision."""
    return annotation(revision.annotations, CLASS) == HPA_CLASS


def patch_to(wanted: Annotations, actual: Mapping[str, str]) -> dict[str, str | None]:
    """Return the annotations of one merge patch from actual to wanted; empty if there is no difference.

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
