"""Runs SQLite operations in one thread; those that arrive during a commit share the next one."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from dispatcher.journal.base import JournalError, JournalUnavailableError

Value = TypeVar("Value")
Operation = Callable[[sqlite3.Connection], Value]

# Bounds the time that one transaction takes, and with it the wait of the operations in it.
BATCH = 256


@dataclass(frozen=True, slots=True)
class _Call:
    operation: Operation[Any]
    future: asyncio.Future[Any]


class SqliteWorker:
    """One connection in a thread of its own.

    An operation must do nothing but execute statements: it runs a second time if the transaction that it shared failed.
    It may raise a JournalError before its first write.
    """

    def __init__(self, name: str, connect: Callable[[], sqlite3.Connection]) -> None:
        self._name, self._connect = name, connect
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._closed = False

    async def start(self) -> None:
        """Open the connection; raise what `connect` raises."""
        self._thread.start()
        await self._opened

    async def run(self, operation: Operation[Value]) -> Value:
        """Return the operation's result after its commit."""
        if self._closed:
            raise JournalUnavailableError(f"the journal {self._name} is closed")
        future: asyncio.Future[Value] = self._loop.create_future()
        self._calls.put(_Call(operation, future))
        return await future

    async def stop(self) -> None:
        """Run what is queued, then close the connection."""
        self._closed = True
        self._calls.put(None)
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        try:
            connection = self._connect()
        except (JournalError, sqlite3.Error) as error:
            self._loop.call_soon_threadsafe(self._opened.set_exception, error)
            return
        self._loop.call_soon_threadsafe(self._opened.set_result, None)
        while batch := self._take():
            outcomes = self._commit(connection, batch)
            self._loop.call_soon_threadsafe(_deliver, batch, outcomes)
        connection.close()

    def _take(self) -> list[_Call]:
        """Wait for a call; return it with those queued behind it, or nothing at the end."""
        batch: list[_Call] = []
        call = self._calls.get()
        try:
            while call and len(batch) < BATCH - 1:
                batch.append(call)
                call = self._calls.get_nowait()
        except Empty:
            return batch
        if call:
            batch.append(call)
        elif batch:
            self._calls.put(None)
        return batch

    def _commit(self, connection: sqlite3.Connection, batch: Sequence[_Call]) -> list[object]:
        """Return a result or an exception for each call; all are on disk, or none is."""
        try:
            connection.execute("BEGIN IMMEDIATE")
            outcomes = [_outcome(connection, call) for call in batch]
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if len(batch) > 1:  # one of them may be at fault, or too large for the disk
                return [outcome for call in batch for outcome in self._commit(connection, [call])]
            return [JournalUnavailableError(f"cannot use the journal {self._name}: {error}")]
        return outcomes


def _outcome(connection: sqlite3.Connection, call: _Call) -> object:
    try:
        return call.operation(connection)
    except (JournalError, ValueError, OverflowError) as error:  # the latter two: a value that SQLite cannot hold
        return error


def _deliver(batch: Sequence[_Call], outcomes: Sequence[object]) -> None:
    for call, outcome in zip(batch, outcomes, strict=True):
        if call.future.done():  # cancelled by its caller
            continue
        if isinstance(outcome, Exception):
            call.future.set_exception(outcome)
        else:
            call.future.set_result(outcome)
