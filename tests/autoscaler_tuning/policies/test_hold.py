"""Hold: the most pods that were wanted within a time."""

from autoscaler_tuning.policies.elastic.hold import Hold


def test_the_most_pods_of_the_last_seconds_are_held() -> None:
    hold = Hold()
    wanted = [3, 5, 4, 1, 1, 1, 2]
    assert [hold.most(float(now_s), pods, hold_s=3.0) for now_s, pods in enumerate(wanted)] == [3, 5, 5, 5, 4, 1, 2]


def test_a_shorter_hold_releases_what_was_held_longer() -> None:
    hold = Hold()
    hold.most(0.0, 5, hold_s=10.0)
    assert hold.most(4.0, 1, hold_s=10.0) == 5
    assert hold.most(5.0, 1, hold_s=4.0) == 1
