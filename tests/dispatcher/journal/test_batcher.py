"""Calls that are joined to batches."""

import asyncio
from collections.abc import Sequence

from dispatcher.journal.base import JournalUnavailableError
from dispatcher.journal.batcher import Batcher
from tests.dispatcher.journal.conftest import run


def test_what_arrives_during_a_batch_is_sent_in_the_next_ones_and_each_call_gets_its_own_value() -> None:
    batches: list[list[int]] = []

    async def double(items: Sequence[int]) -> list[int | Exception]:
        batches.append(list(items))
        await asyncio.sleep(0)
        return [2 * item for item in items]

    async def test() -> None:
        batcher = Batcher(double, most=3)
        assert await asyncio.gather(*(batcher.call(number) for number in range(7))) == [0, 2, 4, 6, 8, 10, 12]
        assert batches == [[0, 1, 2], [3, 4, 5], [6]]

    run(test())


def test_a_store_that_hangs_is_waited_for_once_by_all_that_wait_and_asked_again_for_later_calls() -> None:
    hanging, asked = asyncio.Event(), list[int]()

    async def store(items: Sequence[str]) -> list[str | Exception]:
        asked.append(len(items))
        if len(asked) == 1:
            await hanging.wait()
            raise JournalUnavailableError("timed out")
        return list(items)

    async def test() -> None:
        batcher = Batcher(store, most=2)
        calls = [asyncio.ensure_future(batcher.call("image")) for _ in range(9)]
        await asyncio.sleep(0.01)
        calls[8].cancel()
        hanging.set()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [JournalUnavailableError] * 8 + [asyncio.CancelledError]
        assert await batcher.call("later") == "later"
        assert asked == [2, 1]

    run(test())
