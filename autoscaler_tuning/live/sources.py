"""Where a controller reads signals and announces capacity, and a source that only reads."""

from dataclasses import dataclass
from typing import Protocol

from autoscaler_tuning.live.signals import Signals


@dataclass(frozen=True, slots=True)
class AnnouncedCapacity:
    """The ready pods as the dispatchers are told of them.

    concurrency: requests that a pod serves at once. backends: addresses of the pods; None behind a Knative route.
    problem: why pods cannot start, if that is known.
    """

    ready_pods: int
    concurrency: int
    backends: tuple[str, ...] | None = None
    problem: str | None = None


class SignalSource(Protocol):
    """Where the controller reads signals and announces capacity; in production, the class Dispatchers."""

    def signals(self) -> Signals: ...

    def announce(self, capacity: AnnouncedCapacity, valid_s: float) -> None:
        """Announce the capacity, which is valid for that time. Raises ScrapeError."""


class ReadOnlySource:
    """A source for shadow mode: its signals can be read, but announcing capacity does nothing."""

    def __init__(self, inner: SignalSource) -> None:
        self._inner = inner

    def signals(self) -> Signals:
        """Return the source's signals. Raises ScrapeError."""
        return self._inner.signals()

    def announce(self, capacity: AnnouncedCapacity, valid_s: float) -> None:
        """Do nothing."""
