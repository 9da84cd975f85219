"""Drawings of a model's diagnostics. Each returns a figure and holds no text of a review."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from training.plots.diagnostics import Confusion, KeywordCurve, Reliability
from training.plots.style import BLUE, GREY, ORANGE

COLUMNS = 5


def confusion_figure(confusion: Confusion, title: str) -> Figure:
    """True sentiments by row, predicted by column: the share of the row, and the count below it."""
    size = len(confusion.names)
    figure = Figure(figsize=(1.8 + 0.85 * size, 1.5 + 0.75 * size))
    axes = figure.subplots()
    axes.imshow(confusion.shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.grid(visible=False)
    axes.set_xticks(range(size), confusion.names)
    axes.set_yticks(range(size), confusion.names)
    axes.set(xlabel="predicted", ylabel="true")
    figure.suptitle(title, fontsize=9)
    for row in range(size):
        for column in range(size):
            share, count = confusion.shares[row, column], confusion.counts[row, column]
            color = "white" if share > 0.55 else "black"
            axes.text(column, row, f"{share:.0%}\n{count}", ha="center", va="center", color=color)
    return figure


def precision_recall_figure(curves: Sequence[KeywordCurve], title: str) -> Figure:
    """A small plot for each keyword: the curve, and the point of the threshold that is used."""
    rows = math.ceil(len(curves) / COLUMNS)
    figure = Figure(figsize=(2.5 * COLUMNS, 2.3 * rows + 0.5))
    figure.suptitle(title)
    grid = list(figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False).flat)
    for axes, curve in zip(grid, curves, strict=False):
        axes.plot(curve.recall, curve.precision, drawstyle="steps-post", color=BLUE)
        axes.plot(curve.recall_at, curve.precision_at, "o", color=ORANGE, markersize=5, clip_on=False, zorder=3)
        axes.set_title(f"{curve.keyword} (n = {curve.support})")
        told = (
            f"threshold {curve.threshold:.2f}",
            f"P {curve.precision_at:.2f}  R {curve.recall_at:.2f}",
            f"AP {curve.average_precision:.3f}",
        )
        axes.text(0.04, 0.05, "\n".join(told), transform=axes.transAxes, fontsize=8)
    for axes in grid[len(curves) :]:
        axes.set_visible(False)
    for axes in grid[max(0, len(curves) - COLUMNS) : len(curves)]:
        axes.tick_params(labelbottom=True)  # the last of its column, if not of the last row
    grid[0].set(xlim=(0, 1.02), ylim=(0, 1.02), xticks=(0, 0.5, 1))
    figure.supxlabel("recall")
    figure.supylabel("precision")
    return figure


def reliability_figure(parts: Mapping[str, Reliability], title: str) -> Figure:
    """A reliability diagram for each part, with the sizes of its bins below."""
    figure = Figure(figsize=(4.2 * len(parts), 5.2))
    figure.suptitle(title)
    grid = figure.subplots(2, len(parts), sharex=True, squeeze=False, height_ratios=(3, 1))
    for column, (name, part) in enumerate(parts.items()):
        upper, lower = grid[:, column]
        _diagonal(upper)
        upper.plot(part.told, part.happened, "o-", color=BLUE, markersize=4)
        upper.set(ylim=(0, 1.02), title=name, ylabel="share that is so")
        error = f"expected calibration error {part.expected_calibration_error:.3f}"
        upper.text(0.97, 0.05, error, transform=upper.transAxes, ha="right")
        lower.bar(part.told, part.counts, width=0.05, color=GREY)
        lower.set(yscale="log", xlim=(0, 1.02), xlabel="probability told", ylabel="pairs")
        lower.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        lower.minorticks_off()
    return figure


def _diagonal(axes: Axes) -> None:
    axes.plot((0, 1), (0, 1), "--", color=GREY, linewidth=1)
