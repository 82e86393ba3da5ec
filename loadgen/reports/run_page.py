"""A run as one HTML file with its verdict, figures and plots; light or dark as the reader's system is set.

The file loads nothing from elsewhere. Its template is templates/run_page.html.j2.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from loadgen.analysis.columns import columns
from loadgen.analysis.runs import Run
from loadgen.analysis.summary import Spread, Summary
from loadgen.reports import run_plots as plots
from loadgen.reports.text import duration
from loadgen.reports.vegeta import rates

MOST_CLASSES = 20


@dataclass(frozen=True, slots=True)
class ConditionLine:
    """An SLO or a check, and whether the run met it."""

    held: bool
    text: str


@dataclass(frozen=True, slots=True)
class _Verdict:
    """The heading of the page; kind: a class of the style sheet."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class _Row:
    """How many requests had this status, error or class."""

    name: str
    count: int


@dataclass(frozen=True, slots=True)
class _Table:
    """A table with a bar for each count; the page leaves out one without rows."""

    title: str
    unit: str
    rows: tuple[_Row, ...]

    @property
    def most(self) -> int:
        """Return the largest count, which has the longest bar."""
        return max((row.count for row in self.rows), default=1)


def page(run: Run, summary: Summary, conditions: Sequence[ConditionLine]) -> str:
    """Return the document; conditions: SLOs, or the checks of a scenario."""
    environment = Environment(
        loader=PackageLoader("loadgen.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("run_page.html.j2").render(
        title=f"loadgen: {run.name}",
        about=_about(run),
        verdict=_verdict(summary, conditions),
        invalid=summary.invalid,
        conditions=conditions,
        figures=_figures(run, summary),
        latencies={
            "latency from the intended send": _durations(summary.latency),
            "latency from the actual send": _durations(summary.from_sent),
            "send lag": _durations(summary.lag),
        },
        plots={name: Markup(svg) for name, svg in _plots(run).items()},
        tables=(
            _Table("Status of the responses", "status", tuple(_status_rows(summary))),
            _Table("Errors", "error", _rows(summary.errors)),
            _Table("Classes", "class", _most_frequent(_rows(summary.classes))),
        ),
    )


def _about(run: Run) -> str:
    started = datetime.fromtimestamp(run.started_unix_s, UTC)
    about = {"url": run.settings.url, **run.settings.about, **run.settings.plan}
    about["started"] = f"{started:%Y-%m-%d %H:%M:%S} UTC"
    return " · ".join(f"{name} {value}" for name, value in about.items() if value is not None)


def _verdict(summary: Summary, conditions: Sequence[ConditionLine]) -> _Verdict:
    missed = sum(not one.held for one in conditions)
    if summary.invalid:
        return _Verdict("invalid", "INVALID: do not use these figures")
    if missed:
        return _Verdict("missed", f"{missed} of {len(conditions)} missed")
    if conditions:
        return _Verdict("held", f"valid, {len(conditions)} of {len(conditions)} held")
    return _Verdict("held", "valid: the generator kept to its schedule")


def _figures(run: Run, summary: Summary) -> dict[str, str]:
    duration_s, took_s = run.settings.duration_s, summary.attack_s + summary.wait_s
    planned, achieved_rps = max(1, summary.planned), columns(run.records).achieved_rps(duration_s)
    return {
        "successful": f"{summary.good} of {summary.planned} ({100 * summary.good / planned:.2f} %)",
        f"late (over {run.settings.slo_s:g} s or not successful)": (
            f"{summary.late} ({100 * summary.late / planned:.2f} %)"
        ),
        "planned rate": f"{summary.planned / duration_s:.2f}/s" if duration_s else "-",
        "achieved rate": f"{achieved_rps:.2f}/s",
        "throughput": f"{rates(run)[1]:.2f}/s" if took_s else "-",
        "duration": duration(took_s),
        "bytes out, in": f"{summary.bytes_out:,}, {summary.bytes_in:,}",
    }


def _durations(spread: Spread) -> tuple[str, ...]:
    values_s = (spread.least_s, spread.mean_s, spread.p50_s, spread.p90_s, spread.p95_s, spread.p99_s, spread.most_s)
    return tuple(duration(value_s) for value_s in values_s)


def _plots(run: Run) -> dict[str, str]:
    data, settings = columns(run.records), run.settings
    if not data.planned:
        return {}
    return {
        "Latency over time, from the intended send": plots.latency_over_time(data, settings.duration_s, settings.slo_s),
        "Planned and achieved rate": plots.rate_over_time(data, settings.duration_s),
        "Latency distribution": plots.latency_distribution(data, settings.slo_s),
        "Status over time": plots.statuses_over_time(run.records, settings.duration_s),
        "Send lag": plots.lag_over_time(data, settings.duration_s, settings.max_lag_ms),
    }


def _status_rows(summary: Summary) -> Iterable[_Row]:
    """Count the statuses; requests without a response and unsent requests have none and get a row each."""
    for status, count in summary.statuses.items():
        yield _Row(str(status) if status else "none: no response", count)
    if unsent := summary.planned - sum(summary.statuses.values()):
        yield _Row("none: never sent", unsent)


def _rows(counts: dict[str, int]) -> tuple[_Row, ...]:
    return tuple(_Row(name, count) for name, count in counts.items())


def _most_frequent(rows: Sequence[_Row]) -> tuple[_Row, ...]:
    """Keep the first rows and sum up the others in one."""
    first, others = tuple(rows[:MOST_CLASSES]), rows[MOST_CLASSES:]
    return (*first, _Row(f"{len(others)} more classes", sum(row.count for row in others))) if others else first
