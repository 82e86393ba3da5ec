"""SIGINT and SIGTERM at every moment of a command: before a run, within it, between two runs, and while writing."""

import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvloop

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
Handlers = dict[signal.Signals, Any]


def in_main_thread() -> bool:
    """Return whether this thread may set handlers; elsewhere, signals are left to the program that made the thread."""
    return threading.current_thread() is threading.main_thread()


@contextmanager
def raising() -> Iterator[None]:
    """Let both signals raise KeyboardInterrupt.

    Shells start background jobs with SIGINT ignored; there it is handled too, as it is within a run.
    """
    before = _replaced(signal.default_int_handler)
    try:
        yield
    finally:
        _restore(before)


class HeldSignal:
    """The first signal of a run and of what follows it; calling it returns whether there was one."""

    def __init__(self) -> None:
        self._received = False

    def __call__(self) -> bool:
        return self._received

    def note(self, interrupted: bool) -> None:
        """Count a signal that a run has handled itself."""
        self._received = self._received or interrupted

    def hold(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: note the first one, raise KeyboardInterrupt at the second."""
        if self._received:
            signal.default_int_handler(number, frame)
        self._received = True


@contextmanager
def finishing() -> Iterator[HeldSignal]:
    """Hold back the first signal, so that results are written whole; the second one raises KeyboardInterrupt."""
    held = HeldSignal()
    before = _replaced(held.hold)
    try:
        yield held
    finally:
        _restore(before)


def run_loop(main: Coroutine[Any, Any, bool]) -> bool:
    """Run a coroutine that returns whether a signal arrived; leave the handlers as they were, which uvloop does not.

    A signal that arrives after the coroutine has ended and before the handlers are back counts as well.
    """
    before = _replaced(None)
    try:
        interrupted = uvloop.run(_ending_masked(main))
        return interrupted or bool(before and _pending())
    finally:
        _restore(before)
        if before:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


async def _ending_masked(main: Coroutine[Any, Any, bool]) -> bool:
    try:
        return await main
    finally:
        if in_main_thread():
            signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)


def _pending() -> set[signal.Signals]:
    """Take the signals that wait to be delivered, and return them."""
    waiting = {signal.Signals(number) for number in signal.sigpending()} & set(STOP_SIGNALS)
    for number in waiting:
        signal.sigwait({number})
    return waiting


def _replaced(handler: Callable[[int, FrameType | None], None] | None) -> Handlers:
    """Return the handlers, after setting another one if there is one; nothing outside of the main thread."""
    if not in_main_thread():
        return {}
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    for number in STOP_SIGNALS if handler else ():
        signal.signal(number, handler)
    return before


def _restore(before: Handlers) -> None:
    for number, handler in before.items():
        if handler is not None:  # None: it was not set from Python, so it cannot be set again
            signal.signal(number, handler)
