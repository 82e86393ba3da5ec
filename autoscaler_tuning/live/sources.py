"""Where a controller reads signals and announces capacity, and a source that only reads."""

from typing import Protocol

from autoscaler_tuning.live.signals import Signals


class SignalSource(Protocol):
    """Where the controller reads signals and announces capacity; in production, the class Dispatchers."""

    def signals(self) -> Signals: ...

    def announce(
        self,
        ready_pods: int,
        concurrency: int,
        valid_s: float,
        backends: tuple[str, ...] | None,
        problem: str | None = None,
    ) -> None:
        """Announce the ready pods, and why pods cannot start if that is known. Raises ScrapeError."""


class ReadOnlySource:
    """A source for shadow mode: its signals can be read, but announcing capacity does nothing."""

    def __init__(self, inner: SignalSource) -> None:
        self._inner = inner

    def signals(self) -> Signals:
        """Return the source's signals. Raises ScrapeError."""
        return self._inner.signals()

    def announce(
        self,
        ready_pods: int,
        concurrency: int,
        valid_s: float,
        backends: tuple[str, ...] | None,
        problem: str | None = None,
    ) -> None:
        """Do nothing."""
