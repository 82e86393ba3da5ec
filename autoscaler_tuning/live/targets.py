"""What a controller scales: pods as processes on this machine, or a Knative Service."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from autoscaler_tuning.types import PodPhase, PodSample
from knative.client import KnativeClient
from knative.local import LocalPods
from knative.objects import Pod, ScaleBounds


@dataclass(frozen=True, slots=True)
class TargetState:
    """The pods of now, on the controller's monotonic clock.

    backends: addresses of the ready pods where the dispatcher sends to them itself; None behind a Knative route.
    cold_starts: pods started so far.
    """

    pods: tuple[PodSample, ...]
    backends: tuple[str, ...] | None
    cold_starts: int


class ScaleTarget(Protocol):
    """Something with pods that can be counted and scaled."""

    def poll(self) -> TargetState: ...

    def scale_to(self, pods: int) -> None: ...

    def close(self) -> None: ...


class OnlyWatched:
    """Any target, for looking on: what is wanted of it is not done, and closing it stops nothing."""

    def __init__(self, inner: ScaleTarget) -> None:
        self._inner = inner

    def poll(self) -> TargetState:
        return self._inner.poll()

    def scale_to(self, pods: int) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class LocalTarget:
    """Pods as processes on this machine."""

    def __init__(self, pods: LocalPods) -> None:
        self._pods = pods

    def poll(self) -> TargetState:
        """Cheap; to be called every 50 ms or so, for it is also what moves the pods along."""
        status = self._pods.poll()
        samples = tuple(
            PodSample(pod.name, PodPhase(pod.phase), pod.started_s, pod.ready_s, pod.cpu_seconds) for pod in status.pods
        )
        ready = tuple(pod.url for pod in status.pods if pod.phase == "ready")
        return TargetState(samples, ready, status.started)

    def scale_to(self, pods: int) -> None:
        self._pods.scale_to(pods)

    def close(self) -> None:
        self._pods.close()


class KnativeTarget:
    """A Knative Service: decisions become min-scale and max-scale of the Revision that gets the traffic.

    Both are set to the wanted number, so Knative's own autoscaler has nothing to decide; wanting none is min-scale 0
    and max-scale 1, and Knative's window and grace period end the last pod.
    """

    def __init__(
        self,
        client: KnativeClient,
        service: str,
        clock: Callable[[], float],
        unix_clock: Callable[[], float],
        poll_every_s: float = 0.25,
    ) -> None:
        self._client, self._service = client, service
        self._clock, self._unix_clock, self._poll_every_s = clock, unix_clock, poll_every_s
        self._polled_s = float("-inf")
        self._state = TargetState((), None, 0)
        self._seen: set[str] = set()
        self._revision: str | None = None
        self._bounds: ScaleBounds | None = None

    def poll(self) -> TargetState:
        """Ask the API at most every poll_every_s; between two asks the last answer stands."""
        if self._clock() - self._polled_s >= self._poll_every_s:
            self._polled_s = self._clock()
            revision = self._client.live_revision(self._service).name
            self._follow(revision)
            self._state = self._state_of(self._client.pods(revision))
        return self._state

    def scale_to(self, pods: int) -> None:
        """One patch when the bounds change, or when a new Revision took the traffic: it starts from the template."""
        bounds = ScaleBounds(min_pods=pods, max_pods=max(1, pods))
        if self._revision is not None and bounds != self._bounds:
            self._client.set_bounds(self._revision, bounds)
            self._bounds = bounds

    def _state_of(self, pods: tuple[Pod, ...]) -> TargetState:
        """On the controller's clock: the cluster's is a Unix clock, in whole seconds."""
        offset_s = self._clock() - self._unix_clock()
        samples = tuple(
            PodSample(
                name=pod.name,
                phase=PodPhase(pod.phase),
                started_s=pod.created_unix_s + offset_s,
                ready_s=None if pod.ready_unix_s is None else pod.ready_unix_s + offset_s,
            )
            for pod in pods
        )
        self._seen |= {pod.name for pod in pods}
        return TargetState(samples, None, len(self._seen))

    def close(self) -> None:
        """Leave the cluster as it is: the bounds stay until the next Revision."""

    def _follow(self, revision: str) -> None:
        if revision != self._revision:
            self._revision, self._bounds = revision, None
