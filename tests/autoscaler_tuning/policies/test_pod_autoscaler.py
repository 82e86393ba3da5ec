"""Knative's PodAutoscaler: bounds, conditions, scale to zero, and the activator in the request path."""

import pytest

from autoscaler_tuning.policies.kpa.pod_autoscaler import ActiveCondition, PodAutoscaler, RevisionConfig, ScaleInputs

PROXY, SERVE = -1, 0  # excess burst capacity: without spare capacity for a burst, and with it


def active(**config: object) -> PodAutoscaler:
    """Return a PodAutoscaler that has been active since 0 s, with one pod."""
    return PodAutoscaler(RevisionConfig(**config), 0.0, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("desired", "least", "most", "pods"),
    [(5, 0, 0, 5), (5, 0, 3, 3), (1, 2, 3, 2), (0, 2, 3, 2), (2, 2, 2, 2)],
    ids=["no bounds", "at most max", "at least min", "min keeps it from zero", "pinned"],
)
def test_the_bounds_limit_the_desired_pods(desired: int, least: int, most: int, pods: int) -> None:
    assert active().reconcile(100, ScaleInputs(desired, PROXY, least, most), 1, 1) == pods


def test_without_a_metric_the_pods_stay_and_an_upper_bound_has_no_effect() -> None:
    assert active().reconcile(100, ScaleInputs(None, PROXY, 0, 1), 3, 3) == 3


def test_without_a_metric_a_higher_min_scale_activates_it_and_then_takes_effect() -> None:
    assert active().reconcile(100, ScaleInputs(None, PROXY, 4, 4), 1, 1) == 4


def test_a_revision_that_became_active_recently_keeps_one_pod() -> None:
    assert active().reconcile(59.9, ScaleInputs(0), 1, 3) == 1


def test_after_its_window_it_removes_the_last_pod_at_once_if_the_activator_has_long_been_in_the_path() -> None:
    autoscaler = active()
    assert autoscaler.reconcile(60, ScaleInputs(0), 1, 1) == 0
    assert autoscaler.condition is ActiveCondition.INACTIVE


def test_the_last_pod_outlasts_the_grace_period_if_the_activator_has_just_entered_the_path() -> None:
    autoscaler = active()
    autoscaler.reconcile(1, ScaleInputs(1, SERVE), 1, 1)
    assert [autoscaler.reconcile(now_s, ScaleInputs(0, SERVE), 1, 1) for now_s in (60, 89.9, 90)] == [1, 1, 0]


def test_retention_counts_from_becoming_inactive_and_the_grace_period_still_applies() -> None:
    long, short = active(retention_s=40), active(retention_s=10)
    assert [long.reconcile(now_s, ScaleInputs(0), 1, 1) for now_s in (60, 99.9, 100)] == [1, 1, 0]
    for autoscaler in (long, short):
        autoscaler.reconcile(110, ScaleInputs(1, SERVE), 1, 1)
    assert [short.reconcile(now_s, ScaleInputs(0, SERVE), 1, 1) for now_s in (170, 180, 199.9, 200)] == [1, 1, 1, 0]


def test_scale_to_zero_can_be_disabled() -> None:
    assert active(scale_to_zero=False).reconcile(1000, ScaleInputs(0), 1, 3) == 1


def test_an_unreachable_revision_ignores_min_scale_and_retention() -> None:
    assert active(reachable=False, retention_s=1000).reconcile(60, ScaleInputs(0, PROXY, 3, 5), 3, 3) == 0


def test_the_initial_scale_is_the_minimum_until_it_has_been_reached_once() -> None:
    autoscaler = PodAutoscaler(RevisionConfig(initial_pods=3), 0.0, 1)
    assert autoscaler.reconcile(2, ScaleInputs(1), 1, 1) == 3
    assert autoscaler.condition is ActiveCondition.ACTIVATING
    assert (autoscaler.reconcile(4, ScaleInputs(1), 3, 3), autoscaler.condition.value) == (1, "active")


def test_while_activating_it_does_not_scale_to_zero_until_the_progress_deadline_has_passed() -> None:
    autoscaler = PodAutoscaler(RevisionConfig(), 0.0, 0)
    assert autoscaler.reconcile(10, ScaleInputs(1), 0, 0) == 1
    assert autoscaler.condition is ActiveCondition.ACTIVATING
    assert autoscaler.reconcile(640, ScaleInputs(0), 0, 1) == 1
    assert (autoscaler.reconcile(640.1, ScaleInputs(0), 0, 1), autoscaler.condition.value) == (0, "inactive")


def test_below_min_scale_it_is_activating_and_its_window_restarts() -> None:
    autoscaler = active()
    autoscaler.reconcile(50, ScaleInputs(1, PROXY, 2, 2), 1, 1)
    assert autoscaler.condition is ActiveCondition.ACTIVATING
    autoscaler.reconcile(55, ScaleInputs(1, PROXY, 2, 2), 2, 2)
    assert [autoscaler.reconcile(now_s, ScaleInputs(0, PROXY, 0, 1), 2, 2) for now_s in (114.9, 115)] == [1, 0]


def test_an_inactive_revision_starts_pods_when_they_are_desired() -> None:
    autoscaler = PodAutoscaler(RevisionConfig(), 0.0, 0)
    assert autoscaler.reconcile(5, ScaleInputs(0), 0, 0) == 0
    assert autoscaler.reconcile(9, ScaleInputs(2), 0, 0) == 2


@pytest.mark.parametrize(
    ("inputs", "ready", "direct"),
    [
        (ScaleInputs(2, SERVE), 2, True),
        (ScaleInputs(2, 7), 2, True),
        (ScaleInputs(2, PROXY), 2, False),
        (ScaleInputs(2, SERVE), 0, False),
        (ScaleInputs(0, SERVE), 1, False),
    ],
    ids=["enough for a burst", "more than enough", "too little", "no ready pod", "no pods desired"],
)
def test_the_activator_is_in_the_path_without_pods_or_spare_capacity_for_a_burst(
    inputs: ScaleInputs, ready: int, direct: bool
) -> None:
    autoscaler = active()
    autoscaler.reconcile(100, inputs, ready, ready)
    assert autoscaler.direct is direct


@pytest.mark.parametrize("name", ["grace_s", "retention_s", "progress_deadline_s", "stable_window_s"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_invalid_times_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 0 s and finite, got {value}"):
        RevisionConfig(**{name: value})  # type: ignore[arg-type]


def test_a_negative_initial_scale_is_refused() -> None:
    with pytest.raises(ValueError, match="initial_pods must be at least 0, got -1"):
        RevisionConfig(initial_pods=-1)
