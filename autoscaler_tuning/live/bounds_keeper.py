"""Writes the bounds of a target's objects while this controller leads, and gives back what it found."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Protocol

from autoscaler_tuning.live.found_bounds import FoundBounds, Settings, has_hpa, least_of, patch_to
from autoscaler_tuning.live.troubles import Troubles
from knative.errors import ClusterError, ConflictError, NotFoundError
from knative.objects import annotation
from knative.workloads import ScaledObject

log = logging.getLogger(__name__)

WRITE_GAP_S = 0.25
RETRY_WRITE_S = 1.0
UNDECIDED_FOR_S = 30.0


class SettingsClient(Protocol):
    """The calls to the cluster that the keeper makes; in production, KnativeClient."""

    def scaled(self, plural: str, name: str) -> ScaledObject: ...

    def patch_settings(self, plural: str, name: str, settings: Mapping[str, str | None]) -> ScaledObject: ...


class FoundStore(Protocol):
    """Where found bounds are stored, outside the objects; in production, LeaderLease."""

    @property
    def leads(self) -> bool:
        """Return whether this controller may write now."""

    def found(self) -> dict[str, FoundBounds]: ...

    def remember(self, uid: str, found: FoundBounds) -> None: ...

    def forget(self, uid: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Live:
    """An object that limits the pods of live traffic, and its share of the traffic, from 0 to 1."""

    scaled: ScaledObject
    share: float


class BoundsKeeper:
    """Keeps the bounds of the live objects at the wish, and gives others theirs back.

    Before the first write to an object, what was found on it is stored. A controller that begins to lead gives the
    upper bound and the knobs back at once, and the lower bound after UNDECIDED_FOR_S unless a decision comes first.
    """

    def __init__(self, client: SettingsClient, store: FoundStore) -> None:
        self._client, self._store = client, store
        self._troubles = Troubles()
        self._wish: int | None = None
        self._began_s = float("-inf")
        self._next_write_s = float("-inf")
        self._live: tuple[Live, ...] = ()
        self._retry_s: dict[str, float] = {}
        self._written: dict[str, Settings] = {}
        self.confirmed = False

    def begin(self, now_s: float) -> None:
        """Start to lead: nothing is decided yet."""
        self._wish, self._began_s, self._next_write_s = None, now_s, float("-inf")
        self._live = ()  # another controller may have written since an earlier term
        self._written.clear()
        self._retry_s.clear()
        self.confirmed = False

    def wish(self, pods: int | None, now_s: float) -> None:
        """Set the lower bound to this number of pods, within the user's bounds; None gives back what was found."""
        if pods is None:
            self._began_s = float("-inf")
        if pods != self._wish:
            self._wish = pods
            self.confirmed = False
            self.write_due(now_s)

    def reconcile(self, now_s: float, live: Sequence[Live]) -> None:
        """Compare the live objects, as read just now, with what they should be, and write what differs."""
        self._live = tuple(live)
        self._notice_edits(now_s)
        self.write_due(now_s)
        current = {one.scaled.uid for one in live}
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
        """Write what is due on the objects as they were read or written last."""
        if now_s < self._next_write_s:
            return
        complete = [
            self._attempt(
                f"set the bounds of {one.scaled.plural}/{one.scaled.name}", now_s, partial(self._lead, one, now_s)
            )
            for one in self._live
        ]
        self.confirmed = bool(complete) and all(complete) and self._wish is not None

    def _lead(self, one: Live, now_s: float) -> None:
        scaled = one.scaled
        found = self._store.found().get(scaled.uid)
        if found is None:
            if self._wish is None:
                return
            found = FoundBounds.of(scaled)
            self._store.remember(scaled.uid, found)
        elif (edited := found.with_edits(scaled)) != found:
            found = edited
            self._store.remember(scaled.uid, found)
        if self._wish is None and now_s - self._began_s >= UNDECIDED_FOR_S:
            self._return(scaled.uid, found)
            return
        wanted = self._wanted(one, found)
        if patch := patch_to(wanted, scaled.settings):
            self._next_write_s = now_s + WRITE_GAP_S
            self._patch(scaled, patch)
            least = least_of(scaled.plural)
            log.info("%s/%s: %s %s", scaled.plural, scaled.name, least.rpartition("/")[2], wanted[least])
        self._written[scaled.uid] = wanted

    def _wanted(self, one: Live, found: FoundBounds) -> Settings:
        """Return the settings for the wish; without one, those that were found, with the lower bound as it is."""
        if self._wish is None:
            return found.with_least(int(annotation(one.scaled.settings, least_of(one.scaled.plural)) or 0))
        pods = ceil(self._wish * one.share - 1e-9)
        return found.with_least(pods) if has_hpa(one.scaled) else found.led(pods)

    def _give_back(self, uid: str, found: FoundBounds, now_s: float) -> bool:
        what = f"give back the bounds of {found.plural}/{found.name}"
        return self._attempt(what, now_s, partial(self._return, uid, found))

    def _return(self, uid: str, found: FoundBounds) -> None:
        """Give an object its own bounds back and forget them; an object that is gone, or new, has its own."""
        try:
            scaled = self._client.scaled(found.plural, found.name)
            self._replace(uid, scaled)
            patch = patch_to(found.given_back(), scaled.settings) if scaled.uid == uid else {}
            if patch:
                self._patch(scaled, patch)
                log.info("%s/%s: its own bounds and knobs are back", found.plural, found.name)
        except NotFoundError:
            pass
        self._written.pop(uid, None)
        self._store.forget(uid)

    def _patch(self, scaled: ScaledObject, patch: Settings) -> None:
        """Write to an object. Raises ConflictError if the calls before took so long that another one may lead."""
        if not self._store.leads:
            raise ConflictError(f"cannot patch {scaled.plural}/{scaled.name}: the Lease was not renewed in time")
        self._replace(scaled.uid, self._client.patch_settings(scaled.plural, scaled.name, patch))

    def _replace(self, uid: str, scaled: ScaledObject) -> None:
        """Keep a live object as it is now: what was found is read from it, if a decision comes before the next look."""
        self._live = tuple(Live(scaled, each.share) if each.scaled.uid == uid else each for each in self._live)

    def _notice_edits(self, now_s: float) -> None:
        for one in self._live:
            scaled = one.scaled
            written = self._written.get(scaled.uid)
            if written is not None and patch_to(written, scaled.settings):
                self._written.pop(scaled.uid)
                log.warning("%s/%s: another client changed the bounds; writing them again", scaled.plural, scaled.name)

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
