"""The table of `advise`."""

from collections.abc import Sequence
from math import isnan

from autoscaler_tuning.experiments.advise import Advice
from autoscaler_tuning.experiments.estimates import Estimate
from autoscaler_tuning.report.tables import NONE, Table, figure

HEADINGS = (
    *("setting", "late %", "95 %", "late per hour", "pod-s per hour", "95 %", "per month", "bound pod-s per hour"),
    "× bound",
)


def advice_table(found: Sequence[Advice]) -> Table:
    """Return a table with one line for each setting."""
    return Table(HEADINGS, tuple(map(_cells, found)))


def _cells(one: Advice) -> tuple[str, ...]:
    late, cost = one.late_ratio, one.pod_seconds_per_hour
    ratio = cost.value / one.bound_per_hour if one.bound_per_hour > 0 else float("nan")
    return (
        *(one.policy, figure(100 * late.value, 2), _range(late, 2, 100), figure(one.late_per_hour, 1)),
        *(figure(cost.value), _range(cost), figure(one.money_per_month, 2), figure(one.bound_per_hour)),
        figure(ratio, 2),
    )


def _range(estimate: Estimate, digits: int = 0, factor: float = 1) -> str:
    if isnan(estimate.low):
        return NONE
    return f"{figure(factor * estimate.low, digits)}–{figure(factor * estimate.high, digits)}"
