"""Memory: it is given back once after each large peak, and not while requests still wait."""

import asyncio

import pytest

from dispatcher import memory
from dispatcher.memory import WORTH_BYTES, MemoryPeak, give_back


def test_memory_is_given_back_once_when_a_quarter_of_a_peak_is_left() -> None:
    peak, held = MemoryPeak(), [0, 8, 3, 2, 2, 0]
    assert [peak.has_passed(size * WORTH_BYTES) for size in held] == [False, False, False, True, False, True]


def test_a_small_peak_is_not_worth_it() -> None:
    peak = MemoryPeak()
    assert not peak.has_passed(WORTH_BYTES - 1)
    assert not peak.has_passed(0)


def test_the_c_library_is_asked_after_a_peak_and_the_watch_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "PERIOD_S", 0.0)
    held = iter([WORTH_BYTES, 0, 0, WORTH_BYTES, 0])

    async def until_the_end() -> None:
        with pytest.raises(RuntimeError, match="StopIteration"):
            await give_back(lambda: next(held))

    asyncio.run(until_the_end())
    assert next(held, None) is None
