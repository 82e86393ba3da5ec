"""Joins calls that arrive while an earlier batch is on its way."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")


class Batcher(Generic[Item, Value]):
    """Calls `run` with up to `most` items at once, one batch after the other.

    run: returns a value or an exception for each item; what it raises is raised for every item of the batch, and for
    all that waited meanwhile: behind a store that hangs, each batch would wait for the same time-outs again.
    """

    def __init__(self, run: Callable[[Sequence[Item]], Awaitable[Sequence[Value | Exception]]], most: int) -> None:
        self._run, self._most = run, most
        self._waiting: deque[tuple[Item, asyncio.Future[Value]]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def call(self, item: Item) -> Value:
        """Return the value of one item."""
        future: asyncio.Future[Value] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
            (got,) = await asyncio.gather(self._run([item for item, _ in batch]), return_exceptions=True)
            if isinstance(got, BaseException):
                batch += self._waiting
                self._waiting.clear()
            outcomes: Sequence[Value | BaseException] = [got] * len(batch) if isinstance(got, BaseException) else got
            for (_, future), outcome in zip(batch, outcomes, strict=True):
                _settle(future, outcome)


def _settle(future: asyncio.Future[Value], outcome: Value | BaseException) -> None:
    if future.done():  # cancelled by its caller
        return
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
