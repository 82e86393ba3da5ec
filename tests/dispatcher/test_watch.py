"""What the relay tells about a request: the part of a wait without pods, and nothing where nobody listens."""

import asyncio

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.observer import Observer
from dispatcher.relay import BackendAnswer, ClientRequest
from dispatcher.terms import Terms
from dispatcher.watch import NoPods

times = st.integers(0, 50)


def announced(*words: tuple[int, float, float]) -> NoPods:
    """Return the record after announcements of (requests, now_s, valid_s)."""
    record = NoPods()
    for word in words:
        record.announce(*word)
    return record


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (announced(), None),
        (announced((1, 0, 100)), None),
        (announced((0, 0, 100)), (10, 20)),
        (announced((0, 0, 5)), None),
        (announced((0, 0, 5), (0, 4, 9)), (10, 13)),
        (announced((0, 0, 5), (0, 12, 100)), (12, 20)),
        (announced((0, 0, 100), (2, 15, 100)), (10, 15)),
        (announced((0, 0, 100), (2, 5, 100)), None),
        (announced((0, 0, 100), (2, 5, 100), (0, 18, 100)), (18, 20)),
        (announced((0, 0, 5), (2, 15, 100)), None),
    ],
    ids=[
        "nothing was announced", "there were pods", "none all the time", "none until it lapsed", "none, announced again",
        "none again after it lapsed", "none until a pod", "none until a pod before", "none after pods", "lapsed, then a pod",
    ],
)  # fmt: skip
def test_the_cold_part_of_a_wait_from_10_to_20(record: NoPods, expected: tuple[float, float] | None) -> None:
    assert record.within(10, 20) == expected


@given(st.lists(st.tuples(st.integers(0, 2), times, st.integers(1, 20))), times, times)
def test_the_cold_part_lies_within_the_wait(words: list[tuple[int, float, float]], from_s: float, to_s: float) -> None:
    found = announced(*sorted(words, key=lambda word: word[1])).within(from_s, to_s)
    assert found is None or from_s <= found[0] < found[1] <= to_s


def test_without_log_and_traces_the_handlers_stay_as_they_are() -> None:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response()

    async def run(request: ClientRequest, terms: Terms) -> BackendAnswer:
        await asyncio.sleep(0)
        return BackendAnswer(200)

    observer = Observer(None, None, lambda: 0.0)
    assert observer.around(handle) is handle
    assert observer.around_jobs(run) is run
    observer.close()
