"""The schedule, with a transport that sends nothing and a clock that is not the loop's."""

import asyncio
import time
from collections.abc import Callable

import pytest

from loadgen.records import Record
from loadgen.sending.protocols import Body
from loadgen.sending.sender import Job, Sender

BODIES = (Body("a", b""), Body("b", b""))


class Notes:
    """Notes what was sent when; answers come after answer_s."""

    def __init__(self, clock: Callable[[], float], answer_s: float = 0.0) -> None:
        self.sent: list[tuple[str, float]] = []
        self._clock, self._answer_s = clock, answer_s

    async def send(self, body: Body, record: Record) -> None:
        """Note it."""
        record.sent_s = self._clock()
        self.sent.append((body.name, record.sent_s))
        await asyncio.sleep(self._answer_s)


def half_speed() -> Callable[[], float]:
    """A clock on which every sleep ends early, as uvloop's timers may."""
    began_s = time.monotonic()
    return lambda: (time.monotonic() - began_s) / 2


def jobs(*intended_s: float) -> list[Job]:
    return [(number, Record(due_s)) for number, due_s in enumerate(intended_s)]


def test_a_timer_that_comes_early_is_no_reason_to_send_early() -> None:
    clock, due, ended = half_speed(), jobs(0.0, 0.02, 0.02, 0.05), list[Job]()
    notes = Notes(clock)
    asyncio.run(Sender(notes, BODIES, clock, ended.append).send(due, asyncio.Event()))
    assert [name for name, _ in notes.sent] == ["a", "b", "a", "b"]
    assert all((record.sent_s or -1) >= record.intended_s for _, record in due)
    assert sorted(number for number, _ in ended) == [0, 1, 2, 3]


def test_bodies_follow_the_number_in_the_plan_and_not_the_place_in_the_share() -> None:
    clock = half_speed()
    notes = Notes(clock)
    share = [job for job in jobs(0, 0, 0, 0, 0) if job[0] % 2 == 1]
    asyncio.run(Sender(notes, BODIES, clock, lambda _: None).send(share, asyncio.Event()))
    assert [name for name, _ in notes.sent] == ["b", "b"]
    assert [record.image for _, record in share] == ["b", "b"]


def test_a_stop_sends_no_more_and_cuts_off_what_is_under_way() -> None:
    clock, due, ended = half_speed(), jobs(0.0, 0.0, 3600.0), list[Job]()

    async def stopped() -> None:
        stop = asyncio.Event()
        notes = Notes(clock, answer_s=3600)
        asyncio.get_running_loop().call_later(0.05, stop.set)
        await Sender(notes, BODIES, clock, ended.append).send(due, stop)
        assert len(notes.sent) == 2

    asyncio.run(stopped())
    assert sorted(number for number, _ in ended) == [0, 1]
    assert due[2][1].sent_s is None


def test_a_fault_in_what_hears_of_answers_ends_the_run_at_once() -> None:
    def breaks(_: Job) -> None:
        raise ZeroDivisionError("a bug")

    clock = half_speed()
    with pytest.raises(ZeroDivisionError, match="a bug"):
        asyncio.run(Sender(Notes(clock), BODIES, clock, breaks).send(jobs(0.0, 3600.0), asyncio.Event()))
