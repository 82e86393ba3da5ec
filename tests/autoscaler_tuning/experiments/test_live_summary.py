"""Live runs: medians of the valid ones, late requests after the first start, and the prediction beside each run."""

from dataclasses import replace
from math import isnan, nan

import numpy as np
import pytest

from autoscaler_tuning.experiments.live_summary import (
    LiveRow,
    MedianRange,
    Predicted,
    error_ratio,
    live_row,
    medians,
    predicted,
)
from autoscaler_tuning.report.live_tables import MEDIANS_TITLE, PREDICTED_TITLE, live_tables
from autoscaler_tuning.results import Cost, LiveFacts, PolicyRun, summarise


def live_run(pod_seconds: float = 100.0, run: int = 0, policy: str = "kpa", notes: tuple[str, ...] = ()) -> PolicyRun:
    """Return a run of ten requests, one a second: the first four wait for a pod that is ready at 4 s."""
    intended_s = np.arange(10.0)
    done_s = np.where(intended_s < 4, 4.5, intended_s + 0.1)
    done_s[9] = nan
    row = summarise(policy, "knative", intended_s, done_s, 0.5, Cost(pod_seconds, 0.0, 2))
    facts = LiveFacts(("ingress", "queue-proxy"), 4.0, (3.0, 4.0), 0)
    return PolicyRun(replace(row, seed=run, notes=notes), intended_s, done_s, (), live=facts)


def row(pod_seconds: float = 100.0, notes: tuple[str, ...] = (), found: Predicted | None = None) -> LiveRow:
    return live_row(live_run(pod_seconds, notes=notes), 0.5, found)


def test_late_requests_of_the_first_start_are_told_from_later_ones() -> None:
    found = row()
    assert found.late_ratio == pytest.approx(0.5)  # 0 to 3 s waited, the last one was lost
    assert found.late_after_start_ratio == pytest.approx(1 / 4)  # of 6 to 9 s
    assert found.start_s == 3.5


def test_without_a_ready_pod_no_request_was_due_after_the_start() -> None:
    run = replace(live_run(), live=LiveFacts())
    assert isnan(live_row(run, 0.5, None).late_after_start_ratio)


def test_medians_and_spread_leave_out_invalid_runs_but_count_what_they_lost() -> None:
    rows = [row(100), row(140), row(120), row(900, notes=("INVALID: send lag",))]
    (line,) = medians(rows)
    assert line.pod_seconds == MedianRange(120, 100, 140)
    assert (line.runs, line.valid_runs, line.lost) == (4, 3, 4)


def test_a_caveat_does_not_make_a_run_invalid() -> None:
    assert row(notes=("60 s is shorter than the policy's 300 s window",)).valid
    assert not row(notes=("a caveat", "INVALID: send lag")).valid


def test_without_a_valid_run_the_figures_of_all_are_shown_and_marked() -> None:
    rows = [row(notes=("INVALID: send lag",))]
    (line,) = medians(rows)
    assert line.pod_seconds.median == 100
    assert "0 of 1 valid" in live_tables(rows, [line])[MEDIANS_TITLE].text()


def test_a_prediction_is_the_median_of_its_simulations() -> None:
    rows = [live_run(pod_seconds).row for pod_seconds in (90.0, 110.0, 500.0)]
    assert predicted(rows).pod_seconds == 110.0


def test_the_error_is_relative_to_the_live_run() -> None:
    assert error_ratio(110.0, 100.0) == pytest.approx(0.1)
    assert isnan(error_ratio(1.0, 0.0))


def test_the_table_shows_the_prediction_and_its_error_beside_each_run() -> None:
    rows = [row(100.0, found=Predicted(0.6, 0.2, 110.0)), replace(row(), policy="hpa70")]
    table = live_tables(rows, medians(rows))[PREDICTED_TITLE]
    first, second = (dict(zip(table.headings[-3:], line[-3:], strict=True)) for line in table.lines)
    assert first == {"pod-s": "100", "simulated": "110", "error %": "+10.0"}
    assert second == {"pod-s": "100", "simulated": "–", "error %": "–"}
    assert table.lines[0][2:5] == ("50.00", "60.00", "+10.00")


def test_without_any_prediction_there_is_no_table_of_it() -> None:
    assert list(live_tables([row()], medians([row()]))) == [MEDIANS_TITLE]
