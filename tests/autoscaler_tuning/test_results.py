"""The definitions of late, lost and the latency percentiles in a row of the report."""

import numpy as np
import pytest

from autoscaler_tuning.results import Cost, summarise

COST = Cost(12.0, 1.0, 3)


def test_slow_and_unanswered_requests_are_late_and_only_unanswered_ones_are_lost() -> None:
    done_s = np.array([0.2, 1.5, 2.6, np.nan])
    row = summarise("kpa", "simulated", np.array([0.0, 1.0, 2.0, 3.0]), done_s, 0.5, COST)
    assert (row.requests, row.late_ratio, row.lost) == (4, 0.5, 1)  # exactly 0.5 s is within the SLO
    assert row.p50_s == pytest.approx(0.5)
    assert (row.pod_seconds, row.terminating_pod_seconds, row.cold_starts) == (12.0, 1.0, 3)


def test_without_a_successful_response_the_percentiles_are_nan() -> None:
    row = summarise("kpa", "live", np.array([0.0]), np.array([np.nan]), 0.5, COST)
    assert (row.late_ratio, row.lost) == (1.0, 1)
    assert np.isnan(row.p99_s)


def test_without_requests_the_late_ratio_is_zero() -> None:
    assert summarise("kpa", "live", np.empty(0), np.empty(0), 0.5, COST).late_ratio == 0.0
