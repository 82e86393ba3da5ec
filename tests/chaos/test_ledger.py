"""The ledger notices what it is there to notice."""

import json
import zlib

import pytest

from tests.chaos.ledger import End, Fate, Ledger, judge, run_twice, silence
from tests.stubs.wire import Message, WireError

BODY = b"a photograph"


def answer(status: int = 200, **changed: object) -> Message:
    proof = {"id": "a-1", "bytes": len(BODY), "crc32": zlib.crc32(BODY)} | changed
    return Message(f"HTTP/1.1 {status} X", {}, json.dumps(proof).encode())


def ledger_of(*ends: End) -> Ledger:
    ledger = Ledger()
    ledger.start("a-1")
    for end in ends:
        ledger.end("a-1", end)
    return ledger


@pytest.mark.parametrize(
    ("message", "fate"),
    [
        pytest.param(answer(), Fate.ANSWERED, id="its own answer"),
        pytest.param(answer(id="a-2"), Fate.WRONG, id="another's id"),
        pytest.param(answer(crc32=1), Fate.WRONG, id="the answer to another body"),
        pytest.param(answer(bytes=3), Fate.WRONG, id="the answer to half of the body"),
        pytest.param(Message("HTTP/1.1 200 OK", {}, b'{"id": "a-'), Fate.WRONG, id="a short answer"),
        pytest.param(Message("HTTP/1.1 200 OK", {}, b"[]"), Fate.WRONG, id="another kind of JSON"),
        pytest.param(answer(503, error="queue full"), Fate.REFUSED, id="a refusal with its reason"),
        pytest.param(answer(503), Fate.WRONG, id="a refusal without a reason"),
        pytest.param(answer(502, error="pod died"), Fate.FAILED, id="a failure with its reason"),
        pytest.param(answer(500, error="internal error"), Fate.WRONG, id="an internal error"),
        pytest.param(answer(404, error="no such path"), Fate.WRONG, id="a status that makes no sense"),
    ],
)
def test_an_answer_is_judged_by_the_proof_in_it(message: Message, fate: Fate) -> None:
    assert judge(message, "a-1", BODY).fate is fate


def test_a_request_that_ended_well_breaks_no_rule() -> None:
    ledger = ledger_of(End(Fate.ANSWERED))
    assert ledger.broken() == []
    assert ledger.counts()["answered"] == 1


@pytest.mark.parametrize(
    ("ends", "rule"),
    [
        pytest.param((), "no end", id="never ended"),
        pytest.param((End(Fate.WRONG, "proof"),), "wrong: proof", id="wrong answer"),
        pytest.param((silence(WireError("closed")),), "silent: WireError: closed", id="no answer"),
        pytest.param((End(Fate.LOST),), "lost", id="accepted and lost"),
        pytest.param((End(Fate.ANSWERED), End(Fate.CANCELLED)), "several ends: answered; cancelled", id="two ends"),
    ],
)
def test_a_broken_promise_is_named_with_its_request(ends: tuple[End, ...], rule: str) -> None:
    (found,) = ledger_of(*ends).broken()
    assert found.startswith(f"a-1: {rule}")


def test_the_same_end_seen_twice_is_one_end() -> None:
    assert ledger_of(End(Fate.ANSWERED), End(Fate.ANSWERED)).broken() == []


def test_a_request_is_entered_once() -> None:
    with pytest.raises(ValueError, match="entered twice"):
        ledger_of().start("a-1")


def test_one_in_a_thousand_may_run_twice_and_what_was_in_flight_at_a_kill() -> None:
    thousand = [str(number) for number in range(1000)]
    assert run_twice([*thousand, "0"]) == []
    assert run_twice([*thousand, "0", "1"]) == ["2 of 1000 were run again, allowed are 1"]
    assert run_twice([*thousand, "0", "1"], lost_at_kills=1) == []
