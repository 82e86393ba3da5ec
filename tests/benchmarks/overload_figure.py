"""The figure of goodput under overload: bench-overload-light.svg and bench-overload-dark.svg."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Curves = Mapping[str, Mapping[str, Sequence[float]]]  # title of the load, contender: goodput ratio of each second

# Okabe and Ito's colours, which are distinct to colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
INKS = {"light": ("#1f2328", "#8c959f"), "dark": ("#e6edf3", "#6e7681")}
SMOOTHED_S = 5


def draw(curves: Curves, folder: Path) -> None:
    """Write the figure for a light and a dark background."""
    for theme, (ink, faint) in INKS.items():
        inked: Any = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), ink)
        with mpl.rc_context({"svg.hashsalt": "overload", "font.size": 9, **inked}):
            figure = Figure(figsize=(8.0, 5.2), layout="constrained")
            for axes, (title, runs) in zip(figure.subplots(len(curves), 1, squeeze=False)[:, 0], curves.items(), strict=True):  # fmt: skip
                panel(axes, title, runs, faint)
            handles, labels = figure.axes[0].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
            figure.savefig(folder / f"bench-overload-{theme}.svg", transparent=True, metadata={"Date": None})


def panel(axes: Axes, title: str, runs: Mapping[str, Sequence[float]], faint: str) -> None:
    """Draw the goodput of all contenders under one load, averaged over a few seconds."""
    for colour, (name, ratios) in zip(COLOURS, runs.items(), strict=True):
        width = min(SMOOTHED_S, len(ratios))
        means = np.convolve(ratios, np.full(width, 1 / width), mode="valid")
        axes.plot(np.arange(len(means)) + width / 2, means, color=colour, label=name, linewidth=1.4)
    axes.axhline(1.0, color=faint, linewidth=0.8, linestyle=":")
    axes.set(title=title, xlabel="seconds", ylabel="in time / capacity", ylim=(-0.03, 1.25))
    axes.spines[["top", "right"]].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(faint)
