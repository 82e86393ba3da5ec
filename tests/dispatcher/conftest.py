"""Fixtures: a started dispatcher, and threads for clients."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.dispatcher.processes import Dispatcher


@pytest.fixture
def dispatch() -> Iterator[Callable[..., Dispatcher]]:
    started: list[Dispatcher] = []

    def start(*flags: str) -> Dispatcher:
        started.append(Dispatcher(*flags))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(120) as threads:
        yield threads
