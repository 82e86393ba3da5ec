"""While pods cannot start, a policy does not ask for more and more of them."""

from autoscaler_tuning.live.start_limit import StartLimit
from autoscaler_tuning.types import Decision

PULL = "ImagePullBackOff: not found"


def test_no_more_pods_are_wanted_than_when_the_problem_began() -> None:
    limit = StartLimit()
    assert not limit.observe(0.0, None, 3)
    assert limit.applied(Decision(9, "load")).pods == 9
    assert limit.observe(1.0, PULL, 3)
    limited = limit.applied(Decision(9, "load"))
    assert (limited.pods, limited.reason) == (3, "no more than 3 pods while pods cannot start; load")
    assert limit.applied(Decision(2, "less load")).pods == 2
    assert limit.observe(60.0, PULL, 2)
    assert limit.applied(Decision(9, "load")).pods == 3


def test_one_pod_may_always_be_wanted() -> None:
    limit = StartLimit()
    limit.observe(0.0, PULL, 0)
    assert limit.applied(Decision(4, "load")).pods == 1


def test_a_container_that_runs_between_two_crashes_does_not_lift_the_limit() -> None:
    limit = StartLimit(clear_after_s=30.0)
    for second in range(120):
        crashing = second % 20 < 15
        limit.observe(float(second), "CrashLoopBackOff" if crashing else None, 3 if second == 0 else 8)
        assert limit.applied(Decision(8, "load")).pods == 3
    for second in range(120, 150):
        limit.observe(float(second), None, 3)
    assert limit.applied(Decision(8, "load")).pods == 8
