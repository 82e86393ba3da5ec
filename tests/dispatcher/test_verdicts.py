"""What an answer means for an asynchronous job."""

import pytest

from dispatcher.buffer import Reason
from dispatcher.verdicts import LONGEST_DELAY_S, Answered, GivenUp, RunAgain, judge


def test_any_answer_of_a_pod_is_the_result() -> None:
    assert judge(None, sent=True, cause="", failed=4, most_attempts=5) == Answered()


@pytest.mark.parametrize("reason", [Reason.NO_POD, Reason.TIMEOUT, Reason.FULL, Reason.DISPLACED])
def test_waiting_is_no_attempt_however_often(reason: Reason) -> None:
    assert judge(reason, sent=False, cause="", failed=4, most_attempts=5) == RunAgain(4, 1.0)


@pytest.mark.parametrize("reason", [Reason.EXHAUSTED, Reason.TIMEOUT])
def test_a_failure_at_a_pod_is_an_attempt_and_the_delay_doubles(reason: Reason) -> None:
    verdicts = [judge(reason, sent=True, cause="", failed=failed, most_attempts=99) for failed in range(8)]
    delays_s = [1, 2, 4, 8, 16, 32, 60, 60]
    assert verdicts == [RunAgain(failed + 1, delay_s) for failed, delay_s in enumerate(delays_s)]


def test_the_last_failure_ends_the_job_with_its_cause() -> None:
    assert judge(Reason.EXHAUSTED, sent=True, cause="refused", failed=3, most_attempts=5) == RunAgain(4, 8.0)
    verdict = judge(Reason.EXHAUSTED, sent=True, cause="refused", failed=4, most_attempts=5)
    assert verdict == GivenUp("attempt 5 of 5 (--job-attempts) failed: refused")


@pytest.mark.parametrize(("promised_s", "delay_s"), [(0.25, 0.25), (7.0, 7.0), (900.0, LONGEST_DELAY_S)])
def test_a_full_buffer_says_when_it_expects_to_have_room(promised_s: float, delay_s: float) -> None:
    verdict = judge(Reason.FULL, sent=False, cause="", failed=0, most_attempts=5, retry_after_s=promised_s)
    assert verdict == RunAgain(0, delay_s)
