"""tune: finds the knobs of KPA for some traffic, and cross-validates them."""

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
    policy_name,
    tune,
)
from autoscaler_tuning.policies.kpa.knobs import KpaKnobs
from autoscaler_tuning.simulator.world import SimConfig
from loadgen.workload.workload import WorkloadError
from tests.effort import CI, effort
from tests.paths import SHARED

SIM = SimConfig(initial_pods=1, cold_start_s=(2.0, 2.0), max_pods=20)
# A step every 20 s, for which the one-minute window of stock KPA is too slow.
PERIODS, BLOCKS = effort(2, ci=6), effort(2, ci=3)
STEPS = Comparison(((5,) * 20 + (25,) * 20) * PERIODS, SIM, bounds=())
EFFORT = Effort(settings=10, seeds=1, blocks=BLOCKS, scales=(1.0,))
INCONCLUSIVE = Estimate(0.9, 0.7, 1.1)


def silent(_: str) -> None: ...


def found(ratio: Estimate) -> Tuned:
    return Tuned(STOCK, 0.5, 0.9, 1.0, (), ratio, ratio, ratio)


def test_the_search_is_deterministic_and_finds_knobs_that_cost_less_than_stock_on_the_searched_traffic() -> None:
    search = KnobSearch([STEPS], 25.0, EFFORT, silent)
    knobs = search.best(tuple(GRID))
    assert search.ratio(knobs) < 1
    assert search.ratio(STOCK) == 1
    assert KnobSearch([STEPS], 25.0, EFFORT, silent).best(tuple(GRID)) == knobs


def test_min_scale_and_max_scale_are_unchanged_if_they_are_not_searched() -> None:
    knobs = KnobSearch([STEPS], 25.0, EFFORT, silent).best(tuple(name for name in GRID if name not in POD_COUNTS))
    assert (knobs.min_scale, knobs.max_scale) == (0, 0)


def test_each_block_except_the_first_is_held_out_once() -> None:
    tuned = tune([STEPS], 25.0, EFFORT, silent)
    assert [run.block for run in tuned.held_back] == list(range(1, BLOCKS))
    assert all(run.stock.policy == "kpa" and run.stock.requests == 600 * PERIODS // BLOCKS for run in tuned.held_back)
    assert all(run.tuned_cost == run.tuned.pod_seconds + 25 * run.tuned.late for run in tuned.held_back)
    assert all(run.stock.seed >= 1000 for run in tuned.held_back)  # seeds that the search has not used


def test_a_held_out_block_comes_after_all_searched_blocks() -> None:
    rising = replace(STEPS, counts=tuple(range(1, 121)))
    cut = [(block, before[0].counts, after[0].counts) for block, before, after in folds([rising], 4)]
    assert cut == [
        (block, tuple(range(1, 30 * block + 1)), tuple(range(30 * block + 1, 30 * block + 31))) for block in (1, 2, 3)
    ]


def test_a_low_price_of_late_requests_leads_to_fewer_pods_than_a_high_one() -> None:
    names = tuple(name for name in GRID if name not in POD_COUNTS)
    found = [KnobSearch([STEPS], price, EFFORT, silent).best(names) for price in (0.001, 1000.0)]
    low, high = (run_case(Case(STEPS, policy_name(knobs), 0)).row.pod_seconds for knobs in found)
    assert low < high


@pytest.mark.parametrize(
    ("counts", "price", "effort", "message"),
    [
        ((5,) * 59, 25.0, Effort(1, 1, 2), "workload must have 2 blocks of at least 30 s to cross-validate, got 59 s"),
        ((5,) * 60 + (0,) * 60, 25.0, Effort(1, 1, 2), "no block can be held out"),
        ((5,) * 120, 0.0, Effort(1, 1, 2), "must be above 0 and finite, got 0.0"),
    ],
)
def test_unusable_traffic_is_rejected(counts: tuple[int, ...], price: float, effort: Effort, message: str) -> None:
    with pytest.raises(TuneError, match=message):
        tune([replace(STEPS, counts=counts)], price, effort, silent)


@pytest.mark.parametrize("effort", [(0, 1, 2, (1.0,)), (1, 0, 2, (1.0,)), (1, 1, 1, (1.0,)), (1, 1, 2, (0.0,))])
def test_invalid_efforts_are_rejected(effort: tuple[int, int, int, tuple[float, ...]]) -> None:
    with pytest.raises(TuneError):
        Effort(*effort)


@pytest.mark.parametrize(
    ("ratio", "begins"),
    [(Estimate(0.8, 0.7, 0.9), "BETTER"), (INCONCLUSIVE, "INCONCLUSIVE"), (Estimate(1.2, 1.1, 1.3), "WORSE")],
)
def test_the_verdict_depends_on_the_confidence_interval(ratio: Estimate, begins: str) -> None:
    assert verdict(found(ratio)).startswith(begins)


def test_knobs_are_printed_as_annotations_and_as_a_kn_command() -> None:
    knobs = KpaKnobs(window_s=12, max_scale=9)
    assert annotation_lines(knobs) == [
        'autoscaling.knative.dev/window: "12s"',
        'autoscaling.knative.dev/max-scale: "9"',
    ]
    assert kn_line(knobs, "resnet18") == (
        "kn service update resnet18 --annotation-revision autoscaling.knative.dev/window=12s "
        "--annotation-revision autoscaling.knative.dev/max-scale=9"
    )
    assert policy_name(STOCK) == "kpa"
    assert policy_name(knobs) == "kpa[window=12s,max-scale=9]"


def test_a_part_of_a_trace_is_a_name_or_a_range_of_seconds(tmp_path: Path) -> None:
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
    """Starts with zero pods, so that the policies have to scale up."""
    price = 25.0
    (_, first), (_, last) = (traces_of([COURSE], part(name))[0] for name in ("first-two-thirds", "last-third"))
    world = SimConfig()
    traffic, full = [Comparison(first.counts, world, bounds=())], Effort(16, 1, 2)
    if CI:
        knobs = tune(traffic, price, full, silent).knobs
    else:  # without the cross-validation that decides whether to search min-scale and max-scale, too
        knobs = KnobSearch(traffic, price, full, silent).best([name for name in GRID if name not in POD_COUNTS])
    held_back = Comparison(last.counts, world, bounds=())
    costs = {}
    for name in ("kpa", policy_name(knobs)):
        rows = [run_case(Case(held_back, name, seed)).row for seed in range(5)]
        costs[name] = sum(row.pod_seconds + price * row.late for row in rows)
    assert costs[policy_name(knobs)] < costs["kpa"]
