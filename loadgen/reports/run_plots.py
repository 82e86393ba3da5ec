"""Plots of a run as inline SVG in the text colour of the page."""

import io
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

from loadgen.analysis.columns import Columns, Floats
from loadgen.records import Record

# Okabe and Ito's colours, which colour-blind readers can distinguish on white and on black.
ORANGE, BLUE, GREEN, PINK, YELLOW, SKY = "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
STATUS_COLOURS = {"2": GREEN, "3": SKY, "4": YELLOW, "5": ORANGE, "n": PINK}
# Placeholder in the SVG for the text colour of the page, so that the plots are readable on a dark page.
INK = "#123456"
FEWEST_BINS, MOST_BINS = 15, 150
# Percentiles of the distribution plot, on a scale on which 0.9 is as far from 0.99 as 0.99 is from 0.999.
SHARES = np.concatenate((np.linspace(0, 0.9, 91), 1 - np.logspace(-1, -4, 91)))


def latency_over_time(run: Columns, duration_s: float, slo_s: float) -> str:
    """Plot median, p99 and slowest response of each part of the run, and a cross for each unsuccessful request."""
    figure, axes = _axes("latency, ms", "seconds from the start")
    edges_s, bins = _bins(run.intended_s, duration_s)
    at_s = _middles(edges_s)
    answered = np.isfinite(run.latency_s)
    for share, label, colour in ((1.0, "slowest", SKY), (0.99, "p99", ORANGE), (0.5, "median", BLUE)):
        axes.plot(
            at_s, 1000 * _binned(run.latency_s, bins, answered, at_s.size, share), ".-", color=colour, label=label
        )
    bad_s = run.intended_s[~run.good]
    if bad_s.size:
        height = 1000 * float(np.nanmax(run.latency_s, initial=slo_s))
        sampled_s = bad_s[:: max(1, bad_s.size // 500)]
        axes.plot(sampled_s, np.full(sampled_s.size, height), "x", color=PINK, markersize=4, label="not successful")
    axes.axhline(1000 * slo_s, color=INK, linestyle="--", linewidth=0.8, label=f"SLO {slo_s:g} s")
    _logarithmic(axes)
    return _svg(figure, axes)


def rate_over_time(run: Columns, duration_s: float) -> str:
    """Plot planned, sent and successful requests per second."""
    figure, axes = _axes("requests/s", "seconds from the start")
    edges_s, rates = rates_of_parts(run, duration_s)
    for (label, rates_rps), colour, thickness in zip(rates.items(), (INK, BLUE, GREEN), (3.0, 1.4, 1.4), strict=True):
        alpha = 0.35 if colour == INK else 1.0
        axes.stairs(rates_rps, edges_s, color=colour, linewidth=thickness, alpha=alpha, label=label)
    axes.set_ylim(bottom=0)
    return _svg(figure, axes)


def rates_of_parts(run: Columns, duration_s: float) -> tuple[Floats, dict[str, Floats]]:
    """Return the edges of the parts, and planned, sent and successful requests per second in each.

    Further parts follow the run until the last send and the last successful response.
    """
    edges_s, _ = _bins(run.intended_s, duration_s)
    moments_s = {"planned": run.intended_s, "sent": run.sent_s, "successful": run.done_s[run.good]}
    finite_s = {name: times_s[np.isfinite(times_s)] for name, times_s in moments_s.items()}
    beyond_s = max(float(times_s.max(initial=0.0)) for times_s in finite_s.values()) - edges_s[-1]
    width_s = max(edges_s[1], beyond_s / MOST_BINS)
    further = int(beyond_s / width_s) + 1 if beyond_s > 0 else 0
    edges_s = np.append(edges_s, edges_s[-1] + width_s * np.arange(1, further + 1))
    return edges_s, {name: np.histogram(times_s, edges_s)[0] / np.diff(edges_s) for name, times_s in finite_s.items()}


def latency_distribution(run: Columns, slo_s: float) -> str:
    """Plot latency percentiles from the intended and from the actual send, with the tail stretched."""
    figure, axes = _axes("latency, ms", "percentile of the responses")
    x = -np.log10(1 - SHARES)
    for values_s, label, colour in (
        (run.latency_s, "from the intended send", ORANGE),
        (run.from_sent_s, "from the actual send", BLUE),
    ):
        answered_s = values_s[np.isfinite(values_s)]
        if answered_s.size:
            known = (1 - SHARES) * answered_s.size >= 1
            axes.plot(x[known], 1000 * np.quantile(answered_s, SHARES[known]), color=colour, label=label)
    axes.axhline(1000 * slo_s, color=INK, linestyle="--", linewidth=0.8, label=f"SLO {slo_s:g} s")
    ticks = (0.0, 0.5, 0.9, 0.99, 0.999, 0.9999)
    axes.set_xticks(-np.log10(1 - np.array(ticks)), [f"{100 * tick:g}" for tick in ticks])
    axes.set_xlim(-0.1, 4.1)
    _logarithmic(axes)
    return _svg(figure, axes)


def statuses_over_time(records: Sequence[Record], duration_s: float) -> str:
    """Plot the requests due in each part of the run by response status."""
    figure, axes = _axes("requests", "seconds from the start")
    intended_s = np.array([record.intended_s for record in records])
    names = np.array([str(record.status) if record.status else "none" for record in records])
    edges_s, bins = _bins(intended_s, duration_s)
    at_s, widths_s = _middles(edges_s), np.diff(edges_s)
    below = np.zeros(at_s.size)
    for name in sorted(set(names.tolist())):
        counts = np.bincount(bins[names == name], minlength=at_s.size)
        colour = STATUS_COLOURS.get(name[0], INK)
        axes.bar(at_s, counts, width=widths_s, bottom=below, color=colour, label=f"{name}: {counts.sum()}")
        below += counts
    return _svg(figure, axes)


def lag_over_time(run: Columns, duration_s: float, max_lag_ms: float) -> str:
    """Plot median and largest send lag of each part of the run."""
    figure, axes = _axes("send lag, ms", "seconds from the start")
    edges_s, bins = _bins(run.intended_s, duration_s)
    at_s = _middles(edges_s)
    sent = np.isfinite(run.lag_s)
    for share, label, colour in ((1.0, "largest", SKY), (0.5, "median", BLUE)):
        axes.plot(at_s, 1000 * _binned(run.lag_s, bins, sent, at_s.size, share), ".-", color=colour, label=label)
    axes.axhline(max_lag_ms, color=INK, linestyle="--", linewidth=0.8, label=f"limit for p99, {max_lag_ms:g} ms")
    axes.set_ylim(bottom=0)
    return _svg(figure, axes)


def _bins(intended_s: Floats, duration_s: float) -> tuple[Floats, NDArray[np.int64]]:
    """Divide a run into parts, of whole seconds if it is long; return their edges and each request's part.

    All are equal but the last one, which ends with the run: it is half to one and a half times as long.
    """
    last_s = max(duration_s, float(intended_s.max(initial=0.0)), 0.1)
    width_s = float(np.ceil(last_s / MOST_BINS)) if last_s >= FEWEST_BINS else last_s / FEWEST_BINS
    count = round(last_s / width_s)
    edges_s = np.append(np.arange(count) * width_s, last_s)
    return edges_s, np.minimum(intended_s / width_s, count - 1).astype(np.int64)


def _middles(edges_s: Floats) -> Floats:
    return (edges_s[:-1] + edges_s[1:]) / 2


def _binned(values: Floats, bins: NDArray[np.int64], use: NDArray[np.bool_], count: int, share: float) -> Floats:
    """Return a quantile of each part; nan, which leaves a gap in the line, for a part without values."""
    quantiles = np.full(count, np.nan)
    order = np.argsort(bins[use], kind="stable")
    parts, starts = np.unique(bins[use][order], return_index=True)
    for part, group in zip(parts, np.split(values[use][order], starts[1:]), strict=bool(parts.size)):
        quantiles[part] = np.quantile(group, share)
    return quantiles


def _axes(y_label: str, x_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(9, 2.9))
    # Fixed margins: a layout that measures all text takes as long as drawing.
    figure.subplots_adjust(left=0.075, right=0.98, bottom=0.18, top=0.86)
    axes = figure.subplots()
    axes.set_ylabel(y_label, color=INK)
    axes.set_xlabel(x_label, color=INK)
    axes.set_facecolor("none")
    axes.tick_params(colors=INK, which="both")
    axes.grid(alpha=0.2, color=INK)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)
    axes.set_prop_cycle(markersize=[3.0])
    return figure, axes


def _logarithmic(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _svg(figure: Figure, axes: Axes) -> str:
    handles = axes.get_legend_handles_labels()[0]
    if handles:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False, labelcolor=INK, ncols=6, borderaxespad=0)
    buffer = io.StringIO()
    # Keep text as text: it can be searched, and the page is a third of the size.
    with mpl.rc_context({"svg.fonttype": "none", "font.family": "sans-serif", "svg.hashsalt": "loadgen"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :].replace(INK, "currentColor")
