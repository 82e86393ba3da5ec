"""goals: each with its value, met or missed."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from autoscaler_tuning.commands.cmd_goals import goals_table
from autoscaler_tuning.experiments.compare import Comparison
from autoscaler_tuning.experiments.estimates import Estimate
from autoscaler_tuning.experiments.goals import POLICIES, Goal, goals, missed_musts, unavoidable
from autoscaler_tuning.results import Cost, PolicyRow, summarise
from autoscaler_tuning.simulator.world import SimConfig

REQUESTS = 10_000


def rows(figures: Mapping[str, tuple[int, float]], lost: int = 0, ratio: float = 1.4) -> dict[str, list[PolicyRow]]:
    """Three seeds alike of each policy with (late answers, pod-seconds)."""
    made = {}
    for policy, (late, pod_seconds) in figures.items():
        done_s = np.full(REQUESTS, 0.1)
        done_s[:late] = 1.0
        done_s[:lost] = np.nan
        row = summarise(policy, "simulated", np.zeros(REQUESTS), done_s, 0.5, Cost(pod_seconds, 0.0, 1))
        made[policy] = [
            replace(row, seed=seed, ratio_to_bound=ratio, milp_bound_pod_seconds=row.pod_seconds / ratio)
            for seed in range(3)
        ]
    return made


GOOD = {"kpa": (200, 1000.0), "kpa-tuned": (60, 800.0), "kpa-tuned@deadline": (15, 800.0), "elastic": (10, 600.0)}


def missed(figures: Mapping[str, tuple[int, float]], **world: float) -> list[str]:
    lost, ratio = int(world.get("lost", 0)), world.get("ratio", 1.4)
    return [goal.text for goal in missed_musts(goals(rows(figures, lost, ratio), 0.0, has_jump=False))]


def test_all_is_met_where_all_is_well() -> None:
    listed = goals(rows(GOOD), 0.0, has_jump=False)
    assert all(goal.met and goal.sure for goal in listed)
    assert len(listed) == 13
    assert sum(goal.must for goal in listed) == 8


@pytest.mark.parametrize(
    ("changes", "world", "text"),
    [
        pytest.param({"kpa": (99, 1000.0)}, {}, "late answers over stock KPA's", id="not ten times fewer than KPA"),
        pytest.param({"kpa": (200, 740.0)}, {}, "pod-seconds over stock KPA's", id="over 0.8 of KPA's pods"),
        pytest.param({"kpa-tuned": (19, 800.0)}, {}, "late answers over kpa-tuned's", id="not half of kpa-tuned's"),
        pytest.param({"kpa-tuned": (60, 660.0)}, {}, "pod-seconds over kpa-tuned's", id="over 0.9 of kpa-tuned's pods"),
        pytest.param(
            {"kpa-tuned@deadline": (9, 800.0)}, {}, "late answers over kpa-tuned@deadline's", id="later than in order"
        ),
        pytest.param(
            {"kpa-tuned@deadline": (15, 599.0)}, {}, "pod-seconds over kpa-tuned@deadline's", id="dearer than in order"
        ),
        pytest.param({}, {"lost": 1}, "lost requests a run", id="one lost"),
        pytest.param({}, {"ratio": 2.01}, "pod-seconds over the MILP bound", id="over twice the bound"),
    ],
)
def test_a_must_is_missed_when_its_own_figure_is_over_the_limit(
    changes: dict[str, tuple[int, float]], world: dict[str, float], text: str
) -> None:
    assert missed({**GOOD, **changes}, **world) == [text]


def test_where_nobody_is_late_nothing_is_left_to_win() -> None:
    assert missed({**GOOD, **dict.fromkeys(POLICIES[:3], (0, 1000.0)), "elastic": (0, 600.0)}) == []


def test_late_where_the_others_are_not_is_a_miss() -> None:
    assert "late answers over stock KPA's" in missed({**GOOD, "kpa": (0, 1000.0)})


def test_what_is_only_to_reach_for_is_no_failure() -> None:
    listed = goals(rows({**GOOD, "kpa-tuned": (25, 800.0)}, ratio=1.9), 0.0, has_jump=False)
    assert not all(goal.met for goal in listed)
    assert missed_musts(listed) == []


def test_what_nobody_avoids_is_not_asked_for() -> None:
    figures = {**GOOD, "elastic": (80, 600.0)}
    reach = [
        next(goal for goal in goals(rows(figures), ratio, has_jump=jump) if goal.text == "late share of all requests")
        for ratio, jump in ((0.0, False), (0.0, True), (0.009, True))
    ]
    assert [goal.met for goal in reach] == [False, False, True]
    assert [goal.limit for goal in reach] == [0.001, 0.002, 0.009]


def test_a_jump_that_nobody_foresaw_makes_some_late_whatever_one_does() -> None:
    step = Comparison((10,) * 30 + (60,) * 30, SimConfig(cold_start_s=(4.0, 4.0)), bounds=())
    # 60/s for 4 s, of which the 1 pod of before serves 10 a second; a tenth of a second either way is the arrivals'
    assert unavoidable(step) * sum(step.counts) == pytest.approx(200, abs=15)
    assert unavoidable(Comparison((10,) * 60, step.sim, bounds=())) == 0


def test_a_limit_that_even_the_bound_does_not_reach_is_missed_and_said_to_be_out_of_reach() -> None:
    listed = goals(rows({**GOOD, "kpa": (200, 610.0)}, ratio=1.1), 0.0, has_jump=False)
    (goal,) = missed_musts(listed)
    assert goal.floor == pytest.approx(600 / 1.1 / 610)
    assert goals_table([goal]).lines[0][-1] == "MISSED: nobody could, the bound is at 0.894"


def test_a_value_whose_interval_crosses_the_limit_is_not_sure() -> None:
    goal = Goal(True, "text", Estimate(0.7, 0.6, 0.9), 0.8)
    assert (goal.met, goal.sure) == (True, False)
    assert not Goal(True, "text", Estimate(float("nan"), 0, 0), 0.8).met
    assert goals_table([goal]).lines[0][-1] == "met, not sure"
    assert goals_table([Goal(True, "text", Estimate(0.9, 0.85, 0.95), 0.8)]).lines[0][-1] == "MISSED"
