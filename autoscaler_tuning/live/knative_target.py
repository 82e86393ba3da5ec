"""A Knative Service as a target: a decision sets min-scale of the Revisions that receive the traffic."""

from collections.abc import Iterable, Sequence
from contextlib import suppress

from autoscaler_tuning.live.annotation_sync import AnnotationSync
from autoscaler_tuning.live.bounds_keeper import Live
from autoscaler_tuning.live.leader import Clocks, LeaderLease, NoLease
from autoscaler_tuning.live.led_target import LedTarget, Observed
from knative.client import KnativeClient
from knative.errors import NotFoundError, NoTrafficError
from knative.objects import QUEUE_METRICS_PORT, REVISIONS, Pod, Revision
from knative.workloads import ScaledObject

# The Service and its Revisions are read less often than the pods: they change with a deploy or an edit.
OBSERVE_EVERY_S = 1.0


class KnativeTarget(LedTarget):
    """A Knative Service.

    For zero wanted pods min-scale is 0, and Knative removes the last pod after its window and grace period.
    """

    def __init__(
        self,
        client: KnativeClient,
        service: str,
        lease: LeaderLease | NoLease,
        clocks: Clocks,
        poll_every_s: float = 0.25,
    ) -> None:
        workload = KnativeService(client, service, lease)
        super().__init__(workload, client, lease, clocks, poll_every_s)

    def queue_proxies(self) -> tuple[str, ...]:
        """Return the addresses at which the ready pods report their traffic."""
        return tuple(f"http://{pod.ip}:{QUEUE_METRICS_PORT}" for pod in self._pods if pod.ip and pod.phase == "ready")


class KnativeService:
    """The Revisions of a Service that receive traffic, with their pods."""

    heal = (
        "remove them with `kubectl annotate revision REVISION autoscaling.knative.dev/min-scale-"
        " autoscaling.knative.dev/target-utilization-percentage- autoscaling.knative.dev/window-`"
    )

    def __init__(self, client: KnativeClient, service: str, lease: LeaderLease | NoLease) -> None:
        self._client, self.name = client, service
        self._sync = AnnotationSync(client, lease)
        self._observed_s = float("-inf")
        self._revisions: list[Revision] = []

    def observe(self, now_s: float) -> Observed | None:
        """Read the Service and its Revisions at most once in OBSERVE_EVERY_S.

        Raises ClusterError if they cannot be read, NoTrafficError while no Revision has traffic.
        """
        if now_s - self._observed_s < OBSERVE_EVERY_S:
            return None
        self._observed_s = float("-inf")  # unless it succeeds
        shares = self._client.service(self.name).shares()
        self._revisions = revisions = self._read(shares)
        live = tuple(
            Live(one, shares[revision.name]) for revision in revisions for one in self._scaled(revision, now_s)
        )
        self._observed_s = now_s
        return Observed(
            live,
            concurrency=min(revision.concurrency for revision in revisions),
            problem=next((revision.problem for revision in revisions if revision.problem), None),
        )

    def pods(self) -> Sequence[Pod]:
        """Read the pods of the Revisions."""
        return [pod for revision in self._revisions for pod in self._client.pods(revision.name)]

    def hasten(self) -> None:
        """Do nothing: Knative starts pods as soon as min-scale is written."""

    def _read(self, names: Iterable[str]) -> list[Revision]:
        revisions = []
        for name in names:
            with suppress(NotFoundError):  # deleted since the Service's status was written
                revisions.append(self._client.revision(name))
        if not revisions:
            raise NoTrafficError(f"no Revision of the Service {self.name} receives traffic yet")
        return revisions

    def _scaled(self, revision: Revision, now_s: float) -> tuple[ScaledObject, ...]:
        """Return the objects to write for a Revision: itself and, for an old Knative, its PodAutoscaler."""
        scaled = ScaledObject.of_revision(REVISIONS, revision)
        return scaled, *self._sync.also(scaled, now_s)
