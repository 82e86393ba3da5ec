"""The interface of every policy, and the wrappers that work with any of them."""

from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

from autoscaler_tuning.types import Decision, Observation


class Policy(Protocol):
    """Turns one observation into the number of wanted pods.

    A policy reads no clock, does no I/O and draws no random numbers, so the simulator and the live controller run
    the same object. Its caller runs one tick every interval_s.
    """

    @property
    def interval_s(self) -> float:
        """Time between two ticks, in seconds."""

    def decide(self, obs: Observation) -> Decision:
        """Return the decision of one tick."""


class StateError(ValueError):
    """A saved state is of another version or malformed; the message states the rule and the value."""


@runtime_checkable
class Remembers(Protocol):
    """A policy whose knowledge can be saved, and given to a fresh one after a restart."""

    def state(self) -> dict[str, Any]:
        """Return what it has learned, as values for JSON."""

    def restore(self, state: object, age_s: float) -> None:
        """Take the knowledge that `state` returned age_s ago; raise StateError if it is of another kind."""


def remembering(policy: Policy) -> Remembers | None:
    """Return the policy inside its wrappers that remembers; None if none does."""
    inner: object = policy
    while inner is not None and not isinstance(inner, Remembers):
        inner = getattr(inner, "inner", None)
    return inner


@dataclass(frozen=True, slots=True)
class RevisionSettings:
    """Bounds and windows of the Revision that a policy scales.

    min_pods, max_pods: bounds that the policy's settings imply; with max_pods None the caller chooses the upper bound.
    longest_window_s: longest window of the policy; a shorter run does not show all of its behaviour.
    zero_window_s, retention_s: Knative's stable window and retention period, after which it removes the last pod.
    """

    min_pods: int = 0
    max_pods: int | None = None
    longest_window_s: float = 0.0
    zero_window_s: float = 60.0
    retention_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Bounded:
    """Keeps any policy inside [min_pods, max_pods] (Knative's min-scale and max-scale)."""

    inner: Policy
    min_pods: int
    max_pods: int

    def __post_init__(self) -> None:
        if not 0 <= self.min_pods <= self.max_pods or self.max_pods < 1:
            raise ValueError(
                f"bounds must be 0 <= min_pods <= max_pods with max_pods >= 1, got {self.min_pods}, {self.max_pods}"
            )

    @property
    def interval_s(self) -> float:
        return self.inner.interval_s

    def decide(self, obs: Observation) -> Decision:
        wanted = self.inner.decide(obs)
        pods = min(self.max_pods, max(self.min_pods, wanted.pods))
        return wanted if pods == wanted.pods else replace(wanted, pods=pods)


@dataclass(slots=True)
class Recorded:
    """Records (now_s, pods) of each decision of any policy that changed the wanted pods."""

    inner: Policy
    wanted_pods: list[tuple[float, int]] = field(default_factory=list)

    @property
    def interval_s(self) -> float:
        return self.inner.interval_s

    def decide(self, obs: Observation) -> Decision:
        wanted = self.inner.decide(obs)
        if not self.wanted_pods or self.wanted_pods[-1][1] != wanted.pods:
            self.wanted_pods.append((obs.now_s, wanted.pods))
        return wanted
