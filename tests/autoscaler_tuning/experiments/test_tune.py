"""tune: KPA's own knobs for some traffic, and how sure that is."""

from dataclasses import replace
from pathlib import Path

import pytest

from autoscaler_tuning.commands.cmd_tune import annotation_lines, kn_line, verdict
from autoscaler_tuning.commands.trace_parts import part, traces_of
from autoscaler_tuning.experiments.compare import Case, Comparison, run_case
from autoscaler_tuning.experiments.estimates import Estimate
from autoscaler_tuning.experiments.tune import (
    GRID,
    POD_COUNTS,
    STOCK,
    Effort,
    KnobSearch,
    Tuned,
    TuneError,
    folds,
    policy_of,
    tune,
)
from autoscaler_tuning.policies.kpa.knobs import KpaKnobs
from autoscaler_tuning.simulator.world import SimConfig
from loadgen.workload.workload import WorkloadError
from tests.paths import SHARED

SIM = SimConfig(initial_pods=1, cold_start_s=(2.0, 2.0), max_pods=20)
# a step every forty seconds: what stock KPA's minute-long window is slow for
STEPS = Comparison(((5,) * 20 + (25,) * 20) * 6, SIM, bounds=())
EFFORT = Effort(settings=10, seeds=1, blocks=3, scales=(1.0,))
UNSURE = Estimate(0.9, 0.7, 1.1)


def silent(_: str) -> None: ...


def found(ratio: Estimate) -> Tuned:
    return Tuned(STOCK, 0.5, 0.9, 1.0, (), ratio, ratio, ratio)


def test_what_it_finds_costs_no_more_than_stock_where_it_was_found_and_comes_out_the_same_again() -> None:
    search = KnobSearch([STEPS], 25.0, EFFORT, silent)
    knobs = search.best(tuple(GRID))
    assert search.ratio(knobs) < 1
    assert search.ratio(STOCK) == 1
    assert KnobSearch([STEPS], 25.0, EFFORT, silent).best(tuple(GRID)) == knobs


def test_pods_bounds_are_left_alone_where_nobody_asks_for_them() -> None:
    knobs = KnobSearch([STEPS], 25.0, EFFORT, silent).best(tuple(name for name in GRID if name not in POD_COUNTS))
    assert (knobs.min_scale, knobs.max_scale) == (0, 0)


def test_each_block_but_the_first_is_held_back_once() -> None:
    tuned = tune([STEPS], 25.0, EFFORT, silent)
    assert [run.block for run in tuned.held_back] == [1, 2]
    assert all(run.stock.policy == "kpa" and run.stock.requests == 1200 for run in tuned.held_back)
    assert all(run.tuned_cost == run.tuned.pod_seconds + 25 * run.tuned.late for run in tuned.held_back)
    assert all(run.stock.seed >= 1000 for run in tuned.held_back)  # none that the search used


def test_what_is_judged_comes_after_all_that_was_searched() -> None:
    rising = replace(STEPS, counts=tuple(range(1, 121)))
    cut = [(block, before[0].counts, after[0].counts) for block, before, after in folds([rising], 4)]
    assert cut == [
        (block, tuple(range(1, 30 * block + 1)), tuple(range(30 * block + 1, 30 * block + 31))) for block in (1, 2, 3)
    ]


def test_a_cheap_late_answer_asks_for_fewer_pods_than_a_dear_one() -> None:
    names = tuple(name for name in GRID if name not in POD_COUNTS)
    found = [KnobSearch([STEPS], price, EFFORT, silent).best(names) for price in (0.001, 1000.0)]
    cheap, dear = (run_case(Case(STEPS, policy_of(knobs), 0)).row.pod_seconds for knobs in found)
    assert cheap < dear


@pytest.mark.parametrize(
    ("counts", "price", "effort", "said"),
    [
        ((5,) * 59, 25.0, Effort(1, 1, 2), "2 blocks of at least 30 s to cross-validate: the workload has 59 s"),
        ((5,) * 60 + (0,) * 60, 25.0, Effort(1, 1, 2), "nothing can be held back"),
        ((5,) * 120, 0.0, Effort(1, 1, 2), "must be above 0 and finite, was 0.0"),
    ],
)
def test_traffic_that_cannot_be_tuned_on_is_refused(
    counts: tuple[int, ...], price: float, effort: Effort, said: str
) -> None:
    with pytest.raises(TuneError, match=said):
        tune([replace(STEPS, counts=counts)], price, effort, silent)


@pytest.mark.parametrize("effort", [(0, 1, 2, (1.0,)), (1, 0, 2, (1.0,)), (1, 1, 1, (1.0,)), (1, 1, 2, (0.0,))])
def test_impossible_efforts_are_refused(effort: tuple[int, int, int, tuple[float, ...]]) -> None:
    with pytest.raises(TuneError):
        Effort(*effort)


@pytest.mark.parametrize(
    ("ratio", "begins"),
    [(Estimate(0.8, 0.7, 0.9), "sure"), (UNSURE, "NOT SURE"), (Estimate(1.2, 1.1, 1.3), "WORSE")],
)
def test_the_verdict_says_how_sure_it_is(ratio: Estimate, begins: str) -> None:
    assert verdict(found(ratio)).startswith(begins)


def test_knobs_are_printed_as_annotations_and_as_a_kn_line() -> None:
    knobs = KpaKnobs(window_s=12, max_scale=9)
    assert annotation_lines(knobs) == [
        'autoscaling.knative.dev/window: "12s"',
        'autoscaling.knative.dev/max-scale: "9"',
    ]
    assert kn_line(knobs, "resnet18") == (
        "kn service update resnet18 --annotation-revision autoscaling.knative.dev/window=12s "
        "--annotation-revision autoscaling.knative.dev/max-scale=9"
    )
    assert policy_of(STOCK) == "kpa"
    assert policy_of(knobs) == "kpa[window=12s,max-scale=9]"


def test_a_part_of_a_trace_is_named_or_counted_in_seconds(tmp_path: Path) -> None:
    trace = tmp_path / "t.txt"
    trace.write_text(" ".join(map(str, range(10))))
    parts = {text: traces_of([trace], part(text))[0][1].counts for text in ("first-two-thirds", "last-third", "2:4")}
    assert parts == {"first-two-thirds": tuple(range(6)), "last-third": (6, 7, 8, 9), "2:4": (2, 3)}
    with pytest.raises(WorkloadError, match="the first second must be below the workload's length"):
        traces_of([trace], part("12:14"))


COURSE = SHARED / "traces/course.txt"


@pytest.mark.integration
@pytest.mark.timeout(900)
@pytest.mark.skipif(not COURSE.exists(), reason="needs ../shared/traces/course.txt")
def test_tuned_on_two_thirds_of_the_course_trace_kpa_beats_stock_on_the_last_third() -> None:
    """At elastic's price of lateness, and with one pod at first, so that it has a start to master.

    Begun with the pods that the rate needs, that third is quiet: nobody is late, and tuned KPA is 8 % dearer than stock.
    """
    price = 25.0
    (_, first), (_, last) = (traces_of([COURSE], part(name))[0] for name in ("first-two-thirds", "last-third"))
    world = SimConfig(initial_pods=1)
    tuned = tune([Comparison(first.counts, world, bounds=())], price, Effort(16, 1, 2), silent)
    held_back = Comparison(last.counts, world, bounds=())
    costs = {}
    for name in ("kpa", policy_of(tuned.knobs)):
        rows = [run_case(Case(held_back, name, seed)).row for seed in range(5)]
        costs[name] = sum(row.pod_seconds + price * row.late for row in rows)
    assert costs[policy_of(tuned.knobs)] < costs["kpa"]
