"""What every policy is, and the wrappers that bound any of them."""

from dataclasses import dataclass, field, replace
from typing import Protocol

from autoscaler_tuning.types import Decision, Observation


class Policy(Protocol):
    """Turns one observation into the wanted number of pods.

    A policy reads no clock, does no I/O and draws no random numbers, so the simulator and the live controller run
    the same object. It is asked every interval_s.
    """

    @property
    def interval_s(self) -> float:
        """Time between two ticks."""

    def decide(self, obs: Observation) -> Decision:
        """Decide one tick."""


@dataclass(frozen=True, slots=True)
class RevisionSettings:
    """Bounds and windows of the Revision that a policy scales.

    min_pods, max_pods: bounds that the policy brings along; max_pods None leaves the bound to the caller.
    longest_window_s: a run must last longer than this to show everything that the policy does.
    zero_window_s, retention_s: Knative's stable window and retention period, which end the last pod.
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
            raise ValueError(f"0 <= min_pods <= max_pods and max_pods >= 1: got {self.min_pods}, {self.max_pods}")

    @property
    def interval_s(self) -> float:
        return self.inner.interval_s

    def decide(self, obs: Observation) -> Decision:
        wanted = self.inner.decide(obs)
        return replace(wanted, pods=min(self.max_pods, max(self.min_pods, wanted.pods)))


@dataclass(slots=True)
class Recorded:
    """Keeps when any policy changed its mind: (now_s, pods) of each decision unlike the one before."""

    inner: Policy
    wishes: list[tuple[float, int]] = field(default_factory=list)

    @property
    def interval_s(self) -> float:
        return self.inner.interval_s

    def decide(self, obs: Observation) -> Decision:
        wanted = self.inner.decide(obs)
        if not self.wishes or self.wishes[-1][1] != wanted.pods:
            self.wishes.append((obs.now_s, wanted.pods))
        return wanted
