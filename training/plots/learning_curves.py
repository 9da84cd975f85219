"""The drawing of learning curves, with what more data would buy where a power law is believed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.curves import Point
from training.plots.power_law import Judgement, judge_power_law
from training.plots.style import BLUE, GREY, ORANGE

# How many times the data that there is a law may be asked for.
REACH = (2, 4)


def judge_curves(points: Sequence[Point]) -> dict[str, Judgement]:
    """By the name of a score, whether a power law holds."""
    names = dict.fromkeys(name for point in points for name in point.scores)
    return {name: judge_power_law(*_columns(points, name)) for name in names}


def learning_curve_figure(points: Sequence[Point], judgements: dict[str, Judgement]) -> Figure:
    """A plot for each score over the number of training reviews: seeds, their mean, and the law where there is one."""
    rows, columns = math.ceil(len(judgements) / 2), min(2, len(judgements))
    figure = Figure(figsize=(4.2 * columns, 3.4 * rows))
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, (name, judgement) in zip(grid, judgements.items(), strict=False):
        _draw(axes, name, points, judgement)
    for axes in grid[len(judgements) :]:
        axes.set_visible(False)
    return figure


def foretold(points: Sequence[Point], name: str, judgement: Judgement) -> list[tuple[int, float, float]]:
    """``(reviews, score, doubt)`` for multiples of the largest size; empty without a law."""
    if judgement.law is None:
        return []
    asked = [times * max(_columns(points, name)[0]) for times in REACH]
    return [(reviews, judgement.law.score(reviews), judgement.law.doubt(reviews)) for reviews in asked]


def _columns(points: Sequence[Point], name: str) -> tuple[list[int], list[float]]:
    having = [point for point in points if name in point.scores]
    return [point.reviews for point in having], [point.scores[name] for point in having]


def _draw(axes: Axes, name: str, points: Sequence[Point], judgement: Judgement) -> None:
    sizes, scores = (np.array(column) for column in _columns(points, name))
    distinct = np.unique(sizes)
    axes.plot(sizes, scores, "o", color=GREY, markersize=3.5, label="a seed")
    axes.plot(distinct, [scores[sizes == size].mean() for size in distinct], "-", color=BLUE, label="mean")
    ticks = list(distinct)
    if judgement.law:
        ahead = np.geomspace(distinct[0], REACH[-1] * distinct[-1], 60)
        axes.plot(ahead, [judgement.law.score(size) for size in ahead], "--", color=ORANGE, label="power law")
        for size, score, doubt in foretold(points, name, judgement):
            axes.errorbar(size, score, doubt, fmt="o", color=ORANGE, markersize=4, capsize=2)
            axes.annotate(f"{score:.3f}", (size, score), (-5, 5), textcoords="offset points", ha="right", fontsize=8)
        ticks += [times * distinct[-1] for times in REACH]
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks], rotation=30)
    axes.minorticks_off()
    axes.set(title=name if judgement.law else f"{name} (no power law)", xlabel="training reviews")
    axes.legend(loc="lower right", fontsize=8)
