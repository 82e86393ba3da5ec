"""Journals of both kinds, each of which can be opened again as after a crash."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dispatcher.journal.base import Journal, JournalLimits
from dispatcher.journal.redis_journal import RedisJournal
from dispatcher.journal.sqlite_journal import SqliteJournal
from tests.dispatcher.journal.redis_server import RedisServer

LEASE_S = 0.3


class Store:
    """A place for jobs; `opened` opens a journal on it."""

    def __init__(self, make: Callable[[JournalLimits], Journal]) -> None:
        self._make, self.limits = make, JournalLimits()

    @asynccontextmanager
    async def opened(self, now_s: float = 0.0, **limits: Any) -> AsyncIterator[Journal]:
        """Open a journal, and close it at the end."""
        journal = self._make(replace(self.limits, **limits))
        await journal.open(now_s)
        try:
            yield journal
        finally:
            await journal.close()

    async def crash(self, **limits: Any) -> Journal:
        """Return an open journal whose process is assumed to die: it is never closed."""
        journal = self._make(replace(self.limits, **limits))
        await journal.open(0.0)
        return journal


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"), "--appendfsync", "no")
    yield server
    server.kill()


@pytest.fixture
def shared_store(redis_server: RedisServer) -> Store:
    """Return a store that several dispatchers can open at once."""
    redis_server.client.flushall()
    return Store(lambda limits: RedisJournal(redis_server.url, limits, lease_s=LEASE_S))


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.integration)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "sqlite":
        return Store(lambda limits: SqliteJournal(tmp_path / "journal.sqlite3", limits))
    shared: Store = request.getfixturevalue("shared_store")
    return shared


def run(test: Coroutine[Any, Any, None]) -> None:
    """Run a test's coroutine, within a minute."""
    asyncio.run(asyncio.wait_for(test, 60))
