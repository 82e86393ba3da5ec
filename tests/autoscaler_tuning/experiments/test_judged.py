"""A run that is judged from the middle on: the policy observes the earlier traffic, which counts for nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autoscaler_tuning.commands.cmd_goals import _trace_until_end_of_part
from autoscaler_tuning.commands.trace_parts import part
from autoscaler_tuning.experiments.compare import simulated_run
from autoscaler_tuning.experiments.reaction import jumps
from autoscaler_tuning.policies.registry import policy_named
from autoscaler_tuning.simulator.world import SimConfig
from loadgen.workload.arrivals import arrival_times

COUNTS = [5] * 40 + [30] * 40
ARRIVALS_S = np.asarray(arrival_times(COUNTS, "count", 0))
SIM = SimConfig(initial_pods=1)


@pytest.mark.parametrize("policy", ["kpa", "elastic"])
def test_the_row_covers_the_judged_part_and_the_run_covers_everything(policy: str) -> None:
    whole = simulated_run(policy_named(policy), ARRIVALS_S, SIM, 0)
    end = simulated_run(policy_named(policy), ARRIVALS_S, replace(SIM, judged_from_s=40.0), 0)
    assert end.done_s.tolist() == whole.done_s.tolist()
    assert end.row.requests == sum(COUNTS[40:])
    late = np.count_nonzero(~(end.done_s - ARRIVALS_S <= 0.5) & (ARRIVALS_S >= 40.0))
    assert end.row.late == late
    assert 0 < end.row.pod_seconds < whole.row.pod_seconds
    assert end.row.until_s == whole.row.until_s - 40.0


def test_pods_from_before_count_from_the_start_of_the_judged_part() -> None:
    pinned = SimConfig(initial_pods=3, max_pods=3, judged_from_s=40.0)
    row = simulated_run(policy_named("kpa[min-scale=3]"), ARRIVALS_S[ARRIVALS_S < 60.0], pinned, 0).row
    assert row.pod_seconds == pytest.approx(3 * row.until_s)
    assert row.cold_starts == 0


def test_a_rate_jump_before_the_judged_part_does_not_count() -> None:
    assert [second for second, _ in jumps(COUNTS)] == [40]
    assert jumps(COUNTS, 41) == []


def test_goals_replays_the_traffic_before_the_part(tmp_path: Path) -> None:
    trace = tmp_path / "trace.txt"
    trace.write_text(" ".join(map(str, COUNTS)))
    found, from_s = _trace_until_end_of_part(trace, part("30:60"))
    assert (list(found.counts), from_s) == (COUNTS[:60], 30)
