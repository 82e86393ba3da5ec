"""The comparison as a text table and as one HTML file with its plots inside."""

import html
import io
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from autoscaler_tuning.results import FloatArray, Row, Run

# Okabe and Ito's colours: told apart by every kind of eye, on white and on black.
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# Stands in the SVG for the page's own text colour, so that the plots follow a dark page.
INK = "#123456"
SMOOTHING_S = 3

HEADINGS = ("policy", "target", "requests", "late %", "lost", "p50 s", "p95 s", "p99 s", "pod-s", "ending", "starts")


@dataclass(frozen=True, slots=True)
class Section:
    """Runs on the same arrivals, to be drawn over each other; about says what they were."""

    title: str
    about: str
    slo_s: float
    runs: tuple[Run, ...]


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.policy,
        row.target,
        str(row.requests),
        f"{100 * row.late_ratio:.2f}",
        str(row.lost),
        f"{row.p50_s:.3f}",
        f"{row.p95_s:.3f}",
        f"{row.p99_s:.3f}",
        f"{row.pod_seconds:.0f}",
        f"{row.terminating_pod_seconds:.0f}",
        str(row.cold_starts),
    )


def text_table(rows: Sequence[Row]) -> str:
    """Right-aligned columns, and each row's notes below it."""
    table = [HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(HEADINGS))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in table]
    out = [lines[0], "-" * len(lines[0])]
    for row, line in zip(rows, lines[1:], strict=True):
        out.append(line)
        out += [f"{'':{widths[0]}}  ^ {note}" for note in row.notes]
    return "\n".join(out)


def rows_as_dicts(rows: Sequence[Row]) -> list[dict[str, object]]:
    """For JSON and CSV."""
    return [{field.name: getattr(row, field.name) for field in fields(Row)} for row in rows]


def html_page(title: str, sections: Sequence[Section]) -> str:
    """One self-contained page; light or dark as the reader's system has it."""
    body = "".join(_section_html(section) for section in sections)
    return PAGE.format(title=html.escape(title), body=body)


def _section_html(section: Section) -> str:
    head = "".join(f"<th>{html.escape(heading)}</th>" for heading in HEADINGS)
    lines = "".join(_row_html(run.row, colour) for run, colour in zip(section.runs, _colours(section), strict=True))
    return (
        f"<section><h2>{html.escape(section.title)}</h2><p>{html.escape(section.about)}</p>"
        f"<div class=wide><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>"
        f"{_plots(section)}</section>"
    )


def _row_html(row: Row, colour: str) -> str:
    first, *others = (html.escape(cell) for cell in _cells(row))
    cells = "".join(f"<td>{cell}</td>" for cell in others)
    notes = "".join(f"<tr><td class=note colspan={len(HEADINGS)}>{html.escape(note)}</td></tr>" for note in row.notes)
    return f'<tr><td><i style="background:{colour}"></i>{first}</td>{cells}</tr>{notes}'


def _colours(section: Section) -> list[str]:
    return [COLOURS[index % len(COLOURS)] for index in range(len(section.runs))]


def _plots(section: Section) -> str:
    """Offered load, pods, queue and latency over time as inline SVG."""
    figure = Figure(figsize=(10, 9))
    load, pods, queue, latency = figure.subplots(4, 1, sharex=True)
    longest = max(section.runs, key=lambda run: len(run.intended_s))
    seconds = np.arange(int(longest.intended_s.max()) + 1)
    load.step(seconds, np.bincount(longest.intended_s.astype(int), minlength=len(seconds)), color=INK, where="post")
    for run, colour in zip(section.runs, _colours(section), strict=True):
        times_s = [counts.time_s for counts in run.pods]
        alive = [counts.ready_pods + counts.starting_pods for counts in run.pods]
        pods.step(times_s, alive, color=colour, where="post", label=run.row.policy)
        queue.step(times_s, [counts.waiting for counts in run.pods], color=colour, where="post")
        at_s, worst_s = _worst_latency(run)
        latency.plot(at_s, worst_s, color=colour)
    latency.axhline(section.slo_s, color=INK, linestyle="--", linewidth=0.8)
    latency.set_yscale("log")
    latency.yaxis.set_major_formatter("{x:g}")
    latency.yaxis.set_minor_formatter(NullFormatter())
    labels = (
        "offered load\nrequests/s",
        "pods\nready + starting",
        "queue\nrequests waiting",
        f"p95 latency, s\n(dashed: {section.slo_s:g} s)",
    )
    for axes, label in zip((load, pods, queue, latency), labels, strict=True):
        _style(axes, label)
    latency.set_xlabel("seconds from the start", color=INK)
    pods.legend(loc="upper left", frameon=False, labelcolor=INK, ncols=len(section.runs))
    return _svg(figure)


def _style(axes: Axes, label: str) -> None:
    axes.set_ylabel(label, color=INK)
    axes.set_facecolor("none")
    axes.tick_params(colors=INK)
    axes.grid(alpha=0.2, color=INK)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)


def _worst_latency(run: Run) -> tuple[FloatArray, FloatArray]:
    """95th percentile of the latency of the requests intended within each few seconds; gaps where there were none."""
    latency_s = run.done_s - run.intended_s
    bins = (run.intended_s // SMOOTHING_S).astype(int)
    at_s = np.arange(bins.max() + 1) * float(SMOOTHING_S) + SMOOTHING_S / 2
    worst_s = np.full(len(at_s), np.nan)
    for index in np.unique(bins):
        answered_s = latency_s[(bins == index) & np.isfinite(latency_s)]
        if len(answered_s):
            worst_s[index] = np.percentile(answered_s, 95)
    return at_s, worst_s


def _svg(figure: Figure) -> str:
    figure.tight_layout()
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :].replace(INK, "currentColor")


PAGE = """<!doctype html>
<html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width"><title>{title}</title>
<style>
:root {{ color-scheme: light dark; --line: color-mix(in srgb, currentColor 20%, transparent); }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .3rem .7rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }}
th:first-child, td:first-child {{ text-align: left; }}
td.note {{ font-size: .85rem; opacity: .75; white-space: normal; }}
td i {{ display: inline-block; width: .8em; height: .8em; margin-right: .5em; border-radius: .2em; }}
svg {{ width: 100%; height: auto; }}
.wide {{ overflow-x: auto; }}
dt {{ font-weight: 600; }}
</style>
<h1>{title}</h1>
{body}
<section><h2>How to read this</h2><dl>
<dt>late %</dt><dd>Planned requests not answered well within the SLO, counted from the moment they were meant to be
sent: slow, refused, failed and lost alike.</dd>
<dt>lost</dt><dd>Planned requests that got no good answer at all.</dd>
<dt>p50, p95, p99</dt><dd>Latency of the good answers, from the intended send.</dd>
<dt>pod-s</dt><dd>Integral over time of pods that were ready or starting: what you pay for. Terminating ones stand in
the column “ending”.</dd>
<dt>starts</dt><dd>Pods started.</dd></dl></section></html>
"""
