"""Leader election between controllers of one Service, over a Lease; only the holder writes to the cluster.

The Lease also keeps what was found on the Revisions, so that each holder can give it back.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum

from autoscaler_tuning.live.found_bounds import FoundBounds
from knative.client import KnativeClient
from knative.errors import ConflictError, NotFoundError
from knative.leases import Lease, Tenure, annotations_patch, new_lease, release_patch, tenure_patch

# The name of a Service's Lease begins so.
PREFIX = "elastic-"
# A Revision's UID follows; the group is not Knative's, and the Lease is no Revision, so this restarts no pod.
FOUND = "elastic-ml-inference/found-"


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """Times of the election, in seconds.

    duration_s: time without a renewal after which another controller takes the Lease.
    renew_every_s: time between two renewals.
    give_up_s: time without a successful renewal after which the holder stops to write, before another one begins.
    retry_every_s: time between two looks of a controller that does not hold the Lease, or cannot renew it.
    """

    duration_s: int = 15
    renew_every_s: float = 5.0
    give_up_s: float = 10.0
    retry_every_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Clocks:
    """monotonic: the controller's clock; unix: the cluster's, in which pods have their times. Both in seconds."""

    monotonic: Callable[[], float]
    unix: Callable[[], float]


class Move(Enum):
    """What a controller does about the Lease."""

    CREATE = "create"
    TAKE = "take"
    RENEW = "renew"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class SeenLease:
    """The holder and version of a Lease, and since when they have been seen, on the observer's own clock.

    A renewal changes the version. Its time stamp is not used, because the holder's clock may be wrong.
    """

    holder: str = ""
    version: str = ""
    since_s: float = float("-inf")

    def update(self, lease: Lease | None, now_s: float) -> "SeenLease":
        """Return what is seen now; the time changes only if the holder or the version did."""
        found = SeenLease(lease.holder, lease.version) if lease else SeenLease()
        return self if (found.holder, found.version) == (self.holder, self.version) else replace(found, since_s=now_s)


def move(lease: Lease | None, seen: SeenLease, identity: str, now_s: float, duration_s: float) -> Move:
    """Return what to do about the Lease. Its holder renews it; others take it once it is free or was not renewed."""
    if lease is None:
        return Move.CREATE
    if lease.holder == identity:
        return Move.RENEW
    free = not lease.holder or now_s - seen.since_s >= duration_s
    return Move.TAKE if free else Move.WAIT


class NoLease:
    """Leadership of a controller that only observes: it never leads, and never reads or writes a Lease."""

    leads = False
    term = 0
    holder = ""

    def poll(self) -> bool:
        """Do nothing, and return that nothing was asked."""
        return False

    def found(self) -> dict[str, FoundBounds]:
        """Return nothing."""
        return {}

    def remember(self, uid: str, found: FoundBounds) -> None:
        """Refuse to store anything. Raises ConflictError."""
        raise ConflictError("this controller only observes")

    def forget(self, uid: str) -> None:
        """Do nothing."""

    def release(self) -> None:
        """Do nothing."""


class LeaderLease:
    """Holds the Lease of one Service if no other controller does. poll() does what is due."""

    def __init__(
        self,
        client: KnativeClient,
        service: str,
        identity: str,
        clocks: Clocks,
        times: LeaseTimes | None = None,
    ) -> None:
        self._client, self._name, self._identity, self._clocks = client, PREFIX + service, identity, clocks
        self._times = times or LeaseTimes()
        self._lease: Lease | None = None
        self._seen = SeenLease()
        self._due_s = self._renewed_s = float("-inf")
        self._acquired_unix_s = 0.0
        self._holds = False
        self.term = 0

    @property
    def leads(self) -> bool:
        """Return whether this controller may write now: it holds the Lease, and the last renewal is recent enough.

        Ask before each write, because the call before it may have taken long.
        """
        return self._holds and self._clocks.monotonic() - self._renewed_s < self._times.give_up_s

    @property
    def holder(self) -> str:
        """Return the other controller that held the Lease when it was read last; empty if there is none."""
        return self._lease.holder if self._lease and self._lease.holder != self._identity else ""

    def poll(self) -> bool:
        """Take or renew the Lease if that is due; return whether it was due.

        term counts how often this controller has taken the Lease.
        Raises ClusterError if the API server fails; leads stays true until give_up_s after the last renewal.
        """
        now_s, led = self._clocks.monotonic(), self.leads
        if now_s < self._due_s:
            return False
        self._due_s = now_s + self._times.retry_every_s
        lease = self._client.lease(self._name)
        now_s = self._clocks.monotonic()  # a renewal while the call was on its way may be as late as this
        self._seen = self._seen.update(lease, now_s)
        what = move(lease, self._seen, self._identity, now_s, self._times.duration_s)
        if what is Move.WAIT:
            self._lease, self._holds = lease, False
            return True
        try:
            self._lease = self._written(lease, what, led)
        except (ConflictError, NotFoundError):
            self._due_s = now_s  # another client was faster: look again at the next poll
            return True
        self._seen = self._seen.update(self._lease, now_s)
        self.term += not led
        self._holds, self._renewed_s, self._due_s = True, now_s, now_s + self._times.renew_every_s
        return True

    def found(self) -> dict[str, FoundBounds]:
        """Return the stored bounds by the UID of their Revision, without those that another program made unreadable."""
        found = {}
        for key, text in self._stored().items():
            with suppress(ValueError):
                found[key.removeprefix(FOUND)] = FoundBounds.from_text(text)
        return found

    def remember(self, uid: str, found: FoundBounds) -> None:
        """Store what was found on a Revision. Raises ClusterError; a ConflictError ends the leadership."""
        self._annotate({FOUND + uid: found.text()})

    def forget(self, uid: str) -> None:
        """Remove what was found on a Revision, once it was given back or the Revision is gone. Raises as remember."""
        if FOUND + uid in self._stored():
            self._annotate({FOUND + uid: None})

    def release(self) -> None:
        """End the leadership, so that another controller can begin at once. Raises ClusterError."""
        if self._holds and self._lease:
            self._holds = False
            self._lease = self._client.patch_lease(self._name, release_patch(self._lease.version))

    def _stored(self) -> dict[str, str]:
        annotations = self._lease.annotations if self._lease else {}
        return {key: text for key, text in annotations.items() if key.startswith(FOUND)}

    def _written(self, lease: Lease | None, what: Move, led: bool) -> Lease:
        """Write the Lease, which is None if it does not exist, and return it as written."""
        unix_s = self._clocks.unix()
        if not led:
            self._acquired_unix_s = unix_s
        transitions = (lease.transitions if lease else 0) + (what is Move.TAKE)
        tenure = Tenure(self._identity, self._times.duration_s, self._acquired_unix_s, unix_s, transitions)
        if lease is not None:
            return self._client.patch_lease(self._name, tenure_patch(lease.version, tenure))
        kept = self._stored() if led else {}  # somebody deleted the Lease that this controller held
        return self._client.create_lease(new_lease(self._name, tenure, kept))

    def _annotate(self, annotations: Mapping[str, str | None]) -> None:
        if not self.leads or self._lease is None:
            raise ConflictError(f"cannot patch leases/{self._name}: this controller does not hold it")
        try:
            self._lease = self._client.patch_lease(self._name, annotations_patch(self._lease.version, annotations))
        except (ConflictError, NotFoundError):
            # another client wrote to the Lease; the next poll finds out whether this controller still holds it
            self._due_s = float("-inf")
            raise
