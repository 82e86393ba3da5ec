"""SLOs as conditions on a run, such as `p95<0.5s`: parsed, checked, and said in a line each."""

import math
import operator
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from loadgen.analysis.columns import Columns, Floats, quantile
from loadgen.analysis.runs import Asked

COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_EXPRESSION = re.compile(r"([A-Za-z][A-Za-z0-9.-]*)\s*(<=|>=|<|>)\s*([0-9]*\.?[0-9]+)\s*([a-zµ%/]*)")
_PERCENTILE = re.compile(r"p([0-9]{1,2}(?:\.[0-9]+)?)")


Figure = Callable[[Columns, Asked], float]


class GateError(ValueError):
    """No such SLO; the text has the rule and what was given."""


class Unit(StrEnum):
    """What a figure is measured in."""

    TIME = "a time such as 0.5s or 500ms"
    RATIO = "a share such as 0.1% or 0.001"
    RATE = "requests per second such as 100/s"


# What each suffix multiplies by. A time without one is refused: k6 reads 500 as milliseconds, others as seconds.
SUFFIXES: dict[Unit, dict[str, float]] = {
    Unit.TIME: {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6},
    Unit.RATIO: {"%": 0.01, "": 1.0},
    Unit.RATE: {"/s": 1.0, "rps": 1.0, "": 1.0},
}


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of a run, which was asked for something."""

    unit: Unit
    of: Figure


@dataclass(frozen=True, slots=True)
class Gate:
    """One condition, as the user wrote it and as it is checked; bound in seconds, as a share of 1, or per second."""

    text: str
    name: str
    metric: Metric
    comparison: str
    bound: float

    @property
    def share(self) -> float | None:
        """0 to 1 if it is about a percentile."""
        return _share(self.name)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a gate; value is nan where there was nothing to measure."""

    gate: Gate
    value: float
    held: bool
    note: str = ""

    @property
    def short(self) -> str:
        """The figure and what it is of."""
        note = f" ({self.note})" if self.note else ""
        return f"{self.gate.name} {shown(self.value, self.gate.metric)}{note}"

    @property
    def line(self) -> str:
        """For people and logs."""
        note = f" ({self.note})" if self.note else ""
        return f"SLO {self.gate.text}: {'held' if self.held else 'MISSED'}: {shown(self.value, self.gate.metric)}{note}"


def _of_answers(reduce: Callable[[Floats], float]) -> Figure:
    """Over good answers only: one that never came has no mean."""
    return lambda run, _: reduce(run.latency_s[run.good]) if run.good.any() else math.nan


def _late_ratio(run: Columns, asked: Asked) -> float:
    return float((run.useful_s > asked.slo_s).mean()) if run.planned else math.nan


def _error_ratio(run: Columns, _: Asked) -> float:
    return 1 - float(run.good.mean()) if run.planned else math.nan


def _throughput_rps(run: Columns, _: Asked) -> float:
    return float(run.good.sum()) / run.took_s if run.took_s else math.nan


METRICS: dict[str, Metric] = {
    "min": Metric(Unit.TIME, _of_answers(lambda latency_s: float(latency_s.min()))),
    "mean": Metric(Unit.TIME, _of_answers(lambda latency_s: float(latency_s.mean()))),
    "max": Metric(Unit.TIME, _of_answers(lambda latency_s: float(latency_s.max()))),
    "errors": Metric(Unit.RATIO, _error_ratio),
    "success": Metric(Unit.RATIO, lambda run, asked: 1 - _error_ratio(run, asked)),
    "late": Metric(Unit.RATIO, _late_ratio),
    "rate": Metric(Unit.RATE, lambda run, asked: run.achieved_rps(asked.duration_s)),
    "throughput": Metric(Unit.RATE, _throughput_rps),
}


def parse_gate(text: str) -> Gate:
    """`METRIC COMPARISON BOUND`; raises GateError."""
    found = _EXPRESSION.fullmatch(text.strip())
    if not found:
        raise GateError(f"must be METRIC, one of {' '.join(COMPARISONS)}, and a bound, as in 'p95<0.5s', was {text!r}")
    name, comparison, number, suffix = found[1].lower(), found[2], found[3], found[4].lower()
    metric = _metric(name)
    if suffix not in SUFFIXES[metric.unit]:
        raise GateError(f"{name} is compared with {metric.unit}, was {(number + suffix)!r}")
    bound = float(number) * SUFFIXES[metric.unit][suffix]
    if metric.unit is Unit.RATIO and bound > 1:
        raise GateError(f"{name} is a share, at most 100%, was {(number + suffix)!r}")
    return Gate(text.strip(), name, metric, comparison, bound)


def _metric(name: str) -> Metric:
    share = _share(name)
    if share is not None and 0 < share < 1:
        return Metric(Unit.TIME, lambda run, _: quantile(run.useful_s, share))
    if name not in METRICS:
        raise GateError(f"metric must be one of p50 p95 p99 p99.9 (any above 0) {' '.join(METRICS)}, was {name!r}")
    return METRICS[name]


def _share(name: str) -> float | None:
    found = _PERCENTILE.fullmatch(name)
    return float(found[1]) / 100 if found else None


def check(gates: Sequence[Gate], run: Columns, asked: Asked) -> tuple[Verdict, ...]:
    """Every gate in turn. A percentile counts requests without a good answer as infinitely slow, so that a server
    cannot pass by failing fast; nothing measured is missed."""
    return tuple(_check(gate, run, asked) for gate in gates)


def _check(gate: Gate, run: Columns, asked: Asked) -> Verdict:
    value = gate.metric.of(run, asked)
    held = COMPARISONS[gate.comparison](value, gate.bound)
    bad = run.planned - int(run.good.sum())
    if math.isinf(value) or (gate.name in ("errors", "success") and bad):
        return Verdict(gate, value, held, f"{bad} of {run.planned} got no good answer")
    if gate.name == "late" and run.planned:
        return Verdict(gate, value, held, f"over {asked.slo_s:g} s or no good answer")
    return Verdict(gate, value, held)


def shown(value: float, metric: Metric) -> str:
    """A figure with its unit."""
    if math.isnan(value):
        return "nothing to measure"
    if math.isinf(value):
        return "no end"
    return {
        Unit.TIME: lambda: f"{value:.4g} s",
        Unit.RATIO: lambda: f"{100 * value:.3g} %",
        Unit.RATE: lambda: f"{value:.4g}/s",
    }[metric.unit]()


class EarlyVerdict:
    """Tells during a run when a gate must be missed, whatever the rest of the run brings.

    Only gates that count requests against an upper bound can be lost early: percentiles, errors, late.
    """

    def __init__(self, gates: Sequence[Gate], planned: int, slo_s: float) -> None:
        self._limits_s = [_limit_s(gate, slo_s) for gate in gates]
        self._left = [_allowed(gate, planned) for gate in gates]
        self._gates = gates
        self.lost: Gate | None = None

    def done(self, latency_s: float) -> None:
        """One more request came to its end; infinite without a good answer."""
        for index, limit_s in enumerate(self._limits_s):
            if latency_s > limit_s:
                self._left[index] -= 1
                if self._left[index] < 0 and self.lost is None:
                    self.lost = self._gates[index]


def _limit_s(gate: Gate, slo_s: float) -> float:
    """Latency above which a request counts against the gate."""
    return {"errors": sys.float_info.max, "late": slo_s}.get(gate.name, gate.bound)


def _allowed(gate: Gate, planned: int) -> float:
    """Requests out of the plan that may be worse than the bound with the gate still held."""
    if not gate.comparison.startswith("<"):
        return math.inf
    if gate.share is not None:  # one more, and both order statistics that quantile() reads are over the bound
        return planned - 1 - math.floor((planned - 1) * gate.share)
    return gate.bound * planned if gate.name in ("errors", "late") else math.inf
