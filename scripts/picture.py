"""Draw the figures of the README and of docs/autoscaling.md from simulations of workload.txt.

Run `make picture`. It writes docs/images/*-light.svg and *-dark.svg and prints the table that the README shows. The
same code and the same seeds give the same bytes. Ten seeds with their bounds take a few minutes on two cores.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from autoscaler_tuning.experiments.compare import Comparison, compare  # noqa: E402  the path is set above
from autoscaler_tuning.experiments.policy_summary import PolicySummary, summaries  # noqa: E402
from autoscaler_tuning.results import PolicyRun  # noqa: E402
from autoscaler_tuning.simulator.world import SimConfig  # noqa: E402
from loadgen.workload.workload import read_workload  # noqa: E402

# KPA with our queue too, which shows what the order of the requests is worth without our scaling.
POLICIES = ("kpa", "kpa@deadline", "hpa70", "elastic")
NAMES = {
    "kpa": "KPA (Knative)",
    "kpa@deadline": "KPA with our queue",
    "hpa70": "HPA at 70 % CPU",
    "elastic": "elastic (ours)",
}
WORLD = SimConfig(service_time_s=0.1, cold_start_s=(2.0, 6.0), slo_s=0.5, initial_pods=0, max_pods=40)
PRICES = (4, 10, 25, 60, 120, 250, 600)
TARGETS = (30, 40, 50, 60, 70, 80, 90, 100)
# The steps of workload.txt: from 5 requests a second to 20, then to 28.
JUMP_S = (100, 200)
# GitHub shows a README about 800 px wide.
WIDTH_IN, DPI = 8.0, 100


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of one background. Okabe and Ito's colours are distinct to colour-blind readers on both."""

    name: str
    ink: str
    faint: str
    colours: dict[str, str]


LIGHT = Theme(
    "light",
    "#1f2328",
    "#8c959f",
    {"kpa": "#D55E00", "kpa@deadline": "#CC79A7", "hpa70": "#7f8790", "elastic": "#0072B2"},
)
DARK = Theme(
    "dark",
    "#e6edf3",
    "#6e7681",
    {"kpa": "#E69F00", "kpa@deadline": "#CC79A7", "hpa70": "#8b949e", "elastic": "#56B4E9"},
)


def comparison(workload: Path, bounded: bool) -> Comparison:
    """Return the simulated comparison that all figures are drawn from."""
    return Comparison(read_workload(workload).counts, WORLD, bounds=("milp",) if bounded else ())


def table(lines: Sequence[PolicySummary]) -> str:
    """Return the README's table."""
    rows = [
        "| Policy | Late, % of requests | Pod-seconds | Times the lower bound |",
        "|---|---:|---:|---:|",
    ]
    for line in lines:
        late = 100 * line.late_ratio.value
        half_late = 100 * (line.late_ratio.high - line.late_ratio.value)
        half_cost = line.pod_seconds.high - line.pod_seconds.value
        rows.append(
            f"| {NAMES[line.policy]} | {late:.2f} ± {half_late:.2f} | {line.pod_seconds.value:,.0f} ± {half_cost:,.0f} "
            f"| {line.ratio_to_bound:.1f} |"
        )
    return "\n".join(rows)


def kept(lines: Sequence[PolicySummary], runs: Sequence[PolicyRun]) -> str:
    """Return what the picture shows, as JSON for the SVG's description: tests compare it with README and simulator."""
    first = {run.row.policy: [run.row.late, round(run.row.pod_seconds, 3)] for run in runs if run.row.seed == 0}
    return json.dumps({"table": table(lines).splitlines(), "seed 0, late and pod-seconds": first})


def result_figure(lines: Sequence[PolicySummary], theme: Theme) -> Figure:
    """Return two panels: late requests and pod-seconds of each policy, with 95 % intervals."""
    figure = Figure(figsize=(WIDTH_IN, 3.0))
    late, cost = figure.subplots(1, 2, sharey=True)
    _bars(late, theme, lines, lambda line: [100 * v for v in _interval(line.late_ratio)], "{:.2f} %")
    _bars(cost, theme, lines, lambda line: _interval(line.pod_seconds), "{:,.0f}")
    bounds = [line.milp_bound_pod_seconds for line in lines]
    if np.isfinite(bounds).all():
        for place, bound in enumerate(bounds):
            cost.plot([bound, bound], [place - 0.38, place + 0.38], color=theme.ink, linewidth=2)
        cost.annotate(
            "black line: lower bound" if theme is LIGHT else "white line: lower bound",
            (0.98, 0.06),
            xycoords="axes fraction",
            ha="right",
            color=theme.ink,
            fontsize=9,
        )
    late.set_yticks(range(len(lines)), [NAMES[line.policy] for line in lines])
    late.invert_yaxis()
    late.set_title("Late requests, % of all", color=theme.ink, fontsize=11, loc="left")
    cost.set_title("Cost, pod-seconds", color=theme.ink, fontsize=11, loc="left")
    cost.xaxis.set_major_formatter("{x:,.0f}")
    cost.xaxis.set_major_locator(MaxNLocator(5))
    late.xaxis.set_major_locator(MaxNLocator(5))
    for axes in (late, cost):
        axes.tick_params(axis="y", length=0, labelsize=10)
        axes.grid(visible=False, axis="y")
    cost.tick_params(labelleft=False)
    return figure


def _interval(estimate: object) -> list[float]:
    return [getattr(estimate, name) for name in ("value", "low", "high")]


def _bars(
    axes: Axes,
    theme: Theme,
    lines: Sequence[PolicySummary],
    values: Callable[[PolicySummary], list[float]],
    text: str,
) -> None:
    highest = max(values(line)[2] for line in lines)
    for place, line in enumerate(lines):
        value, low, high = values(line)
        axes.barh(place, value, height=0.6, color=theme.colours[line.policy])
        axes.plot([max(0, low), high], [place, place], color=theme.ink, linewidth=1)
        axes.annotate(
            text.format(value), (high, place), (6, 0), textcoords="offset points", va="center", color=theme.ink
        )
    axes.set_xlim(0, 1.28 * highest)
    _style(axes, theme)


def timeline_figure(runs: Sequence[PolicyRun], theme: Theme, span_s: tuple[int, int], jump: bool) -> Figure:
    """Return arrivals, pods and (for a jump) waiting requests over time, of KPA and elastic on one seed."""
    figure = Figure(figsize=(WIDTH_IN, 5.6 if jump else 4.2))
    panels = figure.subplots(3 if jump else 2, 1, sharex=True, height_ratios=(1, 2, 1) if jump else (1, 2))
    arrivals, pods = panels[0], panels[1]
    seconds = np.arange(*span_s)
    counts = np.bincount(runs[0].intended_s.astype(int), minlength=span_s[1] + 1)
    arrivals.step(seconds, counts[span_s[0] : span_s[1]], where="post", color=theme.ink, linewidth=1)
    for run in (run for run in runs if run.row.policy in ("kpa", "elastic")):
        colour, name = theme.colours[run.row.policy], NAMES[run.row.policy]
        times_s = [count.time_s for count in run.pods]
        ready = [count.ready_pods for count in run.pods]
        pods.step(times_s, ready, where="post", color=colour, linewidth=1.6, label=f"{name}: ready")
        if jump:
            wishes = [(0.0, 1), *run.wanted_pods, (float(span_s[1]), run.wanted_pods[-1][1])]
            wanted = {"linestyle": (0, (2, 1)), "linewidth": 1.2, "label": f"{name}: wanted"}
            pods.step(*zip(*wishes, strict=True), where="post", color=colour, **wanted)
            waiting = [count.waiting for count in run.pods]
            panels[2].step(times_s, waiting, where="post", color=colour, linewidth=1.4)
    labels = ("Arrivals,\nrequests/s", "Pods", "Requests\nwaiting")
    for axes, label in zip(panels, labels, strict=False):
        axes.set_ylabel(label, color=theme.ink)
        axes.set_xlim(*span_s)
        axes.set_ylim(bottom=0)
        _style(axes, theme)
    if jump:
        drawn = [run.wanted_pods for run in runs if run.row.policy in ("kpa", "elastic")]
        inside = [max(seen for at, seen in wishes if span_s[0] <= at <= span_s[1]) for wishes in drawn]
        pods.set_ylim(0, 1.08 * max(inside))
    _legend(pods, theme, 2)
    panels[-1].set_xlabel("Seconds from the start", color=theme.ink)
    return figure


def price_figure(lines: Sequence[PolicySummary], theme: Theme) -> Figure:
    """Return late requests over pod-seconds: elastic by its price of a late answer, KPA by its target utilization."""
    figure = Figure(figsize=(WIDTH_IN, 4.4))
    axes = figure.subplots()
    knobs = (("elastic", PRICES, "late_price"), ("kpa", TARGETS, "target-utilization-percentage"))
    for policy, values, knob in knobs:
        points = [line for line in lines if line.policy.startswith(policy)]
        costs = [line.pod_seconds.value for line in points]
        lates = [100 * line.late_ratio.value for line in points]
        # KPA's points follow no order, because the phase of its clock matters more than its target: no line joins them
        look = "o-" if policy == "elastic" else "D"
        axes.plot(costs, lates, look, color=theme.colours[policy], label=f"{NAMES[policy]}, by {knob}", linewidth=1.2)
        for value, cost, late in zip(values, costs, lates, strict=True):
            place, angle, side = ((8, -3), 0, "left") if policy == "kpa" else ((3, -7), 75, "right")
            style = {"fontsize": 8, "color": theme.ink, "rotation": angle, "rotation_mode": "anchor", "ha": side}
            axes.annotate(f"{value}", (cost, late), place, textcoords="offset points", **style)
    axes.set_xlabel("Cost, pod-seconds", color=theme.ink)
    axes.set_ylabel("Late requests, % of all", color=theme.ink)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.margins(0.08, 0.12)
    _style(axes, theme)
    _legend(axes, theme, 2)
    return figure


def _style(axes: Axes, theme: Theme) -> None:
    axes.set_facecolor("none")
    axes.tick_params(colors=theme.ink, labelsize=9)
    axes.set_axisbelow(True)
    axes.grid(color=theme.faint, alpha=0.3, linewidth=0.6)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(theme.faint)


def _legend(axes: Axes, theme: Theme, columns: int) -> None:
    place = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncols": columns}
    axes.legend(frameon=False, labelcolor=theme.ink, fontsize=9, **place)


def save(out: Path, name: str, draw: Callable[[Theme], Figure], description: str) -> None:
    """Write NAME-light.svg and NAME-dark.svg, the same bytes for the same figure."""
    for theme in (LIGHT, DARK):
        figure = draw(theme)
        figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.08)
        metadata = {"Date": None, "Creator": "scripts/picture.py", "Description": description}
        with mpl.rc_context({"svg.hashsalt": name}):
            path = out / f"{name}-{theme.name}.svg"
            figure.savefig(path, format="svg", dpi=DPI, transparent=True, metadata=metadata)
        # matplotlib ends many lines with a space
        path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")


def main() -> int:
    """Simulate, draw and print the README's table."""
    parser = argparse.ArgumentParser(description="draw the figures of README.md and docs/autoscaling.md")
    parser.add_argument("--workload", type=Path, default=ROOT / "workload.txt", help="requests per second")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/images", help="folder of the SVG files")
    parser.add_argument("--seeds", type=int, default=10, help="number of simulations of each policy")
    parser.add_argument(
        "--no-bounds", action="store_true", help="leave out the lower bound, which takes most of the time"
    )
    args = parser.parse_args()

    def note(text: str) -> None:
        print(text, file=sys.stderr)

    runs = compare(comparison(args.workload, not args.no_bounds), POLICIES, args.seeds, note)
    lines = summaries([run.row for run in runs])
    first = [run for run in runs if run.row.seed == 0]
    end_s = int(first[0].intended_s.max()) + 1
    knobs = [f"elastic[late_price={price}]" for price in PRICES]
    knobs += [f"kpa[target-utilization-percentage={target}]" for target in TARGETS]
    priced = summaries([run.row for run in compare(comparison(args.workload, False), knobs, args.seeds, note)])
    save(args.out, "result", lambda theme: result_figure(lines, theme), kept(lines, runs))
    save(args.out, "timeline", lambda theme: timeline_figure(first, theme, (0, end_s), False), "seed 0")
    jump_s = (min(JUMP_S[0], end_s // 2), min(JUMP_S[1], end_s))
    save(args.out, "jump", lambda theme: timeline_figure(first, theme, jump_s, True), "seed 0")
    save(args.out, "price", lambda theme: price_figure(priced, theme), f"{args.seeds} seeds")
    print(table(lines))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
