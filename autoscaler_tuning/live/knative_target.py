"""A Knative Service as a target: a decision sets min-scale of the Revisions that receive the traffic."""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from autoscaler_tuning.live.bounds_keeper import BoundsKeeper, LiveRevision
from autoscaler_tuning.live.leader import LeaderLease, NoLease
from autoscaler_tuning.live.targets import TargetState
from autoscaler_tuning.live.troubles import Troubles
from autoscaler_tuning.types import PodPhase, PodSample
from knative.client import KnativeClient
from knative.errors import ClusterError, NotFoundError, NoTrafficError
from knative.objects import QUEUE_METRICS_PORT, Pod

log = logging.getLogger(__name__)

# The Service and its Revisions are read less often than the pods: they change with a deploy or an edit.
ROUTE_EVERY_S = 1.0
# So are the pods while they are as wanted and all ready.
SETTLED_EVERY_S = 1.0

HEAL = (
    "remove them with `kubectl annotate revision REVISION autoscaling.knative.dev/min-scale-"
    " autoscaling.knative.dev/target-utilization-percentage- autoscaling.knative.dev/window-`"
)


class KnativeTarget:
    """A Knative Service; only the controller that holds the Lease writes, any other one observes.

    A decision sets min-scale of each Revision that receives traffic, by its share. max-scale stays the user's, so that
    Knative's own autoscaler can add pods whatever happens to the controller. For zero wanted pods min-scale is 0, and
    Knative removes the last pod after its window and grace period.
    """

    def __init__(
        self,
        client: KnativeClient,
        service: str,
        lease: LeaderLease | NoLease,
        clock: Callable[[], float],
        unix_clock: Callable[[], float],
        poll_every_s: float = 0.25,
    ) -> None:
        self._client, self._service, self._lease = client, service, lease
        self._clock, self._unix_clock, self._poll_every_s = clock, unix_clock, poll_every_s
        self._keeper = BoundsKeeper(client, lease)
        self._troubles = Troubles()
        self._polled_s = float("-inf")
        self._term = 0
        self._state = TargetState((), None, 0, confirmed=False)
        self._routed_s = float("-inf")
        self._live: tuple[LiveRevision, ...] = ()
        self._wanted = 0
        self._names: frozenset[str] = frozenset()
        self._queue_proxies: tuple[str, ...] = ()
        self._cold_starts = 0

    @property
    def leads(self) -> bool:
        """Return whether this controller may write."""
        return self._lease.leads

    def queue_proxies(self) -> tuple[str, ...]:
        """Return the addresses at which the ready pods report their traffic."""
        return self._queue_proxies

    def poll(self) -> TargetState:
        """Return the pods of the live Revisions, read at most once in poll_every_s.

        Raises ClusterError if the Service or its pods cannot be read, NoTrafficError while no Revision has traffic.
        """
        now_s = self._clock()
        if now_s - self._polled_s < (SETTLED_EVERY_S if self._is_settled() else self._poll_every_s):
            return self._with_confirmation()
        self._polled_s = now_s
        self._elect(now_s)
        if now_s - self._routed_s >= ROUTE_EVERY_S:
            self._routed_s = float("-inf")  # unless it succeeds
            self._live = self._live_revisions()
            self._routed_s = now_s
            if self._lease.leads:
                self._keeper.reconcile(now_s, self._live)
        elif self._lease.leads:
            self._keeper.write_due(now_s)
        self._state = self._state_of([pod for one in self._live for pod in self._client.pods(one.revision.name)])
        return self._with_confirmation()

    def _is_settled(self) -> bool:
        """Return whether all pods are ready, and as many as wanted."""
        pods = self._state.pods
        return len(pods) == self._wanted and all(pod.phase is PodPhase.READY for pod in pods)

    def scale_to(self, pods: int) -> None:
        """Set min-scale, at once if the last write is not too recent; a failed write is repeated by poll()."""
        self._wanted = pods
        if self._lease.leads:
            self._keeper.wish(pods, self._clock())

    def release(self) -> None:
        """Give back what was found on the Revisions, so that Knative's own autoscaler decides."""
        if self._lease.leads:
            self._keeper.wish(None, self._clock())

    def close(self) -> None:
        """Give back what was found on the Revisions, and let another controller take the Lease."""
        if self._term and not self._lease.leads:
            self._elect(self._clock())  # it could not renew the Lease in time, and may hold it still
        if not self._lease.leads:
            return
        if not self._keeper.close(self._clock()):
            log.error("%s: the bounds and knobs written last remain; %s", self._service, HEAL)
        try:
            self._lease.release()
        except ClusterError as error:
            log.warning("the Lease is not released and expires by itself: %s", error)

    def _elect(self, now_s: float) -> None:
        led = self._lease.leads
        try:
            if self._lease.poll(now_s):
                self._troubles.worked("leader election", now_s)
        except ClusterError as error:
            self._troubles.failed("leader election", now_s, error)
        if self._lease.leads and self._lease.term != self._term:
            self._term = self._lease.term
            self._keeper.begin(now_s)
            log.info("%s: this controller leads", self._service)
        elif led and not self._lease.leads:
            log.warning("%s: this controller does not lead any more", self._service)

    def _live_revisions(self) -> tuple[LiveRevision, ...]:
        shares = self._client.service(self._service).shares()
        live = []
        for name, share in shares.items():
            with suppress(NotFoundError):  # deleted since the Service's status was written
                live.append(LiveRevision(self._client.revision(name), share))
        if not live:
            raise NoTrafficError(f"no Revision of the Service {self._service} receives traffic yet")
        return tuple(live)

    def _with_confirmation(self) -> TargetState:
        confirmed = self._lease.leads and self._keeper.confirmed
        leader = None if self._lease.leads else self._lease.holder or None
        if (confirmed, leader) != (self._state.confirmed, self._state.leader):
            self._state = replace(self._state, confirmed=confirmed, leader=leader)
        return self._state

    def _state_of(self, pods: Sequence[Pod]) -> TargetState:
        """Convert the pods' times from the cluster's Unix clock, in whole seconds, to the controller's clock."""
        offset_s = self._clock() - self._unix_clock()
        samples = tuple(
            PodSample(
                name=pod.name,
                phase=PodPhase(pod.phase),
                started_s=pod.created_unix_s + offset_s,
                ready_s=None if pod.ready_unix_s is None else pod.ready_unix_s + offset_s,
                stuck=pod.phase == "starting" and pod.problem is not None,
            )
            for pod in pods
        )
        names = frozenset(pod.name for pod in pods)
        self._cold_starts += len(names - self._names)
        self._names = names
        self._queue_proxies = tuple(
            f"http://{pod.ip}:{QUEUE_METRICS_PORT}" for pod in pods if pod.ip and pod.phase == "ready"
        )
        live = self._live
        problems = [pod.problem for pod in pods if pod.phase == "starting"] + [one.revision.problem for one in live]
        return TargetState(
            samples,
            None,
            self._cold_starts,
            concurrency=min(one.revision.concurrency for one in live),
            problem=next((problem for problem in problems if problem), None),
        )
