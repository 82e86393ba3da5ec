"""The advisor: what each setting would have cost, beside the bound, and what a short record cannot tell."""

from functools import cache
from math import isnan

import numpy as np
import pytest

from autoscaler_tuning.experiments.advise import LEAST_BLOCKS, Advice, advise, intervals, per_block, settings, warm
from autoscaler_tuning.experiments.compare import Comparison
from autoscaler_tuning.results import Cost, PolicyRun, TimedPodCounts, summarise
from autoscaler_tuning.simulator.world import SimConfig

SIM = SimConfig(service_time_s=0.1, cold_start_s=(3.0, 3.0), max_pods=10)
# Bursts of 30 requests a second for 20 s, a minute apart: KPA from zero is late in each.
BURSTS = Comparison(((0,) * 100 + (30,) * 20) * 2, SIM, bounds=("milp",))


def silent(_: str) -> None: ...


@cache
def advice(comparison: Comparison = BURSTS) -> dict[str, Advice]:
    return {one.policy: one for one in advise(comparison, 2, 250.0, silent)}


def test_more_pods_that_always_run_cost_more_and_make_fewer_requests_late() -> None:
    found = [one for one in advice().values() if one.min_scale is not None]
    late, cost = [one.late_ratio.value for one in found], [one.pod_seconds_per_hour.value for one in found]
    assert late[1:] == sorted(late[1:], reverse=True)  # one pod more or less in panic mode decides between 0 and 1
    assert late[0] > late[-1] == 0
    assert cost[-1] > cost[0]


def test_a_min_scale_above_the_first_without_late_requests_is_left_out() -> None:
    late = {one.min_scale: one.late_ratio.value for one in advice().values() if one.min_scale is not None}
    assert [pods for pods, ratio in late.items() if ratio == 0] == [max(late)]
    assert max(late) < 6  # settings() goes up to it


def test_a_setting_with_a_min_scale_begins_with_its_pods() -> None:
    found = advice(Comparison((2,) * 60, SIM, bounds=()))
    assert found["kpa"].late_ratio.value > 0  # of the first start
    assert found["kpa[min-scale=1]"].late_ratio.value == 0


def test_tuned_knobs_and_elastic_are_beside_them_and_none_undercuts_its_bound() -> None:
    found = advice()
    assert {"kpa-tuned", "elastic"} <= found.keys()
    for one in found.values():
        assert 0 < one.bound_per_hour <= one.pod_seconds_per_hour.value + 1


def test_money_and_cost_follow_from_pod_seconds_and_late_requests() -> None:
    one = advice()["kpa"]
    assert one.money_per_month == pytest.approx(one.pod_seconds_per_hour.value / 3600 * 730 * 0.04)
    assert one.late_per_hour == pytest.approx(one.late_ratio.value * 1200 * 3600 / 240)
    assert one.cost_per_hour == pytest.approx(one.pod_seconds_per_hour.value + 250 * one.late_per_hour)


def test_settings_end_at_twice_the_pods_of_the_busiest_second() -> None:
    small = Comparison((5,), SIM)
    assert [pods for _, pods in settings(small) if pods is not None] == [0, 1]
    assert [pods for _, pods in settings(BURSTS) if pods is not None] == [0, 1, 2, 3, 4, 6]


def test_every_setting_starts_with_the_pods_for_the_first_seconds_and_a_silent_start_with_none() -> None:
    assert warm(Comparison((13,) * 20, SIM)).sim.initial_pods == 2  # 1.3 busy pods at a target of 0.7
    assert warm(Comparison((15,) * 20, SIM)).sim.initial_pods == 3
    assert warm(BURSTS).sim.initial_pods == 0
    assert warm(Comparison((900,) * 20, SIM)).sim.initial_pods == SIM.max_pods


def test_blocks_divide_pod_seconds_and_late_requests_by_time() -> None:
    intended_s = np.arange(120.0)
    done_s = np.where(intended_s < 60, intended_s + 0.1, np.nan)
    row = summarise("kpa", "simulated", intended_s, done_s, 0.5, Cost(0.0, 0.0, 0))
    pods = (TimedPodCounts(0.0, 1, 1, 9, 0), TimedPodCounts(90.0, 4, 0, 0, 0))
    blocks = per_block(PolicyRun(row, intended_s, done_s, pods), 0.5, 120.0)
    assert blocks.tolist() == [[120.0, 0.0, 60.0, 60.0], [180.0, 60.0, 60.0, 60.0]]


def test_a_short_record_has_no_interval() -> None:
    late, cost = intervals(np.array([[60.0, 1.0, 10.0, 60.0]] * (LEAST_BLOCKS - 1)))
    assert isnan(late.low)
    assert isnan(cost.high)
    assert (late.value, cost.value) == (0.1, 3600.0)


def test_the_interval_is_that_of_the_blocks_and_contains_the_figure() -> None:
    blocks = np.array([[60.0 * (1 + index % 3), index % 2, 10.0, 60.0] for index in range(12)])
    late, cost = intervals(blocks)
    assert 0 <= late.low < late.value < late.high <= 0.1
    assert 3600 < cost.low < cost.value < cost.high < 3 * 3600


def test_without_a_late_request_the_share_may_still_be_three_in_the_number_of_requests() -> None:
    late, _ = intervals(np.array([[60.0, 0.0, 10.0, 60.0]] * 10))
    assert (late.value, late.low) == (0.0, 0.0)
    assert late.high == pytest.approx(0.03)
