"""Finds out whether Knative copies a Revision's annotations to its PodAutoscaler, as version 1.21 and newer do."""

import logging
from dataclasses import dataclass

from autoscaler_tuning.live.found_bounds import managed_of
from autoscaler_tuning.live.leader import LeaderLease, NoLease
from knative.client import KnativeClient
from knative.errors import ForbiddenError, NotFoundError
from knative.objects import REVISIONS
from knative.workloads import PODAUTOSCALERS, ScaledObject

log = logging.getLogger(__name__)

# Knative 1.23 copies within 0.5 s.
COPIED_WITHIN_S = 5.0


@dataclass(slots=True)
class _Copying:
    """What is known of one Revision.

    first: the settings of the PodAutoscaler at the first look.
    copies: whether Knative copies; None while unknown.
    differs_since_s: since when the two differ; None if they do not.
    """

    first: dict[str, str | None]
    copies: bool | None = None
    differs_since_s: float | None = None

    def update(self, revision: dict[str, str | None], autoscaler: dict[str, str | None], now_s: float) -> None:
        """Take note of the settings as they are now.

        Equal ones tell nothing unless the PodAutoscaler has changed, because each Revision begins with equal ones.
        """
        if autoscaler == revision:
            self.differs_since_s = None
            self.copies = True if autoscaler != self.first else None
            return
        if self.differs_since_s is None:
            self.differs_since_s = now_s
        if now_s - self.differs_since_s >= COPIED_WITHIN_S:
            self.copies = False


class AnnotationSync:
    """Watches the PodAutoscalers of Revisions until it is known whether Knative copies the annotations.

    For a Knative that does not, the PodAutoscaler is written too. The Revision is still written: if Knative's
    controller was only slow, or is upgraded later, what it copies is then the same.
    """

    def __init__(self, client: KnativeClient, lease: LeaderLease | NoLease) -> None:
        self._client, self._lease = client, lease
        self._known: dict[str, _Copying] = {}
        self._allowed = True

    def also(self, revision: ScaledObject, now_s: float) -> tuple[ScaledObject, ...]:
        """Return the PodAutoscaler of a Revision, as read just now, if it must be written too. Raises ClusterError."""
        known = self._known.get(revision.uid)
        if not self._lease.leads or not self._allowed or (known is not None and known.copies):
            return ()
        try:
            autoscaler = self._client.scaled(PODAUTOSCALERS, revision.name)
        except NotFoundError:  # Knative makes it a moment after the Revision
            return ()
        except ForbiddenError as error:
            self._allowed = False
            log.warning("cannot see whether Knative copies annotations, which versions before 1.21 do not: %s", error)
            return ()
        self._known[revision.uid] = known = self._looked(revision, autoscaler, now_s)
        return (autoscaler,) if known.copies is False else ()

    def _looked(self, revision: ScaledObject, autoscaler: ScaledObject, now_s: float) -> _Copying:
        settings = _managed(autoscaler)
        known = self._known.get(revision.uid) or _Copying(settings)
        if autoscaler.uid in self._lease.found():  # a controller before this one wrote it
            known.copies = False
        if known.copies is None:
            known.update(_managed(revision), settings, now_s)
            if known.copies is False:
                log.warning(
                    "%s/%s: Knative did not copy annotations to its PodAutoscaler within %g s, as versions before 1.21 "
                    "do not; the controller writes both",
                    REVISIONS,
                    revision.name,
                    COPIED_WITHIN_S,
                )
        return known


def _managed(scaled: ScaledObject) -> dict[str, str | None]:
    return {name: scaled.settings.get(name) for name in managed_of(scaled.plural)}
