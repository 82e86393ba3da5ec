"""The comparison as one HTML file with its plots inside; it needs nothing else, light or dark."""

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from autoscaler_tuning.experiments.frontier import Point
from autoscaler_tuning.experiments.policy_summary import Paired, PolicySummary
from autoscaler_tuning.report.comparison_plots import Section, colour, course_plot, frontier_plot
from autoscaler_tuning.report.tables import Table, frontier_table, paired_table, rows_table, summary_table
from autoscaler_tuning.results import PolicyRow


@dataclass(frozen=True, slots=True)
class Report:
    """All that a comparison found; course holds the runs of one seed."""

    about: str
    rows: tuple[PolicyRow, ...]
    summaries: tuple[PolicySummary, ...]
    paired: tuple[Paired, ...]
    frontiers: Mapping[str, Sequence[Point]]
    course: Section


def html_page(title: str, sections: Sequence[Section]) -> str:
    """Runs by sections, each with its table and its course over time."""
    return _page(title, "".join(map(_section, sections)))


def comparison_page(title: str, report: Report) -> str:
    """Means over the seeds, late answers over cost, pairs, the course of one seed, and each row."""
    parts = [
        f"<section><p>{html.escape(report.about)}</p>",
        _table(summary_table(report.summaries), colour),
        "</section><section><h2>Late answers over cost</h2>",
        frontier_plot(report.summaries, report.frontiers),
        _details("Every setting of the knobs", frontier_table(report.frontiers)) if report.frontiers else "",
        "</section>",
    ]
    if report.paired:
        parts += [
            f"<section><h2>{html.escape(report.paired[0].ours)} against the others, seed by seed</h2>",
            "<p>Its late answers and pod-seconds over theirs on the same arrivals, with 95 % intervals; below 1 it has "
            "less. “in seeds”: in how many of them it has less.</p>",
            _table(paired_table(report.paired)),
            "</section>",
        ]
    parts += [_section(report.course), f"<section>{_details('Every row', rows_table(report.rows))}</section>"]
    return _page(title, "".join(parts))


def _section(section: Section) -> str:
    runs = rows_table([run.row for run in section.runs])
    return (
        f"<section><h2>{html.escape(section.title)}</h2><p>{html.escape(section.about)}</p>"
        f"{_table(runs, colour)}{course_plot(section)}</section>"
    )


def _details(title: str, table: Table) -> str:
    return f"<details><summary>{html.escape(title)}</summary>{_table(table)}</details>"


def _table(table: Table, colour_of: Callable[[int], str] | None = None) -> str:
    head = "".join(f"<th>{html.escape(heading)}</th>" for heading in table.headings)
    lines = []
    for index, line in enumerate(table.lines):
        chip = f'<i style="background:{colour_of(index)}"></i>' if colour_of else ""
        first, *others = (html.escape(cell) for cell in line)
        lines.append(f"<tr><td>{chip}{first}</td>{''.join(f'<td>{cell}</td>' for cell in others)}</tr>")
        notes = table.notes[index] if table.notes else ()
        lines += [f"<tr><td class=note colspan={len(line)}>{html.escape(note)}</td></tr>" for note in notes]
    return f"<div class=wide><table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"


def _page(title: str, body: str) -> str:
    return PAGE.format(title=html.escape(title), body=body)


PAGE = """<!doctype html>
<html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width"><title>{title}</title>
<style>
:root {{ color-scheme: light dark; --line: color-mix(in srgb, currentColor 20%, transparent); }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 80rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .85rem; }}
th, td {{ padding: .3rem .5rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }}
th:first-child, td:first-child {{ text-align: left; }}
td.note {{ opacity: .75; white-space: normal; }}
td i {{ display: inline-block; width: .8em; height: .8em; margin-right: .5em; border-radius: .2em; }}
svg {{ width: 100%; height: auto; }}
svg text {{ font-family: system-ui, sans-serif !important; }}
.wide {{ overflow-x: auto; }}
summary {{ cursor: pointer; margin: .5rem 0; }}
dt {{ font-weight: 600; }}
</style>
<h1>{title}</h1>
{body}
<section><h2>How to read this</h2><dl>
<dt>late %</dt><dd>Planned requests not answered well within the SLO, counted from the moment they were meant to be
sent: slow, refused, failed and lost alike. ±: half of the 95 % interval over the seeds.</dd>
<dt>lost</dt><dd>Planned requests that got no good answer at all, over all seeds.</dd>
<dt>p50, p95, p99</dt><dd>Latency of the good answers, from the intended send.</dd>
<dt>pod-s</dt><dd>Integral over time of pods that were ready or starting: what you pay for. Terminating ones stand in
the column “ending”.</dd>
<dt>starts</dt><dd>Pods started.</dd>
<dt>react s</dt><dd>Mean time from a jump of the arrival rate to the first decision for more pods.</dd>
<dt>LP bound, MILP bound, × bound</dt><dd>Pod-seconds that no policy can undercut which has as many late answers, even
if it knows every arrival in advance; the second in whole pods that change on a grid. × bound: pod-s over
the second.</dd>
<dt>per 1000</dt><dd>Price of the pod-seconds of a thousand answers in time.</dd></dl></section></html>
"""
