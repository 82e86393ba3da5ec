"""goals: each has a value and is met or missed."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from autoscaler_tuning.commands.cmd_goals import goals_table
from autoscaler_tuning.experiments.estimates import Estimate
from autoscaler_tuning.experiments.first_start import after_first_start
from autoscaler_tuning.experiments.goals import (
    POLICIES,
    Goal,
    first_start,
    goals,
    missed_required,
)
from autoscaler_tuning.results import Cost, PolicyRow, PolicyRun, TimedPodCounts, summarise
from autoscaler_tuning.simulator.world import SimConfig

REQUESTS = 10_000


def rows(figures: Mapping[str, tuple[int, float]], lost: int = 0, ratio: float = 1.4) -> dict[str, list[PolicyRow]]:
    """Return six equal seeds of each policy, with its (late requests, pod-seconds)."""
    made = {}
    for policy, (late, pod_seconds) in figures.items():
        done_s = np.full(REQUESTS, 0.1)
        done_s[:late] = 1.0
        done_s[:lost] = np.nan
        row = summarise(policy, "simulated", np.zeros(REQUESTS), done_s, 0.5, Cost(pod_seconds, 0.0, 1))
        made[policy] = [
            replace(row, seed=seed, ratio_to_bound=ratio, milp_bound_pod_seconds=row.pod_seconds / ratio)
            for seed in range(6)
        ]
    return made


GOOD = {"kpa": (200, 1000.0), "kpa-tuned": (60, 800.0), "kpa-tuned@deadline": (15, 800.0), "elastic": (10, 600.0)}


def missed(figures: Mapping[str, tuple[int, float]], **world: float) -> list[str]:
    lost, ratio = int(world.get("lost", 0)), world.get("ratio", 1.4)
    return [goal.text for goal in missed_required(goals(rows(figures, lost, ratio), has_jump=False))]


def test_all_goals_are_met_if_every_figure_is_good() -> None:
    listed = goals(rows(GOOD), has_jump=False)
    assert all(goal.met and goal.is_conclusive for goal in listed)
    assert len(listed) == 15
    assert sum(goal.must for goal in listed) == 10


@pytest.mark.parametrize(
    ("changes", "world", "text"),
    [
        pytest.param(
            {"kpa": (99, 1000.0)}, {}, "late requests relative to stock KPA", id="over a tenth of KPA's late requests"
        ),
        pytest.param(
            {"kpa": (200, 740.0)}, {}, "pod-seconds relative to stock KPA", id="over 0.8 of KPA's pod-seconds"
        ),
        pytest.param(
            {"kpa-tuned": (19, 800.0)},
            {},
            "late requests relative to kpa-tuned",
            id="over half of kpa-tuned's late requests",
        ),
        pytest.param(
            {"kpa-tuned": (60, 660.0)},
            {},
            "pod-seconds relative to kpa-tuned",
            id="over 0.9 of kpa-tuned's pod-seconds",
        ),
        pytest.param(
            {"kpa-tuned@deadline": (9, 800.0)},
            {},
            "late requests relative to kpa-tuned@deadline",
            id="over kpa-tuned@deadline's late requests",
        ),
        pytest.param(
            {"kpa-tuned@deadline": (15, 599.0)},
            {},
            "pod-seconds relative to kpa-tuned@deadline",
            id="over kpa-tuned@deadline's pod-seconds",
        ),
        pytest.param({}, {"lost": 1}, "lost requests per run", id="one lost request"),
        pytest.param({}, {"ratio": 2.01}, "pod-seconds relative to the MILP bound", id="over twice the lower bound"),
    ],
)
def test_a_required_goal_is_missed_if_its_figure_is_over_the_limit(
    changes: dict[str, tuple[int, float]], world: dict[str, float], text: str
) -> None:
    assert missed({**GOOD, **changes}, **world) == [text]


def test_the_ratio_goals_are_met_if_no_policy_has_late_requests() -> None:
    assert missed({**GOOD, **dict.fromkeys(POLICIES[:3], (0, 1000.0)), "elastic": (0, 600.0)}) == []


def test_the_ratio_goal_is_missed_if_only_elastic_has_late_requests() -> None:
    assert "late requests relative to stock KPA" in missed({**GOOD, "kpa": (0, 1000.0)})


def test_two_late_requests_in_ten_thousand_are_few_enough_and_three_are_not() -> None:
    few = {**GOOD, "kpa": (3, 1000.0)}
    assert "late requests relative to stock KPA" not in missed({**few, "elastic": (2, 600.0)})
    assert "late requests relative to stock KPA" in missed({**few, "elastic": (3, 600.0)})


def test_without_late_requests_of_kpa_its_pod_seconds_are_no_goal() -> None:
    calm = {**GOOD, "kpa": (0, 620.0), "elastic": (0, 600.0)}
    assert "pod-seconds relative to stock KPA" not in missed(calm)
    assert "pod-seconds relative to stock KPA" in missed({**calm, "kpa": (1, 620.0)})


def test_the_cost_counts_a_late_request_as_250_pod_seconds() -> None:
    """600 + 250 x late is at most 1.05 x 1,000 up to one late request."""
    calm = {**GOOD, "kpa": (0, 1000.0), "kpa-tuned": (9, 800.0)}
    assert "cost relative to stock KPA" not in missed({**calm, "elastic": (1, 600.0)})
    assert "cost relative to stock KPA" in missed({**calm, "elastic": (2, 600.0)})


def test_being_worse_than_kpa_in_both_is_a_failure_and_in_one_is_none() -> None:
    text = "the better of late and pod-seconds relative to stock KPA"
    assert text in missed({**GOOD, "kpa": (9, 590.0)})
    assert text not in missed({**GOOD, "kpa": (9, 610.0)})
    assert text not in missed({**GOOD, "kpa": (11, 590.0)})


@pytest.mark.parametrize(("wanted", "met"), [(3, True), (4, False)])
def test_the_first_start_from_zero_may_want_a_pod_for_each_request_by_its_end(wanted: int, met: bool) -> None:
    row = rows(GOOD)["elastic"][0]
    pods = (TimedPodCounts(1.0, 0, 2, 0, 1), TimedPodCounts(4.0, 2, 0, 0, 0), TimedPodCounts(9.0, 9, 0, 0, 0))
    arrivals_s = np.array([0.5, 1.5, 4.0, 5.0])
    run = PolicyRun(row, arrivals_s, arrivals_s, pods, ((0.5, wanted), (5.0, 9)))
    assert first_start([run], [run], SimConfig())[0].met == met


def started(late_at_s: list[float]) -> PolicyRun:
    """Return a run of a request every second from 3 s on, of which those are late."""
    arrivals_s = np.arange(3.0, 23.0)
    done_s = arrivals_s + np.where(np.isin(arrivals_s, late_at_s), 0.6, 0.1)
    row = summarise("any", "simulated", arrivals_s, done_s, 0.5, Cost(60.0, 0.0, 1))
    return PolicyRun(row, arrivals_s, done_s, (TimedPodCounts(3.0, 0, 1, 0, 1), TimedPodCounts(7.0, 1, 0, 0, 0)))


def test_late_requests_of_the_first_start_count_apart_and_may_be_as_many_as_those_of_kpa() -> None:
    """Pods start within 6 s and KPA ticks every 2 s, so the first start lasts from 3 s to 11 s."""
    ours, sim = started([4.0, 10.0, 11.0]), SimConfig(cold_start_s=(2.0, 6.0))
    assert after_first_start(ours, sim).late == 1
    assert [first_start([ours], [started(kpa)], sim)[1].met for kpa in ([4.0, 5.0], [5.0, 11.0, 12.0])] == [True, False]


@pytest.mark.parametrize("sim", [SimConfig(initial_pods=1), SimConfig(judged_from_s=2.0)], ids=["warm", "judged later"])
def test_without_a_start_from_zero_all_late_requests_count_and_there_is_no_goal_for_it(sim: SimConfig) -> None:
    ours = started([4.0, 11.0])
    assert after_first_start(ours, sim).late == 2
    assert first_start([ours], [ours], sim) == []


def test_a_missed_stretch_goal_is_no_failure() -> None:
    listed = goals(rows({**GOOD, "kpa-tuned": (25, 800.0)}, ratio=1.9), has_jump=False)
    assert not all(goal.met for goal in listed)
    assert missed_required(listed) == []


def test_the_stretch_goal_for_late_requests_is_wider_on_traffic_that_jumps() -> None:
    figures = {**GOOD, "elastic": (15, 600.0)}
    stretch = [
        next(goal for goal in goals(rows(figures), has_jump=jump) if goal.text == "share of late requests")
        for jump in (False, True)
    ]
    assert [(goal.met, goal.limit) for goal in stretch] == [(False, 0.001), (True, 0.002)]


def test_a_limit_below_the_lower_bound_is_reported_as_out_of_reach() -> None:
    listed = goals(rows({**GOOD, "kpa": (200, 610.0)}, ratio=1.1), has_jump=False)
    (goal,) = missed_required(listed)
    assert goal.floor == pytest.approx(600 / 1.1 / 610)
    assert goals_table([goal]).lines[0][-1] == "MISSED, out of reach: the lower bound is 0.894"


def test_a_value_whose_confidence_interval_contains_the_limit_is_inconclusive() -> None:
    goal = Goal(True, "text", Estimate(0.7, 0.6, 0.9), 0.8)
    assert (goal.met, goal.is_conclusive) == (True, False)
    assert not Goal(True, "text", Estimate(float("nan"), 0, 0), 0.8).met
    assert goals_table([goal]).lines[0][-1] == "met, inconclusive"
    assert goals_table([Goal(True, "text", Estimate(0.9, 0.85, 0.95), 0.8)]).lines[0][-1] == "MISSED"
