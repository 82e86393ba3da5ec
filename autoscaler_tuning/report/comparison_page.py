"""The comparison as one HTML file with its plots inside, readable on a light and on a dark screen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autoscaler_tuning.experiments.frontier import Point
from autoscaler_tuning.experiments.policy_summary import Paired, PolicySummary
from autoscaler_tuning.report.comparison_plots import Section, colour, course_plot, frontier_plot
from autoscaler_tuning.report.headline import Headline
from autoscaler_tuning.report.tables import Table, frontier_table, paired_table, rows_table, summary_table
from autoscaler_tuning.results import PolicyRow


@dataclass(frozen=True, slots=True)
class Report:
    """All results of a comparison; course holds the runs of one seed; live: tables of live runs by their titles."""

    about: str
    rows: tuple[PolicyRow, ...]
    summaries: tuple[PolicySummary, ...]
    paired: tuple[Paired, ...]
    frontiers: Mapping[str, Sequence[Point]]
    course: Section
    headline: Headline
    live: Mapping[str, Table] = field(default_factory=dict)


def html_page(title: str, headline: Headline, sections: Sequence[Section]) -> str:
    """Return a page with the answer, then one section after the other, each with its course over time and its table."""
    return _page("runs.html.j2", title=title, headline=headline, sections=[_course(section) for section in sections])


def comparison_page(title: str, report: Report) -> str:
    """Return a page of a whole comparison.

    It shows the answer in words, late requests over cost, the means over the seeds, the pairs, the course of one seed,
    and each row.
    """
    return _page(
        "comparison.html.j2",
        title=title,
        headline=report.headline,
        about=report.about,
        summary=summary_table(report.summaries),
        colours=_colours(len(report.summaries)),
        frontier_plot=frontier_plot(report.summaries, report.frontiers),
        frontiers=frontier_table(report.frontiers) if report.frontiers else None,
        paired=paired_table(report.paired) if report.paired else None,
        reference=report.paired[0].ours if report.paired else None,
        live=report.live,
        section=_course(report.course),
        rows=rows_table(report.rows),
    )


@dataclass(frozen=True, slots=True)
class _Course:
    """A section as its template shows it; plot is SVG."""

    title: str
    about: str
    table: Table
    colours: tuple[str, ...]
    plot: str


def _course(section: Section) -> _Course:
    table = rows_table([run.row for run in section.runs])
    return _Course(section.title, section.about, table, _colours(len(section.runs)), course_plot(section))


def _colours(count: int) -> tuple[str, ...]:
    return tuple(map(colour, range(count)))


def _page(template: str, **values: Any) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415  a controller renders no page

    environment = Environment(
        loader=PackageLoader("autoscaler_tuning.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)
