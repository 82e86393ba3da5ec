"""A target in a cluster: it writes while its controller holds the Lease, and gives back what it found."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from autoscaler_tuning.live.bounds_keeper import BoundsKeeper, Live, SettingsClient
from autoscaler_tuning.live.leader import Clocks, LeaderLease, NoLease
from autoscaler_tuning.live.targets import TargetState
from autoscaler_tuning.live.troubles import Troubles
from autoscaler_tuning.types import PodPhase, PodSample
from knative.errors import ClusterError
from knative.objects import Pod

log = logging.getLogger(__name__)

# Pods are read less often while they are as wanted and all ready.
SETTLED_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Observed:
    """What was read of a workload: the objects that limit its pods.

    concurrency, problem: as in TargetState.
    """

    live: tuple[Live, ...]
    concurrency: int | None
    problem: str | None


class LedWorkload(Protocol):
    """Pods in a cluster and the objects that limit their number.

    name: what the log calls it.
    heal: the line that removes what a controller left behind.
    """

    @property
    def name(self) -> str: ...

    @property
    def heal(self) -> str: ...

    def observe(self, now_s: float) -> Observed | None:
        """Read the objects; return None if those of the last call are recent enough. Raises ClusterError."""

    def pods(self) -> Sequence[Pod]:
        """Read the pods of the workload as it was observed last. Raises ClusterError."""

    def hasten(self) -> None:
        """Carry out at once what the cluster's own autoscaler would do later. Raises ClusterError."""


class LedTarget:
    """A workload in a cluster; only the controller that holds the Lease writes, any other one observes.

    A decision sets the lower bound of each live object, by its share of the traffic. The upper bound stays the user's,
    so that the cluster's own autoscaler can add pods whatever happens to the controller.
    """

    def __init__(
        self,
        workload: LedWorkload,
        client: SettingsClient,
        lease: LeaderLease | NoLease,
        clocks: Clocks,
        poll_every_s: float = 0.25,
    ) -> None:
        self._workload, self._lease, self._clocks, self._poll_every_s = workload, lease, clocks, poll_every_s
        self._keeper = BoundsKeeper(client, lease)
        self._troubles = Troubles()
        self._polled_s = float("-inf")
        self._term, self._led = 0, False
        self._state = TargetState((), None, 0, confirmed=False)
        self._observed = Observed((), None, None)
        self._wanted = 0
        self._pods: tuple[Pod, ...] = ()
        self._names: frozenset[str] = frozenset()
        self._cold_starts = 0

    @property
    def leads(self) -> bool:
        """Return whether this controller may write."""
        return self._lease.leads

    def poll(self) -> TargetState:
        """Return the pods, read at most once in poll_every_s.

        Raises ClusterError if the workload cannot be read, NoTrafficError while no Revision has traffic.
        """
        now_s = self._clocks.monotonic()
        if now_s - self._polled_s < (SETTLED_EVERY_S if self._is_settled() else self._poll_every_s):
            return self._with_confirmation()
        self._polled_s = now_s
        self._elect(now_s)
        observed = self._workload.observe(now_s)
        self._observed = observed or self._observed
        if self._lease.leads:
            self._write(now_s, observed)
        self._state = self._state_of(self._workload.pods())
        return self._with_confirmation()

    def _write(self, now_s: float, observed: Observed | None) -> None:
        if observed is None:
            self._keeper.write_due(now_s)
        else:
            self._keeper.reconcile(now_s, observed.live)
        if self._keeper.confirmed and self._lease.leads:
            self._hasten(now_s)

    def _hasten(self, now_s: float) -> None:
        """Hasten the start of pods; without the permission, the cluster's own autoscaler starts them later."""
        try:
            self._workload.hasten()
            self._troubles.worked("hastening the start of pods", now_s)
        except ClusterError as error:
            self._troubles.failed("hastening the start of pods", now_s, error)

    def _is_settled(self) -> bool:
        """Return whether all pods are ready, and as many as wanted."""
        pods = self._state.pods
        return len(pods) == self._wanted and all(pod.phase is PodPhase.READY for pod in pods)

    def scale_to(self, pods: int) -> None:
        """Set the lower bound, at once if the last write is not too recent; a failed write is repeated by poll()."""
        self._wanted = pods
        if self._lease.leads:
            self._keeper.wish(pods, self._clocks.monotonic())

    def release(self) -> None:
        """Give back what was found, so that the cluster's own autoscaler decides."""
        if self._lease.leads:
            self._keeper.wish(None, self._clocks.monotonic())

    def close(self) -> None:
        """Give back what was found, and let another controller take the Lease."""
        if self._term and not self._lease.leads:
            self._elect(self._clocks.monotonic())  # it could not renew the Lease in time, and may hold it still
        if not self._lease.leads:
            return
        if not self._keeper.close(self._clocks.monotonic()):
            log.error("%s: the bounds and knobs written last remain; %s", self._workload.name, self._workload.heal)
        try:
            self._lease.release()
        except ClusterError as error:
            log.warning("the Lease is not released and expires by itself: %s", error)

    def _elect(self, now_s: float) -> None:
        try:
            if self._lease.poll():
                self._troubles.worked("leader election", now_s)
        except ClusterError as error:
            self._troubles.failed("leader election", now_s, error)
        led, self._led = self._led, self._lease.leads
        if self._led and self._lease.term != self._term:
            self._term = self._lease.term
            self._keeper.begin(now_s)
            log.info("%s: this controller leads", self._workload.name)
        elif led and not self._led:
            log.warning("%s: this controller does not lead any more", self._workload.name)

    def _with_confirmation(self) -> TargetState:
        confirmed = self._lease.leads and self._keeper.confirmed
        leader = None if self._lease.leads else self._lease.holder or None
        if (confirmed, leader) != (self._state.confirmed, self._state.leader):
            self._state = replace(self._state, confirmed=confirmed, leader=leader)
        return self._state

    def _state_of(self, pods: Sequence[Pod]) -> TargetState:
        """Convert the pods' times from the cluster's Unix clock, in whole seconds, to the controller's clock."""
        offset_s = self._clocks.monotonic() - self._clocks.unix()
        samples = tuple(
            PodSample(
                name=pod.name,
                phase=PodPhase(pod.phase),
                started_s=pod.created_unix_s + offset_s,
                ready_s=None if pod.ready_unix_s is None else pod.ready_unix_s + offset_s,
                stuck=pod.phase == "starting" and pod.problem is not None,
                url=pod.url,
            )
            for pod in pods
        )
        names = frozenset(pod.name for pod in pods)
        self._cold_starts += len(names - self._names)
        self._names = names
        self._pods = tuple(pods)
        problems = (pod.problem for pod in pods if pod.phase == "starting" and pod.problem)
        return TargetState(
            samples,
            None,
            self._cold_starts,
            concurrency=self._observed.concurrency,
            problem=next(problems, self._observed.problem),
        )
