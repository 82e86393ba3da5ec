"""The targets that a controller can scale: processes on this machine, or a Knative Service."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from autoscaler_tuning.types import PodPhase, PodSample
from knative.client import KnativeClient
from knative.local import LocalPods
from knative.objects import Pod, ScaleBounds


@dataclass(frozen=True, slots=True)
class TargetState:
    """The pods of a target at one moment, with times on the controller's monotonic clock.

    backends: addresses of the ready pods, to which the dispatcher sends requests; None behind a Knative route.
    cold_starts: pods started so far.
    """

    pods: tuple[PodSample, ...]
    backends: tuple[str, ...] | None
    cold_starts: int


class ScaleTarget(Protocol):
    """A set of pods that can be observed and scaled."""

    def poll(self) -> TargetState: ...

    def scale_to(self, pods: int) -> None: ...

    def close(self) -> None: ...


class ReadOnlyTarget:
    """A target for shadow mode: it can be observed, but scaling and closing it do nothing."""

    def __init__(self, inner: ScaleTarget) -> None:
        self._inner = inner

    def poll(self) -> TargetState:
        return self._inner.poll()

    def scale_to(self, pods: int) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class LocalTarget:
    """Pods as processes on this machine."""

    def __init__(self, pods: LocalPods) -> None:
        self._pods = pods

    def poll(self) -> TargetState:
        """Return the pods. Call it about every 50 ms: it is cheap, and it also advances the pods' life cycle."""
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
    """A Knative Service: a decision sets min-scale and max-scale of the Revision that receives the traffic.

    Both are set to the number of wanted pods, which leaves Knative's own autoscaler no choice. For zero wanted pods
    they are 0 and 1, and Knative removes the last pod after its stable window and grace period.
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
        """Return the pods of the live Revision; the API is called at most once in poll_every_s."""
        if self._clock() - self._polled_s >= self._poll_every_s:
            self._polled_s = self._clock()
            revision = self._client.live_revision(self._service).name
            self._follow(revision)
            self._state = self._state_of(self._client.pods(revision))
        return self._state

    def scale_to(self, pods: int) -> None:
        """Patch the bounds if they changed, or if a new Revision, which has those of its template, got the traffic."""
        bounds = ScaleBounds(min_pods=pods, max_pods=max(1, pods))
        if self._revision is not None and bounds != self._bounds:
            self._client.set_bounds(self._revision, bounds)
            self._bounds = bounds

    def _state_of(self, pods: tuple[Pod, ...]) -> TargetState:
        """Convert the pods' times from the cluster's Unix clock, in whole seconds, to the controller's clock."""
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
        """Leave the cluster unchanged; the bounds stay until the next Revision."""

    def _follow(self, revision: str) -> None:
        if revision != self._revision:
            self._revision, self._bounds = revision, None
