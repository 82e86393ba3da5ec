"""Comparison of two runs: which changes are significant."""

import math
from dataclasses import replace

import numpy as np
import pytest

from loadgen.analysis.columns import Columns, columns
from loadgen.analysis.run_diff import Change, DiffError, FigureDiff, RunDiff, compare, same_plan
from tests.loadgen.runs import good, queue, refused, run


def seen(seed: int, service_s: float = 0.02, seconds: int = 120) -> Columns:
    return columns(queue(seed, service_s, seconds).records)


def slower(run: Columns, by_s: float, every: int = 1) -> Columns:
    """Return the run with by_s added to the latency of every n-th response."""
    done_s = run.done_s.copy()
    done_s[::every] += by_s
    return replace(run, done_s=done_s)


def compared(before: Columns, after: Columns) -> RunDiff:
    return compare(before, after, slo_s=0.5, rng=np.random.default_rng(0))


def row(comparison: RunDiff, name: str) -> FigureDiff:
    return next(row for row in comparison.rows if row.name == name)


def test_a_run_has_no_change_from_itself() -> None:
    same = compared(seen(1), seen(1))
    assert same.verdict is Change.SAME
    assert all(row.low == row.high == 0 for row in same.rows)


@pytest.mark.parametrize("pair", range(5))
def test_two_runs_of_the_same_server_have_no_significant_change(pair: int) -> None:
    assert compared(seen(2 * pair), seen(2 * pair + 1)).verdict is Change.SAME


def test_a_slower_server_is_worse_and_a_faster_one_better() -> None:
    assert compared(seen(1), seen(2, service_s=0.04)).verdict is Change.WORSE
    assert compared(seen(2, service_s=0.04), seen(1)).verdict is Change.BETTER


def test_a_slow_tail_changes_only_the_high_percentiles() -> None:
    found = compared(seen(1), slower(seen(1), by_s=1.0, every=50))
    assert (row(found, "p50").change, row(found, "p99").change) == (Change.SAME, Change.WORSE)
    assert (row(found, "late").change, found.verdict) == (Change.WORSE, Change.WORSE)


def test_the_interval_contains_the_true_difference() -> None:
    found = row(compared(seen(1), slower(seen(2), by_s=0.05)), "p50")
    assert found.low < 0.05 < found.high
    assert found.low > 0


def test_runs_of_the_same_plan_are_paired_which_narrows_the_interval() -> None:
    before, after = seen(1), slower(seen(1), by_s=0.01)
    apart = replace(after, intended_s=after.intended_s + 1e-9)
    assert same_plan(before, after)
    assert not same_plan(before, apart)
    paired, unpaired = compared(before, after), compared(before, apart)
    assert (paired.paired, unpaired.paired) == (True, False)
    narrow, wide = row(paired, "mean"), row(unpaired, "mean")
    assert narrow.high - narrow.low < 0.1 * (wide.high - wide.low)


def test_a_significant_but_tiny_change_is_reported_as_no_change() -> None:
    tiny = row(compared(seen(1), slower(seen(1), by_s=1e-4)), "p95")
    assert tiny.low > 0
    assert tiny.change is Change.SAME


def test_more_errors_are_worse_even_if_other_requests_are_faster() -> None:
    steady = run(*(good(index / 10, 0.2) for index in range(1000)))
    failing = run(*(refused(index / 10) if index % 10 == 0 else good(index / 10, 0.1) for index in range(1000)))
    found = compared(columns(steady.records), columns(failing.records))
    assert row(found, "mean").change is Change.BETTER
    assert row(found, "errors").change is Change.WORSE
    assert found.verdict is Change.WORSE


def test_an_infinite_percentile_is_left_out_with_the_reason() -> None:
    failing = run(*(refused(index / 10) if index % 10 == 0 else good(index / 10, 0.1) for index in range(1000)))
    found = compared(columns(failing.records), columns(failing.records))
    assert [row.name for row in found.rows] == ["mean", "p50", "late", "errors"]
    assert "p95: more than 5 % of the requests were not successful" in found.left_out
    assert not any(math.isnan(value) for row in found.rows for value in (row.low, row.high))


def test_a_percentile_with_too_few_requests_beyond_it_is_left_out_with_the_reason() -> None:
    found = compared(seen(1, seconds=50), seen(2, seconds=50))
    assert [row.name for row in found.rows] == ["mean", "p50", "p95", "p99", "late", "errors"]
    assert found.left_out == ("p99.9: fewer than 10 requests beyond it",)


def test_the_confidence_is_corrected_for_the_number_of_figures() -> None:
    assert compared(seen(1), seen(2)).confidence == pytest.approx(1 - 0.05 / 6)


def test_a_run_of_a_few_seconds_is_refused() -> None:
    with pytest.raises(DiffError, match=r"a run must last at least 5 s, got 2\.9"):
        compared(seen(1), seen(2, seconds=3))


def test_the_result_depends_only_on_the_generator_passed_in() -> None:
    assert compared(seen(1), seen(2)) == compared(seen(1), seen(2))
