"""The schedule, with a transport that sends nothing and a clock that differs from the event loop's."""

import asyncio
import time
from collections.abc import Callable

import pytest

from loadgen.records import Record
from loadgen.sending.protocols import Body
from loadgen.sending.sender import Job, Sender

BODIES = (Body("a", b""), Body("b", b""))


class RecordingTransport:
    """Records what was sent and when; a response takes response_s."""

    def __init__(self, clock: Callable[[], float], response_s: float = 0.0) -> None:
        self.sent: list[tuple[str, float]] = []
        self._clock, self._response_s = clock, response_s

    async def send(self, body: Body, record: Record) -> None:
        """Record the send."""
        record.sent_s = self._clock()
        self.sent.append((body.name, record.sent_s))
        await asyncio.sleep(self._response_s)


def half_speed() -> Callable[[], float]:
    """Return a clock on which every sleep ends early, as uvloop's timers may do."""
    began_s = time.monotonic()
    return lambda: (time.monotonic() - began_s) / 2


def jobs(*intended_s: float) -> list[Job]:
    return [(number, Record(due_s)) for number, due_s in enumerate(intended_s)]


def test_a_timer_that_fires_early_does_not_cause_an_early_send() -> None:
    clock, due, ended = half_speed(), jobs(0.0, 0.02, 0.02, 0.05), list[Job]()
    transport = RecordingTransport(clock)
    asyncio.run(Sender(transport, BODIES, clock, ended.append).send(due, asyncio.Event()))
    assert [name for name, _ in transport.sent] == ["a", "b", "a", "b"]
    assert all((record.sent_s or -1) >= record.intended_s for _, record in due)
    assert sorted(number for number, _ in ended) == [0, 1, 2, 3]


def test_the_body_depends_on_the_number_in_the_plan_and_not_on_the_position_in_the_share() -> None:
    clock = half_speed()
    transport = RecordingTransport(clock)
    share = [job for job in jobs(0, 0, 0, 0, 0) if job[0] % 2 == 1]
    asyncio.run(Sender(transport, BODIES, clock, lambda _: None).send(share, asyncio.Event()))
    assert [name for name, _ in transport.sent] == ["b", "b"]
    assert [record.image for _, record in share] == ["b", "b"]


def test_a_stop_ends_sending_and_aborts_requests_in_flight() -> None:
    clock, due, ended = half_speed(), jobs(0.0, 0.0, 3600.0), list[Job]()

    async def stopped() -> None:
        stop = asyncio.Event()
        transport = RecordingTransport(clock, response_s=3600)
        asyncio.get_running_loop().call_later(0.05, stop.set)
        await Sender(transport, BODIES, clock, ended.append).send(due, stop)
        assert len(transport.sent) == 2

    asyncio.run(stopped())
    assert sorted(number for number, _ in ended) == [0, 1]
    assert due[2][1].sent_s is None


def test_an_exception_in_on_done_ends_the_run_at_once() -> None:
    def breaks(_: Job) -> None:
        raise ZeroDivisionError("a bug")

    clock = half_speed()
    with pytest.raises(ZeroDivisionError, match="a bug"):
        asyncio.run(Sender(RecordingTransport(clock), BODIES, clock, breaks).send(jobs(0.0, 3600.0), asyncio.Event()))
