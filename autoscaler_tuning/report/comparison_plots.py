"""Plots as inline SVG in the text colour of the page, so that they suit a light and a dark page."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from autoscaler_tuning.experiments.frontier import Point
from autoscaler_tuning.experiments.policy_summary import PolicySummary
from autoscaler_tuning.results import FloatArray, PolicyRun

# Okabe and Ito's colours, which colour-blind readers can distinguish, on white and on black.
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("-", "--", ":")
# Placeholder that is replaced by the text colour of the page.
INK = "#123456"
# Above the plot, on the left, where a phone shows it without scrolling.
LEGEND: Mapping[str, Any] = {
    "loc": "lower left",
    "bbox_to_anchor": (0, 1),
    "borderaxespad": 0,
    "frameon": False,
    "labelcolor": INK,
    "ncols": 4,
}
SMOOTHING_S = 3
# Most points of a line over time: with these the page of two sections with three policies has less than 250 kB.
LINE_POINTS = 200
# Below this the axis of late requests is linear, because a logarithmic axis has no 0 %.
LEAST_LATE_PERCENT = 0.01


@dataclass(frozen=True, slots=True)
class Section:
    """Runs on the same arrivals, drawn in the same plots; about describes them."""

    title: str
    about: str
    slo_s: float
    runs: tuple[PolicyRun, ...]


def colour(index: int) -> str:
    """Return the colour of the policy with this index."""
    return COLOURS[index % len(COLOURS)]


def _dash(index: int) -> str:
    return DASHES[index // len(COLOURS) % len(DASHES)]


def course_plot(section: Section) -> str:
    """Return a plot of offered load, pods, queue and latency over time."""
    figure = Figure(figsize=(8, 8))
    load, pods, queue, latency = figure.subplots(4, 1, sharex=True)
    longest = max(section.runs, key=lambda run: len(run.intended_s))
    seconds = np.arange(int(longest.intended_s.max()) + 1)
    load.step(seconds, np.bincount(longest.intended_s.astype(int), minlength=len(seconds)), color=INK, where="post")
    for index, run in enumerate(section.runs):
        times_s = [counts.time_s for counts in run.pods]
        running = [counts.ready_pods + counts.starting_pods for counts in run.pods]
        look = {"color": colour(index), "linestyle": _dash(index), "linewidth": 1.2}
        pods.step(*_step_line(times_s, running), where="post", label=run.row.policy, **look)
        waiting = [np.nan if counts.waiting is None else counts.waiting for counts in run.pods]
        queue.step(*_step_line(times_s, waiting), where="post", **look)
        latency.plot(*_worst_latency(run), **look)
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
    pods.legend(**LEGEND, fontsize=9)
    return _svg(figure)


def frontier_plot(lines: Sequence[PolicySummary], frontiers: Mapping[str, Sequence[Point]]) -> str:
    """Return a plot of late requests over cost: each policy, its efficient settings as a curve, and the lower bound."""
    figure = Figure(figsize=(8, 5))
    axes = figure.subplots()
    for index, line in enumerate(lines):
        curve = sorted((p.pod_seconds, 100 * p.late_ratio) for p in frontiers.get(line.policy, ()) if p.efficient)
        if curve:
            axes.plot(*zip(*curve, strict=True), _dash(index), color=colour(index), marker=".", linewidth=1.2)
        at = (line.pod_seconds.value, 100 * line.late_ratio.value)
        axes.plot(*at, "o", color=colour(index), markersize=9, label=line.policy)
    bounds = sorted((s.milp_bound_pod_seconds, 100 * s.late_ratio.value) for s in lines)
    if np.isfinite([cost for cost, _ in bounds]).all():
        axes.plot(*zip(*bounds, strict=True), ":", color=INK, marker="|", label="clairvoyant bound (MILP)")
    axes.set_xscale("log")
    axes.set_yscale("symlog", linthresh=LEAST_LATE_PERCENT)
    axes.set_ylim(bottom=-LEAST_LATE_PERCENT / 10)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(FuncFormatter(_minor_label))
    axes.yaxis.set_major_formatter("{x:g}")
    _style(axes, "late requests, %")
    axes.set_xlabel("pod-seconds (large dot: the compared setting; curve: other values of its main knob)", color=INK)
    axes.legend(**LEGEND)
    return _svg(figure)


def _minor_label(value: float, _: int | None) -> str:
    """Return the label of a tick between powers of ten; only 2, 3 and 5 get one."""
    return f"{value:g}" if f"{value:e}"[0] in "235" else ""


def _style(axes: Axes, label: str) -> None:
    axes.set_ylabel(label, color=INK)
    axes.set_facecolor("none")
    axes.tick_params(colors=INK, which="both")
    axes.grid(alpha=0.2, color=INK)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)


def _step_line(times_s: Sequence[float], values: Sequence[float]) -> tuple[FloatArray, FloatArray]:
    """Return where a step line changes, and its end; if those are too many points, the highest of each span."""
    at_s, heights = np.array(times_s), np.array(values, dtype=float)
    changes = np.flatnonzero(np.diff(heights, prepend=np.nan, append=np.nan)[:-1] != 0)
    spans = np.array_split(changes, min(len(changes), LINE_POINTS))
    firsts = [span[0] for span in spans]
    highest = [np.fmax.reduce(heights[span]) for span in spans]
    return np.append(at_s[firsts], at_s[-1]), np.append(highest, heights[-1])


def _worst_latency(run: PolicyRun) -> tuple[FloatArray, FloatArray]:
    """Return (middle of each bin of SMOOTHING_S, p95 latency of its requests); nan for a bin without a response."""
    latency_s = run.done_s - run.intended_s
    bins = (run.intended_s // SMOOTHING_S).astype(int)
    at_s = np.arange(bins.max() + 1) * float(SMOOTHING_S) + SMOOTHING_S / 2
    worst_s = np.full(len(at_s), np.nan)
    for index in np.unique(bins):
        responses_s = latency_s[(bins == index) & np.isfinite(latency_s)]
        if len(responses_s):
            worst_s[index] = np.percentile(responses_s, 95)
    return at_s, worst_s


def _svg(figure: Figure) -> str:
    """Return the figure as SVG with text as text; the same figure always gives the same bytes."""
    figure.tight_layout()
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "comparison"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :].replace(INK, "currentColor")
