"""Writes the bounds of a Service's Revisions while this controller leads, and gives back what it found."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Protocol

from autoscaler_tuning.live.found_bounds import Annotations, FoundBounds, has_hpa, patch_to
from autoscaler_tuning.live.troubles import Troubles
from knative.errors import ClusterError, NotFoundError
from knative.objects import MIN_SCALE, Revision

log = logging.getLogger(__name__)

WRITE_GAP_S = 0.25
RETRY_WRITE_S = 1.0
UNDECIDED_FOR_S = 30.0


class RevisionClient(Protocol):
    """The calls to the cluster that the keeper makes; in production, KnativeClient."""

    def revision(self, name: str) -> Revision: ...

    def patch_annotations(self, revision: str, annotations: Mapping[str, str | None]) -> Revision: ...


class FoundStore(Protocol):
    """Where found bounds are stored, outside the Revisions; in production, LeaderLease."""

    def found(self) -> dict[str, FoundBounds]: ...

    def remember(self, uid: str, found: FoundBounds) -> None: ...

    def forget(self, uid: str) -> None: ...


@dataclass(frozen=True, slots=True)
class LiveRevision:
    """A Revision that receives traffic, and its share of it, from 0 to 1."""

    revision: Revision
    share: float


class BoundsKeeper:
    """Keeps the bounds of the Revisions that receive traffic at the wish, and gives others theirs back.

    Before the first write to a Revision, what was found on it is stored. A controller that begins to lead gives
    max-scale and the knobs back at once, and min-scale after UNDECIDED_FOR_S unless a decision comes first.
    """

    def __init__(self, client: RevisionClient, store: FoundStore) -> None:
        self._client, self._store = client, store
        self._troubles = Troubles()
        self._wish: int | None = None
        self._began_s = float("-inf")
        self._next_write_s = float("-inf")
        self._live: tuple[LiveRevision, ...] = ()
        self._retry_s: dict[str, float] = {}
        self._written: dict[str, Annotations] = {}
        self.confirmed = False

    def begin(self, now_s: float) -> None:
        """Start to lead: nothing is decided yet."""
        self._wish, self._began_s, self._next_write_s = None, now_s, float("-inf")
        self._written.clear()
        self._retry_s.clear()
        self.confirmed = False

    def wish(self, pods: int | None, now_s: float) -> None:
        """Set min-scale to this number of pods, within the user's bounds; None gives back what was found."""
        if pods is None:
            self._began_s = float("-inf")
        if pods != self._wish:
            self._wish = pods
            self.confirmed = False
            self.write_due(now_s)

    def reconcile(self, now_s: float, live: Sequence[LiveRevision]) -> None:
        """Compare the Revisions, as read just now, with what they should be, and write what differs."""
        self._live = tuple(live)
        self._notice_edits(now_s)
        self.write_due(now_s)
        current = {one.revision.uid for one in live}
        for uid, found in self._store.found().items():
            if uid not in current:
                self._give_back(uid, found, now_s)

    def close(self, now_s: float) -> bool:
        """Give all bounds back; return whether that succeeded."""
        self.confirmed = False
        self._retry_s.clear()
        done = [self._give_back(uid, found, now_s) for uid, found in self._store.found().items()]
        return all(done)

    def write_due(self, now_s: float) -> None:
        """Write what is due on the Revisions as they were read or written last."""
        if now_s < self._next_write_s:
            return
        complete = [
            self._attempt(f"set the bounds of {one.revision.name}", now_s, partial(self._lead, one, now_s))
            for one in self._live
        ]
        self.confirmed = bool(complete) and all(complete) and self._wish is not None

    def _lead(self, one: LiveRevision, now_s: float) -> None:
        revision = one.revision
        found = self._store.found().get(revision.uid)
        if found is None:
            if self._wish is None:
                return
            found = FoundBounds.of(revision)
            self._store.remember(revision.uid, found)
        if self._wish is None and now_s - self._began_s >= UNDECIDED_FOR_S:
            self._return(revision.uid, found)
            return
        wanted = self._wanted(one, found)
        if patch := patch_to(wanted, revision.annotations):
            self._next_write_s = now_s + WRITE_GAP_S
            changed = self._client.patch_annotations(revision.name, patch)
            log.info("%s: min-scale %s", revision.name, wanted[MIN_SCALE])
            self._live = tuple(
                LiveRevision(changed, each.share) if each.revision.uid == revision.uid else each for each in self._live
            )
        self._written[revision.uid] = wanted

    def _wanted(self, one: LiveRevision, found: FoundBounds) -> Annotations:
        """Return the annotations for the wish; without one, those that were found, with min-scale as it is."""
        if self._wish is None:
            return found.with_min_scale(one.revision.min_pods)
        pods = ceil(self._wish * one.share - 1e-9)
        return found.with_min_scale(pods) if has_hpa(one.revision) else found.led(pods)

    def _give_back(self, uid: str, found: FoundBounds, now_s: float) -> bool:
        return self._attempt(f"give back the bounds of {found.revision}", now_s, partial(self._return, uid, found))

    def _return(self, uid: str, found: FoundBounds) -> None:
        """Give a Revision its own bounds back and forget them; a Revision that is gone, or new, has its own."""
        try:
            revision = self._client.revision(found.revision)
            patch = patch_to(found.given_back(), revision.annotations) if revision.uid == uid else {}
            if patch:
                self._client.patch_annotations(found.revision, patch)
                log.info("%s: its own bounds and knobs are back", found.revision)
        except NotFoundError:
            pass
        self._written.pop(uid, None)
        self._store.forget(uid)

    def _notice_edits(self, now_s: float) -> None:
        for one in self._live:
            written = self._written.get(one.revision.uid)
            if written is not None and patch_to(written, one.revision.annotations):
                self._written.pop(one.revision.uid)
                log.warning("%s: another client changed the bounds; writing them again", one.revision.name)

    def _attempt(self, what: str, now_s: float, call: Callable[[], None]) -> bool:
        """Make the call unless it has failed just now; return whether it succeeded."""
        if now_s < self._retry_s.get(what, now_s):
            return False
        try:
            call()
        except ClusterError as error:
            self._troubles.failed(what, now_s, error)
            self._retry_s[what] = now_s + RETRY_WRITE_S
            return False
        self._retry_s.pop(what, None)
        self._troubles.worked(what, now_s)
        return True
