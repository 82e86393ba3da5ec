"""Knative's PodAutoscaler: bounds, conditions, the way to zero, who stands in the path."""

import pytest

from autoscaler_tuning.policies.kpa.pod_autoscaler import Condition, PodAutoscaler, RevisionConfig, Wish

PROXY, SERVE = -1, 0  # excess burst capacity: without room for a burst, and with


def awake(**config: object) -> PodAutoscaler:
    """Active since 0 s, with one pod."""
    return PodAutoscaler(RevisionConfig(**config), 0.0, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("desired", "least", "most", "pods"),
    [(5, 0, 0, 5), (5, 0, 3, 3), (1, 2, 3, 2), (0, 2, 3, 2), (2, 2, 2, 2)],
    ids=["no bounds", "at most max", "at least min", "min keeps it from zero", "pinned"],
)
def test_bounds(desired: int, least: int, most: int, pods: int) -> None:
    assert awake().reconcile(100, Wish(desired, PROXY, least, most), 1, 1) == pods


def test_without_a_metric_nothing_is_touched_and_a_lower_bound_does_not_count() -> None:
    assert awake().reconcile(100, Wish(None, PROXY, 0, 1), 3, 3) == 3


def test_without_a_metric_a_higher_bound_makes_it_activate_and_then_counts() -> None:
    assert awake().reconcile(100, Wish(None, PROXY, 4, 4), 1, 1) == 4


def test_a_pod_that_became_active_lately_keeps_one_pod() -> None:
    assert awake().reconcile(59.9, Wish(0), 1, 3) == 1


def test_after_its_window_it_turns_inactive_and_ends_the_last_pod_at_once_behind_an_old_activator() -> None:
    autoscaler = awake()
    assert autoscaler.reconcile(60, Wish(0), 1, 1) == 0
    assert autoscaler.condition is Condition.INACTIVE


def test_behind_a_new_activator_the_last_pod_outlives_the_grace_period() -> None:
    autoscaler = awake()
    autoscaler.reconcile(1, Wish(1, SERVE), 1, 1)
    assert [autoscaler.reconcile(now_s, Wish(0, SERVE), 1, 1) for now_s in (60, 89.9, 90)] == [1, 1, 0]


def test_retention_counts_from_turning_inactive_and_ends_with_or_after_the_grace_period() -> None:
    long, short = awake(retention_s=40), awake(retention_s=10)
    assert [long.reconcile(now_s, Wish(0), 1, 1) for now_s in (60, 99.9, 100)] == [1, 1, 0]
    for autoscaler in (long, short):
        autoscaler.reconcile(110, Wish(1, SERVE), 1, 1)
    assert [short.reconcile(now_s, Wish(0, SERVE), 1, 1) for now_s in (170, 180, 199.9, 200)] == [1, 1, 1, 0]


def test_scale_to_zero_can_be_forbidden() -> None:
    assert awake(scale_to_zero=False).reconcile(1000, Wish(0), 1, 3) == 1


def test_an_unreachable_revision_needs_neither_min_scale_nor_retention() -> None:
    assert awake(reachable=False, retention_s=1000).reconcile(60, Wish(0, PROXY, 3, 5), 3, 3) == 0


def test_until_the_initial_scale_was_reached_once_it_is_the_least() -> None:
    autoscaler = PodAutoscaler(RevisionConfig(initial_pods=3), 0.0, 1)
    assert autoscaler.reconcile(2, Wish(1), 1, 1) == 3
    assert autoscaler.condition is Condition.ACTIVATING
    assert (autoscaler.reconcile(4, Wish(1), 3, 3), autoscaler.condition.value) == (1, "active")


def test_while_activating_zero_is_no_answer_until_it_is_given_up() -> None:
    autoscaler = PodAutoscaler(RevisionConfig(), 0.0, 0)
    assert autoscaler.reconcile(10, Wish(1), 0, 0) == 1
    assert autoscaler.condition is Condition.ACTIVATING
    assert autoscaler.reconcile(640, Wish(0), 0, 1) == 1
    assert (autoscaler.reconcile(640.1, Wish(0), 0, 1), autoscaler.condition.value) == (0, "inactive")


def test_pods_below_min_scale_are_activating_and_their_window_begins_anew() -> None:
    autoscaler = awake()
    autoscaler.reconcile(50, Wish(1, PROXY, 2, 2), 1, 1)
    assert autoscaler.condition is Condition.ACTIVATING
    autoscaler.reconcile(55, Wish(1, PROXY, 2, 2), 2, 2)
    assert [autoscaler.reconcile(now_s, Wish(0, PROXY, 0, 1), 2, 2) for now_s in (114.9, 115)] == [1, 0]


def test_an_inactive_revision_wakes_when_something_is_wanted() -> None:
    autoscaler = PodAutoscaler(RevisionConfig(), 0.0, 0)
    assert autoscaler.reconcile(5, Wish(0), 0, 0) == 0
    assert autoscaler.reconcile(9, Wish(2), 0, 0) == 2


@pytest.mark.parametrize(
    ("wish", "ready", "direct"),
    [
        (Wish(2, SERVE), 2, True),
        (Wish(2, 7), 2, True),
        (Wish(2, PROXY), 2, False),
        (Wish(2, SERVE), 0, False),
        (Wish(0, SERVE), 1, False),
    ],
    ids=["room for bursts", "more room", "none", "no pod is ready", "nothing wanted"],
)
def test_the_activator_is_in_the_path_of_a_revision_without_pods_or_room_for_a_burst(
    wish: Wish, ready: int, direct: bool
) -> None:
    autoscaler = awake()
    autoscaler.reconcile(100, wish, ready, ready)
    assert autoscaler.direct is direct


@pytest.mark.parametrize("name", ["grace_s", "retention_s", "progress_deadline_s", "stable_window_s"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_impossible_times_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 0 s and finite, was {value}"):
        RevisionConfig(**{name: value})  # type: ignore[arg-type]


def test_a_negative_initial_scale_is_refused() -> None:
    with pytest.raises(ValueError, match="initial_pods must be at least 0, was -1"):
        RevisionConfig(initial_pods=-1)
