"""A run as one HTML file: verdict, figures, plots; loads nothing from elsewhere; light or dark as the reader has it."""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from loadgen.analysis.columns import columns
from loadgen.analysis.runs import Run
from loadgen.analysis.summary import Spread, Summary
from loadgen.reports import run_plots as plots
from loadgen.reports.text import duration

MOST_CLASSES = 20
HEADINGS = ("", "least", "mean", "p50", "p90", "p95", "p99", "most")


@dataclass(frozen=True, slots=True)
class Line:
    """One condition and what became of it."""

    held: bool
    words: str


def page(run: Run, summary: Summary, lines: Sequence[Line]) -> str:
    """The whole document; lines: SLOs, or a scenario's checks."""
    title = f"loadgen: {run.name}"
    started = datetime.fromtimestamp(run.started_unix_s, UTC)
    about = {"url": run.asked.url, **run.asked.about, **run.asked.plan, "started": f"{started:%Y-%m-%d %H:%M:%S} UTC"}
    known = (f"{name} {value}" for name, value in about.items() if value is not None)
    line = html.escape(" · ".join(known))
    body = "".join(
        (
            f"<h1>{html.escape(title)}</h1><p class=about>{line}</p>",
            _verdict(summary, lines),
            _figures(run, summary),
            _latencies(summary),
            _plots(run),
            _counts("Status of the answers", ("status", "requests"), _status_rows(summary)),
            _counts("Errors", ("error", "requests"), summary.errors.items()),
            _counts("Classes", ("class", "answers"), _most(summary.classes)),
            READING,
        )
    )
    return f"{HEAD.format(title=html.escape(title))}{body}</html>\n"


def _verdict(summary: Summary, lines: Sequence[Line]) -> str:
    reasons = "".join(f"<p>INVALID: {html.escape(reason)}</p>" for reason in summary.invalid)
    items = "".join(f"<li class={'held' if one.held else 'missed'}>{html.escape(one.words)}</li>" for one in lines)
    missed = sum(not one.held for one in lines)
    if summary.invalid:
        kind, words = "invalid", "INVALID: these figures do not count"
    elif missed:
        kind, words = "missed", f"{missed} of {len(lines)} missed"
    elif lines:
        kind, words = "held", f"valid, and {len(lines)} of {len(lines)} held"
    else:
        kind, words = "held", "valid: the generator kept to its schedule"
    return f'<section class="verdict {kind}"><h2>{words}</h2>{reasons}<ul>{items}</ul></section>'


def _figures(run: Run, summary: Summary) -> str:
    duration_s, took_s = run.asked.duration_s, summary.attack_s + summary.wait_s
    planned, achieved_rps = max(1, summary.planned), columns(run.records).achieved_rps(duration_s)
    figures = {
        "answered well": f"{summary.good} of {summary.planned} ({100 * summary.good / planned:.2f} %)",
        f"late (over {run.asked.slo_s:g} s, or not good)": f"{summary.late} ({100 * summary.late / planned:.2f} %)",
        "rate asked": f"{summary.planned / duration_s:.2f}/s" if duration_s else "-",
        "rate achieved": f"{achieved_rps:.2f}/s",
        "good answers": f"{summary.good / took_s:.2f}/s" if took_s else "-",
        "took": f"{duration(took_s)}",
        "bytes out, in": f"{summary.bytes_out:,}, {summary.bytes_in:,}",
    }
    cells = "".join(f"<div><dt>{html.escape(name)}</dt><dd>{value}</dd></div>" for name, value in figures.items())
    return f"<dl class=figures>{cells}</dl>"


def _latencies(summary: Summary) -> str:
    rows = {
        "latency from the intended send": summary.latency,
        "latency from the actual send": summary.from_sent,
        "send lag": summary.lag,
    }
    lines = "".join(_row((name, *_cells(spread))) for name, spread in rows.items())
    return f"<h2>Latency</h2>{_table(HEADINGS, lines)}"


def _cells(spread: Spread) -> tuple[str, ...]:
    values_s = (spread.least_s, spread.mean_s, spread.p50_s, spread.p90_s, spread.p95_s, spread.p99_s, spread.most_s)
    return tuple(duration(value_s) for value_s in values_s)


def _plots(run: Run) -> str:
    seen, duration_s, asked = columns(run.records), run.asked.duration_s, run.asked
    if not seen.planned:
        return "<p>The plan had no request.</p>"
    drawn = {
        "Latency over time, from the intended send": plots.latency_over_time(seen, duration_s, asked.slo_s),
        "Rate asked and achieved": plots.rate_over_time(seen, duration_s),
        "Distribution of the latency": plots.latency_distribution(seen, asked.slo_s),
        "Status over time": plots.statuses_over_time(run.records, duration_s),
        "Send lag": plots.lag_over_time(seen, duration_s, asked.max_lag_ms),
    }
    return "".join(f"<figure><figcaption>{name}</figcaption>{svg}</figure>" for name, svg in drawn.items())


def _status_rows(summary: Summary) -> Iterable[tuple[str, int]]:
    """Those that were never sent have no status either."""
    for status, count in summary.statuses.items():
        yield (str(status) if status else "none: no answer"), count
    if summary.planned > summary.sent:
        yield "none: never sent", summary.planned - summary.sent


def _most(classes: Mapping[str, int]) -> list[tuple[str, int]]:
    """The most frequent ones, and the rest in one row."""
    rows, rest = list(classes.items())[:MOST_CLASSES], list(classes.values())[MOST_CLASSES:]
    return [*rows, (f"{len(rest)} more classes", sum(rest))] if rest else rows


def _counts(title: str, headings: Sequence[str], rows: Iterable[tuple[str, int]]) -> str:
    """A table with a bar for each count; nothing if it is empty."""
    rows = list(rows)
    most = max((count for _, count in rows), default=1)
    lines = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{count}</td>"
        f'<td class=bar><i style="width:{100 * count / most:.1f}%"></i></td></tr>'
        for name, count in rows
    )
    return f"<h2>{title}</h2>{_table((*headings, ''), lines)}" if rows else ""


def _table(headings: Sequence[str], lines: str) -> str:
    head = "".join(f"<th>{heading}</th>" for heading in headings)
    return f"<div class=wide><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>"


def _row(cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"


HEAD = """<!doctype html>
<html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width"><title>{title}</title>
<style>
:root {{ color-scheme: light dark; --line: color-mix(in srgb, currentColor 20%, transparent); }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ margin-bottom: 0; }} h2 {{ margin: 2rem 0 .5rem; font-size: 1.2rem; }}
.about {{ opacity: .75; margin-top: .2rem; overflow-wrap: anywhere; }}
.verdict {{ border-left: .4rem solid; padding: .4rem 1rem; margin: 1rem 0;
  background: color-mix(in srgb, currentColor 6%, transparent); }}
.verdict h2 {{ margin: 0; }} .verdict p {{ margin: .3rem 0; }}
.verdict ul {{ list-style: none; padding: 0; margin: .3rem 0 0; }}
.verdict.held {{ border-color: #009E73; }} .verdict.missed {{ border-color: #E69F00; }}
.verdict.invalid {{ border-color: #D55E00; }}
li.held::before {{ content: "✓ "; }} li.missed::before {{ content: "✗ "; }} li.missed {{ font-weight: 600; }}
.figures {{ display: flex; flex-wrap: wrap; gap: .5rem 2rem; margin: 1rem 0; }}
dt {{ font-size: .85rem; opacity: .75; }} dd {{ margin: 0; font-variant-numeric: tabular-nums; }}
.reading dt {{ font-weight: 600; font-size: 1rem; opacity: 1; }} .reading dd {{ margin: 0 0 .5rem; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .3rem .7rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }}
th:first-child, td:first-child {{ text-align: left; white-space: normal; }}
.bar {{ width: 16rem; }} .bar i {{ display: block; height: .8em; background: #0072B2; border-radius: .2em; }}
figure {{ margin: 1.5rem 0; }} figcaption {{ font-weight: 600; }}
svg {{ width: 100%; height: auto; }}
.wide {{ overflow-x: auto; }}
</style>
"""

READING = """<section class=reading><h2>How to read this</h2><dl>
<dt>from the intended send</dt><dd>A request's latency counts from the moment it was due. If the server stalls, those
that were due meanwhile show it; a tool that waits for answers before it sends again hides it.</dd>
<dt>send lag</dt><dd>How much later than due the generator itself sent. Over the limit, or with under 99.5 % of the
plan sent, the run says more about this machine than about the server: INVALID.</dd>
<dt>late</dt><dd>Planned requests that were not answered well within the SLO, counted from the intended send: slow,
refused, failed and lost alike.</dd>
<dt>latencies</dt><dd>Of the answers, whatever their status. A percentile in an SLO counts a request without a good
answer as one that never ends.</dd></dl></section>
"""
