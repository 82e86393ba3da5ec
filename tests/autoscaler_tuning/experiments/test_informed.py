"""The policy that knows how a family of traffic is made, but not its future."""

from dataclasses import replace

import numpy as np
import pytest

from autoscaler_tuning.experiments import informed
from autoscaler_tuning.experiments.compare import Comparison
from autoscaler_tuning.experiments.goals import without_the_future
from autoscaler_tuning.experiments.informed import RateTold, Reserve, best_reserve, informed_rows, knows_rates
from autoscaler_tuning.simulator.world import SimConfig
from autoscaler_tuning.types import Observation
from loadgen.workload.families import family_counts

STEADY = "step:low=7,high=7,seconds=200"
RATES_RPS = np.array([5.0] * 10 + [40.0] * 10 + [0.0] * 10)


def comparison(family: str) -> Comparison:
    sim = SimConfig(cold_start_s=(2.0, 4.0))
    return Comparison(family_counts(family), sim, bounds=("milp",))


@pytest.fixture(autouse=True)
def _fewer_reserves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(informed, "SIGMAS", (0.5, 1.1, 2.0))
    monkeypatch.setattr(informed, "FRESH_SEEDS", (1001, 1002))


def wanted(reserve: Reserve, now_s: float) -> int:
    return RateTold(RATES_RPS, SimConfig(service_time_s=0.1), reserve).decide(Observation(now_s, 1, 0)).pods


def test_the_pods_follow_the_present_rate_with_a_reserve_of_at_most_those_for_the_highest_rate() -> None:
    # 0.5 + sqrt(0.5) = 1.2 and 4 + sqrt(4) = 6 busy pods
    assert [wanted(Reserve(1.0, 0), now_s) for now_s in (0.0, 9.9, 10.0, 25.0, 40.0)] == [2, 2, 6, 0, 0]
    assert [wanted(Reserve(1.0, 3), now_s) for now_s in (0.0, 10.0, 25.0)] == [5, 6, 3]
    assert wanted(Reserve(1.0, 10**6), 0.0) == 6


def test_it_does_not_look_ahead_further_than_it_is_told() -> None:
    assert [wanted(Reserve(1.0, 0, 3.0), now_s) for now_s in (6.9, 7.0)] == [2, 6]


@pytest.mark.parametrize(
    ("trace", "known"),
    [("mmpp:seed=3", True), ("on-off", True), ("gamma:cv=4", False), ("workload.txt", False)],
)
def test_the_rates_of_a_drawn_family_and_of_a_file_are_not_known(trace: str, known: bool) -> None:
    assert knows_rates(trace) is known


def test_only_a_family_that_repeats_is_told_its_rate_one_start_in_advance() -> None:
    assert best_reserve(comparison("on-off:seconds=100"), "on-off:seconds=100").ahead_s == 4.0
    assert best_reserve(comparison(STEADY), STEADY).ahead_s == 0.0


def test_on_steady_traffic_it_keeps_the_two_pods_that_cost_least() -> None:
    (row,) = informed_rows(comparison(STEADY), STEADY, seeds=1)
    assert row.pod_seconds == pytest.approx(2 * row.until_s, rel=0.02)
    assert 1.5 < row.ratio_to_bound < 2.5


def test_jumps_at_random_times_make_it_keep_more_pods_the_dearer_a_late_response_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    family = "mmpp:seed=3,seconds=200"
    dear = best_reserve(comparison(family), family)
    monkeypatch.setattr(informed, "LATE_PRICE", 0.1)
    cheap = best_reserve(comparison(family), family)
    assert dear.pods > cheap.pods == 0


def test_elastic_is_compared_with_it_where_it_exists() -> None:
    (row,) = informed_rows(comparison(STEADY), STEADY, seeds=1)
    more = replace(row, pod_seconds=1.3 * row.pod_seconds)
    (goal,) = without_the_future([more], [row])
    assert (goal.must, goal.met) == (False, False)
    assert goal.value.value == pytest.approx(1.3)
    assert without_the_future([row], [row])[0].met
    assert without_the_future([row], []) == []
