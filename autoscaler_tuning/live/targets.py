"""The targets that a controller can scale, and the processes on this machine as one of them."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from autoscaler_tuning.types import PodPhase, PodSample

if TYPE_CHECKING:  # psutil, which it needs, would take 4 MB of a controller in a cluster
    from knative.local import LocalPods


@dataclass(frozen=True, slots=True)
class TargetState:
    """The pods of a target at one moment, with times on the controller's monotonic clock.

    backends: addresses of the ready pods, to which the dispatcher sends requests; None behind a Knative route.
    cold_starts: pods started so far.
    confirmed: the last decision was carried out, and this controller is the one that scales.
    concurrency: requests that a pod serves at once; None if the target does not know it.
    problem: why pods cannot start; None if nothing is known.
    leader: the controller that scales, if it is another one.
    """

    pods: tuple[PodSample, ...]
    backends: tuple[str, ...] | None
    cold_starts: int
    confirmed: bool = True
    concurrency: int | None = None
    problem: str | None = None
    leader: str | None = None


class ScaleTarget(Protocol):
    """A set of pods that can be observed and scaled."""

    def poll(self) -> TargetState: ...

    def scale_to(self, pods: int) -> None: ...

    def release(self) -> None:
        """Leave the pods to another autoscaler if there is one; the next decision takes them back."""

    def close(self) -> None: ...


class ReadOnlyTarget:
    """A target for shadow mode: it can be observed, but scaling and closing it do nothing."""

    def __init__(self, inner: ScaleTarget) -> None:
        self._inner = inner

    def poll(self) -> TargetState:
        """Return the state; what the inner target did not carry out does not matter here."""
        return replace(self._inner.poll(), confirmed=True)

    def scale_to(self, pods: int) -> None:
        """Do nothing."""

    def release(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class LocalTarget:
    """Pods as processes on this machine."""

    def __init__(self, pods: "LocalPods") -> None:
        self._pods = pods

    def poll(self) -> TargetState:
        """Return the pods. Call it about every 50 ms: it is cheap, and it also advances the pods' life cycle."""
        status = self._pods.poll()
        samples = tuple(
            PodSample(pod.name, PodPhase(pod.phase), pod.started_s, pod.ready_s, pod.cpu_seconds, url=pod.url)
            for pod in status.pods
        )
        ready = tuple(pod.url for pod in status.pods if pod.phase == "ready")
        return TargetState(samples, ready, status.started)

    def scale_to(self, pods: int) -> None:
        self._pods.scale_to(pods)

    def release(self) -> None:
        """Do nothing: no other autoscaler scales processes."""

    def close(self) -> None:
        self._pods.close()
