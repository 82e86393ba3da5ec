"""SLOs as conditions on a run, such as `p95<0.5s`: parses them, checks them and formats the verdicts."""

import math
import operator
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from loadgen.analysis.columns import Columns, Floats, quantile
from loadgen.analysis.runs import RunSettings

COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_EXPRESSION = re.compile(r"([A-Za-z][A-Za-z0-9.-]*)\s*(<=|>=|<|>)\s*([0-9]*\.?[0-9]+)\s*([a-zµ%/]*)")
_PERCENTILE = re.compile(r"p([0-9]{1,2}(?:\.[0-9]+)?)")


Figure = Callable[[Columns, RunSettings], float]


class GateError(ValueError):
    """An invalid SLO; the text contains the rule and the value."""


class Unit(StrEnum):
    """The unit of a figure; the value describes it in error messages."""

    TIME = "a time such as 0.5s or 500ms"
    RATIO = "a share such as 0.1% or 0.001"
    RATE = "requests per second such as 100/s"


# The factor of each suffix. A time needs a suffix, because k6 reads 500 as milliseconds and other tools as seconds.
SUFFIXES: dict[Unit, dict[str, float]] = {
    Unit.TIME: {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6},
    Unit.RATIO: {"%": 0.01, "": 1.0},
    Unit.RATE: {"/s": 1.0, "rps": 1.0, "": 1.0},
}


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of a run, its unit and how it is measured."""

    unit: Unit
    measure: Figure


@dataclass(frozen=True, slots=True)
class Gate:
    """One condition, as written and as parsed; bound: in seconds, as a share from 0 to 1, or per second."""

    text: str
    name: str
    metric: Metric
    comparison: str
    bound: float

    @property
    def share(self) -> float | None:
        """Return the percentile as a share from 0 to 1, or None if the metric is not a percentile."""
        return _share(self.name)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a gate; value: nan if there was nothing to measure."""

    gate: Gate
    value: float
    held: bool
    note: str = ""

    @property
    def short(self) -> str:
        """Return the name and value of the figure."""
        return f"{self.gate.name} {self._figure}"

    @property
    def line(self) -> str:
        """Return the verdict as a line of a report."""
        return f"SLO {self.gate.text}: {'held' if self.held else 'MISSED'}: {self._figure}"

    @property
    def _figure(self) -> str:
        note = f" ({self.note})" if self.note else ""
        return format_figure(self.value, self.gate.metric) + note


def _over_successful(reduce: Callable[[Floats], float]) -> Figure:
    """Reduce the latencies of successful requests only; the others have none that could be averaged."""
    return lambda run, _: reduce(run.latency_s[run.good]) if run.good.any() else math.nan


def _late_ratio(run: Columns, settings: RunSettings) -> float:
    return float((run.slo_latency_s > settings.slo_s).mean()) if run.planned else math.nan


def _error_ratio(run: Columns, _: RunSettings) -> float:
    return 1 - float(run.good.mean()) if run.planned else math.nan


def _throughput_rps(run: Columns, _: RunSettings) -> float:
    return float(run.good.sum()) / run.took_s if run.took_s else math.nan


METRICS: dict[str, Metric] = {
    "min": Metric(Unit.TIME, _over_successful(lambda latency_s: float(latency_s.min()))),
    "mean": Metric(Unit.TIME, _over_successful(lambda latency_s: float(latency_s.mean()))),
    "max": Metric(Unit.TIME, _over_successful(lambda latency_s: float(latency_s.max()))),
    "errors": Metric(Unit.RATIO, _error_ratio),
    "success": Metric(Unit.RATIO, lambda run, settings: 1 - _error_ratio(run, settings)),
    "late": Metric(Unit.RATIO, _late_ratio),
    "rate": Metric(Unit.RATE, lambda run, settings: run.achieved_rps(settings.duration_s)),
    "throughput": Metric(Unit.RATE, _throughput_rps),
}


def parse_gate(text: str) -> Gate:
    """Parse `METRIC COMPARISON BOUND`; raise GateError if that is not possible."""
    match = _EXPRESSION.fullmatch(text.strip())
    if not match:
        raise GateError(
            f"must be a metric, one of {' '.join(COMPARISONS)} and a bound, such as 'p95<0.5s', got {text!r}"
        )
    name, comparison, number, suffix = match[1].lower(), match[2], match[3], match[4].lower()
    metric = _metric(name)
    if suffix not in SUFFIXES[metric.unit]:
        raise GateError(f"the bound of {name} must be {metric.unit}, got {(number + suffix)!r}")
    bound = float(number) * SUFFIXES[metric.unit][suffix]
    if metric.unit is Unit.RATIO and bound > 1:
        raise GateError(f"the bound of {name} must be at most 100%, got {(number + suffix)!r}")
    return Gate(text.strip(), name, metric, comparison, bound)


def _metric(name: str) -> Metric:
    share = _share(name)
    if share is not None and 0 < share < 1:
        return Metric(Unit.TIME, lambda run, _: quantile(run.slo_latency_s, share))
    if name not in METRICS:
        raise GateError(
            f"metric must be a percentile such as p50 or p99.9, or one of {' '.join(METRICS)}, got {name!r}"
        )
    return METRICS[name]


def _share(name: str) -> float | None:
    match = _PERCENTILE.fullmatch(name)
    return float(match[1]) / 100 if match else None


def check(gates: Sequence[Gate], run: Columns, settings: RunSettings) -> tuple[Verdict, ...]:
    """Check every gate in turn; a gate with nothing to measure is missed.

    A percentile counts unsuccessful requests as infinitely slow, so that a server cannot pass by failing fast.
    """
    return tuple(_check(gate, run, settings) for gate in gates)


def _check(gate: Gate, run: Columns, settings: RunSettings) -> Verdict:
    value = gate.metric.measure(run, settings)
    held = COMPARISONS[gate.comparison](value, gate.bound)
    bad = run.planned - int(run.good.sum())
    if math.isinf(value) or (gate.name in ("errors", "success") and bad):
        return Verdict(gate, value, held, f"{bad} of {run.planned} requests were not successful")
    if gate.name == "late" and run.planned:
        return Verdict(gate, value, held, f"over {settings.slo_s:g} s or not successful")
    return Verdict(gate, value, held)


def format_figure(value: float, metric: Metric) -> str:
    """Format a figure with its unit."""
    if math.isnan(value):
        return "nothing to measure"
    if math.isinf(value):
        return "infinite"
    return {
        Unit.TIME: lambda: f"{value:.4g} s",
        Unit.RATIO: lambda: f"{100 * value:.3g} %",
        Unit.RATE: lambda: f"{value:.4g}/s",
    }[metric.unit]()


class EarlyVerdict:
    """Detects during a run that a gate will be missed, whatever the outcome of the remaining requests.

    Only gates that count requests against an upper bound can be decided early: percentiles, errors, late.
    """

    def __init__(self, gates: Sequence[Gate], planned: int, slo_s: float) -> None:
        self._limits_s = [_limit_s(gate, slo_s) for gate in gates]
        self._left = [_allowed(gate, planned) for gate in gates]
        self._gates = gates
        self.missed: Gate | None = None

    def done(self, latency_s: float) -> None:
        """Count a finished request; latency_s: infinite if it was not successful."""
        for index, limit_s in enumerate(self._limits_s):
            if latency_s > limit_s:
                self._left[index] -= 1
                if self._left[index] < 0 and self.missed is None:
                    self.missed = self._gates[index]


def _limit_s(gate: Gate, slo_s: float) -> float:
    """Return the latency above which a request counts against the gate."""
    return {"errors": sys.float_info.max, "late": slo_s}.get(gate.name, gate.bound)


def _allowed(gate: Gate, planned: int) -> float:
    """Return how many planned requests may exceed the bound without the gate being missed."""
    if not gate.comparison.startswith("<"):
        return math.inf
    if gate.share is not None:  # with one more, both order statistics that quantile() reads exceed the bound
        return planned - 1 - math.floor((planned - 1) * gate.share)
    return gate.bound * planned if gate.name in ("errors", "late") else math.inf
