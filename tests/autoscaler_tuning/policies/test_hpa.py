"""HPA: the pods that Kubernetes' autoscaler recommends, and its limits on them over time."""

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler_tuning.policies.hpa.hpa import Hpa
from autoscaler_tuning.policies.hpa.rules import HpaConfig, HpaPod, NoMetricsError, recommend
from autoscaler_tuning.policies.hpa.stabiliser import Behavior, ScalingPolicy, ScalingRules, Stabiliser
from autoscaler_tuning.types import Decision, Observation, PodPhase, PodSample

CONFIG = HpaConfig(sidecar_request_milli=0, target_utilization_percent=50, cpu_request_milli=100)
READY = HpaPod("Running", True, 5000, 4990, metric_age_s=5, metric_window_s=30)


def using(*milli: int | None) -> list[HpaPod]:
    return [replace(READY, cpu_usage_milli=value) for value in milli]


@pytest.mark.parametrize(
    ("usage", "pods"),
    [
        pytest.param(55, 2, id="within the tolerance, edge included"),
        pytest.param(56, 3, id="just above the tolerance"),
        pytest.param(45, 2, id="within the tolerance below the target, edge included"),
        pytest.param(44, 2, id="below the tolerance, and rounded up"),
        pytest.param(25, 1, id="half the utilization needs half the pods"),
        pytest.param(500, 20, id="ten times the utilization needs ten times the pods"),
    ],
)
def test_pods_are_proportional_to_the_utilization(usage: int, pods: int) -> None:
    assert recommend(using(usage, usage), 2, CONFIG) == pods


def test_the_utilization_is_truncated_to_a_whole_percentage() -> None:
    assert recommend(using(55, 55, 56), 3, CONFIG) == 3  # 55.3 % is 55 %


def test_a_missing_pod_counts_as_on_target_when_scaling_down_to_a_target_above_the_request() -> None:
    generous = replace(CONFIG, target_utilization_percent=150)
    # 127 % over four pods; if the missing ones counted with only their request, 90 %
    assert recommend(using(60, None, None, None), 4, generous) == 4


def test_a_missing_pod_changes_nothing_at_exactly_the_target() -> None:
    assert recommend(using(50, 50, None), 3, CONFIG) == 3


def test_a_missing_pod_counts_as_idle_when_scaling_up() -> None:
    assert recommend(using(100, 100, None), 3, CONFIG) == 4  # 66 % over three pods


def test_a_missing_pod_counts_as_busy_when_scaling_down() -> None:
    assert recommend(using(10, 10, None), 3, CONFIG) == 3  # 40 % over three pods


def test_assumed_usages_never_reverse_the_direction() -> None:
    assert recommend(using(60, None, None), 3, CONFIG) == 3


def test_an_unready_pod_counts_as_idle_when_scaling_up_and_is_ignored_when_scaling_down() -> None:
    pending = HpaPod("Pending", False, 10, 10)
    assert recommend([*using(100, 100), pending], 3, CONFIG) == 4
    assert recommend([*using(20, 20), pending], 3, CONFIG) == 1


def test_assumed_usages_never_turn_a_scale_down_into_more_pods_or_a_scale_up_into_fewer() -> None:
    assert recommend(using(10, 10, None), 2, CONFIG) == 2  # 80 % of three pods is 3
    assert recommend([*using(90), HpaPod("Pending", False, 10, 10)], 5, CONFIG) == 5


@pytest.mark.parametrize(
    "change",
    [{"phase": "Pending"}, {"ready": None}, {"started_ago_s": None}, {"ready": False, "started_ago_s": 200}],
    ids=["pending", "no Ready condition", "not started", "recently started and not ready"],
)
def test_an_unready_pod_is_ignored_whatever_its_metric(change: dict[str, Any]) -> None:
    assert recommend([*using(50), replace(READY, cpu_usage_milli=900, **change)], 2, CONFIG) == 2


def test_the_initialization_period_ends_at_five_minutes() -> None:
    fresh = HpaPod("Running", True, 300, 20, cpu_usage_milli=300, metric_age_s=5, metric_window_s=30)
    assert recommend([*using(50), fresh], 2, CONFIG) == 7
    assert recommend([*using(50), replace(fresh, started_ago_s=299)], 2, CONFIG) == 2


@given(st.lists(st.none() | st.integers(0, 1000), min_size=1, max_size=20), st.integers(0, 19), st.integers(0, 500))
def test_more_load_never_needs_fewer_pods(usage: list[int | None], which: int, more: int) -> None:
    which %= len(usage)
    value = usage[which]
    if value is None or all(one is None for one in usage):
        return
    busier = [*usage[:which], value + more, *usage[which + 1 :]]
    before, after = (recommend(using(*one), len(usage), CONFIG) for one in (usage, busier))
    assert 0 <= before <= after


def test_failed_and_deleted_pods_do_not_count() -> None:
    gone = [replace(READY, phase="Failed", cpu_usage_milli=900), replace(READY, deleting=True, cpu_usage_milli=900)]
    assert recommend([*using(50), *gone], 1, CONFIG) == 1


@pytest.mark.parametrize(
    ("changed_ago_s", "age_s", "counts"),
    [(100, 5, True), (100, 70, True), (100, 71, False), (20, 5, False)],
)
def test_during_initialization_a_pod_counts_if_its_metric_covers_only_time_after_it_was_ready(
    changed_ago_s: float, age_s: float, counts: bool
) -> None:
    young = HpaPod("Running", True, 200, changed_ago_s, cpu_usage_milli=300, metric_age_s=age_s, metric_window_s=30)
    assert recommend([*using(50), young], 2, CONFIG) == (7 if counts else 2)


def test_a_pod_that_has_never_been_ready_does_not_count_later_either() -> None:
    never = replace(READY, ready=False, started_ago_s=1000, readiness_changed_ago_s=990, cpu_usage_milli=300)
    assert recommend([*using(50), never], 2, CONFIG) == 2
    became_unready_later = replace(never, readiness_changed_ago_s=970)
    assert recommend([*using(50), became_unready_later], 2, CONFIG) == 7


@pytest.mark.parametrize("pods", [[], using(None), [HpaPod("Pending", False, 1, 1)]])
def test_without_any_metric_no_recommendation_is_possible(pods: list[HpaPod]) -> None:
    with pytest.raises(NoMetricsError):
        recommend(pods, 1, CONFIG)


def steps(stabiliser: Stabiliser, current: int, *recommended: tuple[float, int]) -> list[int]:
    found = []
    for now_s, pods in recommended:
        current = stabiliser.desired(now_s, current, pods)
        found.append(current)
    return found


def test_it_scales_down_to_the_highest_recommendation_of_five_minutes() -> None:
    recommended = [(0.0, 10), (15.0, 2), (299.0, 2), (300.0, 2)]
    assert steps(Stabiliser(HpaConfig()), 10, *recommended) == [10, 10, 10, 2]


def test_the_current_pods_count_as_the_first_recommendation() -> None:
    stabiliser = Stabiliser(HpaConfig())
    stabiliser.begin(0, 9)
    stabiliser.begin(150, 99)
    assert steps(stabiliser, 9, (150, 1), (299, 1), (300, 1)) == [9, 9, 1]


def test_recommendations_that_no_window_needs_are_dropped() -> None:
    wide = Behavior(rules(window_s=600, Pods=(1, 15)), rules(window_s=900, Pods=(1, 15)))
    for stabiliser, kept in ((Stabiliser(HpaConfig()), 20), (Stabiliser(HpaConfig(), wide), 60)):
        for tick in range(500):
            stabiliser.desired(15.0 * tick, 3, 3)
        assert len(stabiliser._seen) == kept


def test_it_scales_up_to_twice_the_pods_or_four_and_within_the_bounds() -> None:
    assert steps(Stabiliser(HpaConfig()), 1, (0, 99), (15, 99), (30, 99)) == [4, 8, 16]
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
        pytest.param(rules(Pods=(9999, 60)), 40, id="at most max_pods"),
        pytest.param(rules(Percent=(11, 60)), 12, id="percentages are rounded up"),
    ],
)
def test_rules_limit_scaling_up(up: ScalingRules, pods: int) -> None:
    assert Stabiliser(HpaConfig(max_pods=40), Behavior(up, FREE)).desired(0, 10, 50) == pods


@pytest.mark.parametrize(
    ("down", "pods"),
    [
        pytest.param(rules(Percent=(11, 60)), 8, id="percentages are rounded down"),
        pytest.param(rules(Pods=(3, 60), Percent=(50, 60)), 5, id="the widest policy"),
        pytest.param(rules("Min", Pods=(3, 60), Percent=(50, 60)), 7, id="the narrowest"),
        pytest.param(rules("Disabled", Pods=(3, 60)), 10, id="disabled"),
        pytest.param(rules(Percent=(100, 60)), 4, id="at least min_pods"),
    ],
)
def test_rules_limit_scaling_down(down: ScalingRules, pods: int) -> None:
    assert Stabiliser(HpaConfig(min_pods=4), Behavior(FREE, down)).desired(0, 10, 1) == pods


def test_a_period_counts_the_changes_of_both_directions() -> None:
    three = Behavior(rules(Pods=(3, 60)), rules(Pods=(3, 60)))
    assert steps(Stabiliser(HpaConfig(), three), 1, (0, 50), (30, 50), (60, 50)) == [4, 4, 7]
    assert steps(Stabiliser(HpaConfig(), three), 10, (0, 50), (15, 1), (30, 50), (61, 50)) == [13, 7, 13, 16]


def test_a_replaced_change_is_missing_in_a_longer_period_of_the_other_direction() -> None:
    stabiliser = Stabiliser(HpaConfig(), Behavior(rules(Pods=(2, 15)), rules(Pods=(5, 100))))
    assert steps(stabiliser, 10, (0, 99), (15, 99), (30, 99)) == [12, 14, 16]
    assert stabiliser.desired(45, 16, 1) == 9  # of the 6 pods added within 100 s it remembers the last 2, so 14 - 5


def test_the_stabilisation_window_of_each_direction_delays_changes() -> None:
    slow = Behavior(rules(window_s=30, Percent=(1000, 15)), rules(window_s=30, Percent=(100, 15)))
    assert steps(Stabiliser(HpaConfig(), slow), 5, (0, 5), (15, 9), (30, 9), (45, 9), (60, 1), (75, 1), (90, 1)) == [
        5,
        5,
        9,
        9,
        9,
        1,
        1,
    ]


def pod(cpu_seconds: float | None, phase: PodPhase = PodPhase.READY) -> PodSample:
    return PodSample("a", phase, 0.0, 0.1, cpu_seconds)


HALF = HpaConfig(target_utilization_percent=50, cpu_request_milli=200, sidecar_request_milli=0)


def ticks(hpa: Hpa, *cpu_seconds: float) -> list[Decision]:
    """Return the decisions for one pod with this CPU time, every half resolution from 400 s on."""
    return [
        hpa.decide(Observation(400.0 + hpa.interval_s * tick, 1, 0, pods=(pod(cpu),)))
        for tick, cpu in enumerate(cpu_seconds)
    ]


def test_the_pipeline_measures_every_15_s_halfway_between_two_syncs() -> None:
    """Samples at 7.5 and 22.5 s, syncs at 0, 15 and 30 s: 200 milli of 200 is twice the target."""
    assert [decision.pods for decision in ticks(Hpa(HALF), 0, 1.5, 3, 4.5, 6, 7.5)] == [1, 1, 1, 1, 2, 2]


def test_cpu_used_after_the_last_sample_is_not_seen_at_a_sync() -> None:
    assert ticks(Hpa(HALF), 0, 0, 0, 1.5, 99)[-1].pods == 1  # 100 milli of 200 between the samples is on target


def test_a_finer_metrics_resolution_reacts_sooner() -> None:
    hpa = Hpa(replace(HALF, metrics_resolution_s=5))
    assert hpa.interval_s == 2.5
    assert [decision.pods for decision in ticks(hpa, *(0.5 * tick for tick in range(7)))] == [1] * 6 + [2]


def test_missed_ticks_are_skipped() -> None:
    hpa = Hpa(HALF)
    hpa.decide(Observation(400.0, 1, 0, pods=(pod(0.0),)))
    late = [hpa.decide(Observation(400.0 + after_s, 1, 0, pods=(pod(0.2 * after_s),))) for after_s in (50, 60, 75)]
    assert ["no metrics" in decision.reason for decision in late] == [True, False, False]


def test_a_cpu_counter_that_was_reset_counts_as_no_usage() -> None:
    assert (
        ticks(Hpa(), 9, 9, 9, 1, 1)[-1].reason == "cpu: 1 pods after stabilisation, 0 recommended for a target of 70 %"
    )


def test_the_queue_proxys_cpu_request_counts() -> None:
    usage = [replace(READY, cpu_usage_milli=150)]
    assert recommend(usage, 1, replace(CONFIG, sidecar_request_milli=0)) == 3
    assert recommend(usage, 1, replace(CONFIG, sidecar_request_milli=50)) == 2


@pytest.mark.parametrize(("usage", "pods"), [(59, 1), (61, 2), (46, 1), (41, 1)])
def test_each_direction_can_have_its_own_tolerance(usage: int, pods: int) -> None:
    config = replace(CONFIG, tolerance_up=0.2, tolerance_down=0.05)
    assert recommend([replace(READY, cpu_usage_milli=usage)] * 1, 1, config) == pods


def test_a_smaller_tolerance_scales_down_sooner() -> None:
    usage = [replace(READY, cpu_usage_milli=46)] * 20
    assert recommend(usage, 20, CONFIG) == 20
    assert recommend(usage, 20, replace(CONFIG, tolerance_down=0.05)) == 19


def test_a_target_at_zero_pods_stays_there() -> None:
    assert Stabiliser(HpaConfig(min_pods=2)).desired(0.0, 0, 5) == 0


def test_starting_pods_count_and_terminating_pods_do_not() -> None:
    starting, terminating = (
        PodSample("b", PodPhase.STARTING, 410.0),
        PodSample("c", PodPhase.TERMINATING, 0.0, 0.1, 99.0),
    )

    def after_two_samples(*others: PodSample) -> int:
        hpa = Hpa(HALF)
        observations = [Observation(400.0 + 7.5 * tick, 1, 1, pods=(pod(1.5 * tick), *others)) for tick in range(5)]
        return [hpa.decide(obs).pods for obs in observations][-1]

    assert after_two_samples(starting) == 2  # 100 % over two pods is the target
    assert after_two_samples(terminating) == 2


@given(st.lists(st.tuples(st.floats(0, 100), st.none() | st.floats(), st.integers(0, 9)), max_size=30))
def test_any_history_gives_a_valid_decision(steps: list[tuple[float, float | None, int]]) -> None:
    hpa, now_s = Hpa(HpaConfig(max_pods=40)), 0.0
    for elapsed_s, cpu_seconds, ready in steps:
        now_s += elapsed_s
        decision = hpa.decide(Observation(now_s, ready, 0, pods=(pod(cpu_seconds),)))
        assert isinstance(decision.pods, int)
        assert 1 <= decision.pods <= 40


def test_without_metrics_it_keeps_the_current_pods_but_at_least_one() -> None:
    assert Hpa().decide(Observation(0.0, 0, 0)).pods == 1
    assert Hpa().decide(Observation(0.0, 3, 1, pods=(pod(None),))).pods == 4
    assert Hpa().decide(Observation(0.0, 3, 0, fresh=False)).pods == 3
    assert Hpa().decide(Observation(0.0, 0, 0, fresh=False)).pods == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1], ids=str)
@pytest.mark.parametrize("name", [setting.name for setting in fields(HpaConfig)])
def test_invalid_settings_are_refused_with_their_value(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"{name} must be finite and at least [01], got {value}"):
        HpaConfig(**{name: value})  # type: ignore[arg-type]


def test_a_target_of_0_and_max_pods_below_min_pods_are_refused() -> None:
    with pytest.raises(ValueError, match="target_utilization_percent must be finite and at least 1, got 0"):
        HpaConfig(target_utilization_percent=0)
    with pytest.raises(ValueError, match="max_pods must be at least min_pods, 5, got 4"):
        HpaConfig(min_pods=5, max_pods=4)


def test_pods_that_count_as_idle_can_prevent_scaling_up() -> None:
    assert recommend(using(60, 60, None), 2, CONFIG) == 2  # 40 % over three pods would mean scaling down
