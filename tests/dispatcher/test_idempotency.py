"""Requests with the same idempotency key share one answer."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.idempotency import ENTRY_BYTES, KEPT_S, IdempotencyError, SharedAnswers, check_key, request_digest
from dispatcher.journal.base import KeyConflictError
from tests.dispatcher.journal.conftest import run

FORM = ((b"Content-Type", b"multipart/form-data; boundary=abc123"),)
OTHER_FORM = ((b"Content-Type", b'multipart/form-data; boundary="xyz"'),)


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Pod:
    """Answers with the number of the request, once it is told to."""

    def __init__(self) -> None:
        self.asked, self.cancelled = 0, 0
        self.may_answer = asyncio.Event()

    async def __call__(self) -> str:
        self.asked += 1
        number = self.asked
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return f"answer {number}"


def shared(clock: Clock | None = None, most_bytes: int = 1 << 20) -> SharedAnswers[str]:
    return SharedAnswers(lambda text: None if "refused" in text else len(text), clock or Clock(), most_bytes)


def answering(text: str) -> Callable[[], Awaitable[str]]:
    async def make() -> str:
        return text

    return make


def test_requests_at_once_are_sent_once_and_all_get_the_answer() -> None:
    async def test() -> None:
        answers, pod = shared(), Pod()
        clients = [asyncio.ensure_future(answers.answer("ada", "k", b"1", pod)) for _ in range(3)]
        await asyncio.sleep(0)
        pod.may_answer.set()
        assert await asyncio.gather(*clients) == ["answer 1"] * 3
        assert await answers.answer("ada", "k", b"1", pod) == "answer 1"

    run(test())


def test_a_key_with_another_request_is_a_conflict_while_it_runs_and_afterwards() -> None:
    async def test() -> None:
        answers, pod = shared(), Pod()
        client = asyncio.ensure_future(answers.answer("ada", "k", b"1", pod))
        await asyncio.sleep(0)
        for _ in range(2):
            with pytest.raises(KeyConflictError, match="another request, got 'k'"):
                await answers.answer("ada", "k", b"2", pod)
            pod.may_answer.set()
            await client
            await asyncio.sleep(0)

    run(test())


def test_a_key_belongs_to_its_owner() -> None:
    async def test() -> None:
        answers = shared()
        assert await answers.answer("ada", "k", b"1", answering("hers")) == "hers"
        assert await answers.answer("bob", "k", b"1", answering("his")) == "his"
        assert await answers.answer("bob", "k", b"1", answering("new")) == "his"

    run(test())


def test_a_client_that_leaves_takes_nothing_from_the_others_and_the_last_one_ends_the_request() -> None:
    async def test() -> None:
        answers, pod = shared(), Pod()
        first, second = (asyncio.ensure_future(answers.answer("ada", "k", b"1", pod)) for _ in range(2))
        await asyncio.sleep(0.01)
        first.cancel()
        await asyncio.sleep(0.01)
        assert (pod.asked, pod.cancelled) == (1, 0)
        second.cancel()
        await asyncio.sleep(0.01)
        assert (pod.asked, pod.cancelled) == (1, 1)
        pod.may_answer.set()
        assert await answers.answer("ada", "k", b"1", pod) == "answer 2"

    run(test())


def test_a_refusal_is_not_remembered_and_neither_is_an_error() -> None:
    async def failing() -> str:
        raise ValueError("broken")

    async def test() -> None:
        answers = shared()
        assert await answers.answer("ada", "k", b"1", answering("refused")) == "refused"
        with pytest.raises(ValueError, match="broken"):
            await answers.answer("ada", "k", b"1", failing)
        assert await answers.answer("ada", "k", b"1", answering("cat")) == "cat"

    run(test())


def test_an_answer_is_forgotten_after_its_time() -> None:
    async def test() -> None:
        clock = Clock()
        answers = shared(clock)
        await answers.answer("ada", "k", b"1", answering("old"))
        clock.now_s = KEPT_S - 0.1
        assert await answers.answer("ada", "k", b"1", answering("new")) == "old"
        clock.now_s = KEPT_S
        assert await answers.answer("ada", "k", b"2", answering("new")) == "new"

    run(test())


def test_the_oldest_answers_are_forgotten_above_the_bound_in_bytes() -> None:
    async def test() -> None:
        answers = shared(most_bytes=2 * (ENTRY_BYTES + 3))
        for key in "abc":
            await answers.answer("ada", key, b"1", answering("old"))
        assert await answers.answer("ada", "b", b"1", answering("new")) == "old"
        assert await answers.answer("ada", "c", b"1", answering("new")) == "old"
        assert await answers.answer("ada", "a", b"1", answering("new")) == "new"

    run(test())


def test_the_boundary_of_a_form_does_not_count() -> None:
    bodies = [b"--abc123\r\nimage\r\n--abc123--", b"--xyz\r\nimage\r\n--xyz--"]
    digests = {
        request_digest("POST", "/predict", headers, body)
        for headers, body in zip((FORM, OTHER_FORM), bodies, strict=True)
    }
    assert len(digests) == 1


def test_everything_else_counts() -> None:
    jpeg, png = ((b"content-type", b"image/jpeg"),), ((b"content-type", b"image/png"),)
    rows = [
        ("POST", "/predict", jpeg, b"image"),
        ("PUT", "/predict", jpeg, b"image"),
        ("POST", "/predict?top=5", jpeg, b"image"),
        ("POST", "/predict", png, b"image"),
        ("POST", "/predict", (), b"image"),
        ("POST", "/predict", jpeg, b"imagf"),
        ("POST", "/predict", FORM, b"image"),
    ]
    assert len({request_digest(*row) for row in rows}) == len(rows)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=255))
def test_a_printable_key_is_taken_as_it_is(key: str) -> None:
    assert check_key(key) == key


@pytest.mark.parametrize("key", ["", "k" * 256, "a\tb", "schlüssel", "\udcff"])
def test_another_key_is_refused_with_rule_and_value(key: str) -> None:
    with pytest.raises(IdempotencyError, match=f"1 to 255 printable ASCII characters, got {len(key)}"):
        check_key(key)
