"""The first start from zero, whose late requests count apart: no policy without the future can avoid them."""

from dataclasses import replace
from math import nan

from autoscaler_tuning.experiments.compare import bound_config
from autoscaler_tuning.results import PolicyRow, PolicyRun
from autoscaler_tuning.simulator.world import SimConfig


def has_first_start(sim: SimConfig) -> bool:
    """Return whether runs begin with a start from zero; not if they begin with pods or are judged from later on."""
    return not sim.initial_pods and not sim.judged_from_s


def late_in_first_start(run: PolicyRun, sim: SimConfig) -> int:
    """Return the late requests that are due until the longest pod start and a tick of KPA after the first request."""
    if not has_first_start(sim):
        return 0
    late = ~(run.done_s - run.intended_s <= sim.slo_s)
    return int((late & (run.intended_s < run.intended_s[0] + bound_config(sim).wake_s)).sum())


def after_first_start(run: PolicyRun, sim: SimConfig) -> PolicyRow:
    """Return the run's row without the late requests of the first start from zero."""
    late = run.row.late - late_in_first_start(run, sim)
    return replace(run.row, late_ratio=late / run.row.requests if run.row.requests else nan)
