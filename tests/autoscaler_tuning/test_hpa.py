"""HPA: what Kubernetes' autoscaler recommends, and what it makes of that over time."""

from dataclasses import replace

import pytest

from autoscaler_tuning.policies.hpa import (
    Behavior,
    Hpa,
    HpaConfig,
    HpaPod,
    NoMetricsError,
    ScalingPolicy,
    ScalingRules,
    Stabiliser,
    recommend,
)
from autoscaler_tuning.types import Observation, PodPhase, PodSample

CONFIG = HpaConfig(target_utilization_percent=50, cpu_request_milli=100)
READY = HpaPod("Running", True, 5000, 4990, metric_age_s=5, metric_window_s=30)


def using(*milli: int | None) -> list[HpaPod]:
    return [replace(READY, cpu_usage_milli=value) for value in milli]


@pytest.mark.parametrize(
    ("usage", "pods"),
    [
        pytest.param(55, 2, id="within the tolerance, edge included"),
        pytest.param(56, 3, id="just over it"),
        pytest.param(45, 2, id="within it below, edge included"),
        pytest.param(44, 2, id="below it, and rounded up"),
        pytest.param(25, 1, id="half is enough"),
        pytest.param(500, 20, id="as many as it takes"),
    ],
)
def test_pods_follow_the_utilization(usage: int, pods: int) -> None:
    assert recommend(using(usage, usage), 2, CONFIG) == pods


def test_the_utilization_is_a_whole_percentage() -> None:
    assert recommend(using(55, 55, 56), 3, CONFIG) == 3  # 55.3 % is 55 %


def test_a_missing_pod_counts_as_idle_when_scaling_up() -> None:
    assert recommend(using(100, 100, None), 3, CONFIG) == 4  # 66 % over three pods


def test_a_missing_pod_counts_as_busy_when_scaling_down() -> None:
    assert recommend(using(10, 10, None), 3, CONFIG) == 3  # 40 % over three pods


def test_guesses_never_turn_the_direction() -> None:
    assert recommend(using(60, None, None), 3, CONFIG) == 3


def test_an_unready_pod_counts_as_idle_when_scaling_up_and_not_at_all_when_scaling_down() -> None:
    pending = HpaPod("Pending", False, 10, 10)
    assert recommend([*using(100, 100), pending], 3, CONFIG) == 4
    assert recommend([*using(20, 20), pending], 3, CONFIG) == 1


def test_failed_and_deleted_pods_do_not_count() -> None:
    gone = [replace(READY, phase="Failed", cpu_usage_milli=900), replace(READY, deleting=True, cpu_usage_milli=900)]
    assert recommend([*using(50), *gone], 1, CONFIG) == 1


@pytest.mark.parametrize(
    ("changed_ago_s", "age_s", "counts"),
    [(100, 5, True), (100, 70, True), (100, 71, False), (20, 5, False)],
)
def test_in_its_first_minutes_a_pod_counts_once_its_metric_is_all_of_its_ready_time(
    changed_ago_s: float, age_s: float, counts: bool
) -> None:
    young = HpaPod("Running", True, 200, changed_ago_s, cpu_usage_milli=300, metric_age_s=age_s, metric_window_s=30)
    assert recommend([*using(50), young], 2, CONFIG) == (7 if counts else 2)


def test_a_pod_that_never_became_ready_does_not_count_later_either() -> None:
    never = replace(READY, ready=False, started_ago_s=1000, readiness_changed_ago_s=990, cpu_usage_milli=300)
    assert recommend([*using(50), never], 2, CONFIG) == 2
    lost_it_later = replace(never, readiness_changed_ago_s=970)
    assert recommend([*using(50), lost_it_later], 2, CONFIG) == 7


@pytest.mark.parametrize("pods", [[], using(None), [HpaPod("Pending", False, 1, 1)]])
def test_without_any_metric_nothing_is_recommended(pods: list[HpaPod]) -> None:
    with pytest.raises(NoMetricsError):
        recommend(pods, 1, CONFIG)


def steps(stabiliser: Stabiliser, current: int, *recommended: tuple[float, int]) -> list[int]:
    found = []
    for now_s, pods in recommended:
        current = stabiliser.desired(now_s, current, pods)
        found.append(current)
    return found


def test_down_goes_only_to_the_highest_recommendation_of_five_minutes() -> None:
    wishes = [(0.0, 10), (15.0, 2), (299.0, 2), (300.0, 2)]
    assert steps(Stabiliser(HpaConfig()), 10, *wishes) == [10, 10, 10, 2]


def test_up_goes_to_twice_the_pods_or_four() -> None:
    assert steps(Stabiliser(HpaConfig()), 1, (0, 99), (15, 99), (30, 99)) == [4, 8, 16]


def test_bounds_hold() -> None:
    bounded = HpaConfig(min_pods=2, max_pods=6)
    assert steps(Stabiliser(bounded), 1, (0, 99), (15, 99), (30, 99)) == [2, 4, 6]
    assert Stabiliser(bounded).desired(0, 9, 3) == 6


def rules(select: str = "Max", window_s: float = 0, **policies: tuple[int, float]) -> ScalingRules:
    made = tuple(ScalingPolicy(kind, *numbers) for kind, numbers in policies.items())  # type: ignore[arg-type]
    return ScalingRules(window_s, select, made)  # type: ignore[arg-type]


FREE = rules(Percent=(1000, 15))


@pytest.mark.parametrize(
    ("up", "pods"),
    [
        pytest.param(rules(Pods=(2, 60), Percent=(100, 60)), 20, id="the widest policy"),
        pytest.param(rules("Min", Pods=(2, 60), Percent=(100, 60)), 12, id="the narrowest"),
        pytest.param(rules("Disabled", Pods=(2, 60)), 10, id="disabled"),
        pytest.param(rules(Percent=(11, 60)), 12, id="up, per cents are rounded up"),
    ],
)
def test_rules_bound_the_way_up(up: ScalingRules, pods: int) -> None:
    assert Stabiliser(HpaConfig(), Behavior(up, FREE)).desired(0, 10, 50) == pods


def test_rules_bound_the_way_down_and_round_it_down() -> None:
    down = rules(Percent=(11, 60))
    assert Stabiliser(HpaConfig(), Behavior(FREE, down)).desired(0, 10, 1) == 8


def test_a_period_counts_from_where_it_began() -> None:
    stabiliser = Stabiliser(HpaConfig(), Behavior(rules(Pods=(3, 60)), FREE))
    assert steps(stabiliser, 1, (0, 50), (30, 50), (60, 50)) == [4, 4, 7]


def test_the_window_of_each_direction_holds_it_back() -> None:
    stabiliser = Stabiliser(
        HpaConfig(), Behavior(rules(window_s=30, Percent=(1000, 15)), rules(window_s=30, Percent=(100, 15)))
    )
    assert steps(stabiliser, 5, (0, 5), (15, 9), (30, 9), (45, 9), (60, 1), (75, 1), (90, 1)) == [5, 5, 9, 9, 9, 1, 1]


def pod(cpu_seconds: float | None, phase: PodPhase = PodPhase.READY) -> PodSample:
    return PodSample("a", phase, 0.0, 0.1, cpu_seconds)


def test_the_policy_reads_cpu_from_the_metrics_pipeline() -> None:
    hpa = Hpa(HpaConfig(target_utilization_percent=50, cpu_request_milli=200))
    decided = [hpa.decide(Observation(400.0 + 15 * tick, 1, 0, pods=(pod(3.0 * tick),))).pods for tick in range(4)]
    assert decided == [1, 2, 2, 2]  # 200 milli of 200 is 100 %: twice the target


def test_without_metrics_it_keeps_what_there_is_but_at_least_one() -> None:
    assert Hpa().decide(Observation(0.0, 0, 0)).pods == 1
    assert Hpa().decide(Observation(0.0, 3, 1, pods=(pod(None),))).pods == 4
    assert Hpa().decide(Observation(0.0, 3, 0, fresh=False)).pods == 3


def test_an_impossible_target_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, were 0, 200"):
        HpaConfig(target_utilization_percent=0)


def test_idle_guesses_can_hold_back_a_rise() -> None:
    assert recommend(using(60, 60, None), 2, CONFIG) == 2  # 40 % over three pods would be a fall
