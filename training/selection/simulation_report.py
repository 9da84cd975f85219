"""The table and the plot of simulated rounds: F1 over labels bought, and the gain over random choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import t as student_t

BASELINE = "random"
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Point:
    """The ``f1`` by measure of a strategy's model with ``labels`` labelled reviews of so many ``characters``."""

    strategy: str
    seed: int
    labels: int
    characters: int
    f1: dict[str, float]


@dataclass(frozen=True)
class Curves:
    """One measure: FP64 ``[seeds, sizes]`` by strategy; ``sizes`` in labels. Seeds are those that all have run.

    ``characters`` is the mean length of all that was labelled at each size, by strategy.
    """

    sizes: tuple[int, ...]
    seeds: tuple[int, ...]
    f1: dict[str, NDArray[np.float64]]
    characters: dict[str, NDArray[np.float64]]


def curves_of(points: Sequence[Point], measure: str) -> Curves:
    """Arrange the points of one measure."""
    names = list(dict.fromkeys(point.strategy for point in points))
    sizes = tuple(sorted({point.labels for point in points}))
    found = {(point.strategy, point.seed, point.labels): point for point in points}
    of_strategy = [{point.seed for point in points if point.strategy == name} for name in names]
    seeds = tuple(sorted(set.intersection(*of_strategy)))
    runs = {name: [[found[name, seed, size] for size in sizes] for seed in seeds] for name in names}
    return Curves(
        sizes,
        seeds,
        {name: np.array([[point.f1[measure] for point in run] for run in of]) for name, of in runs.items()},
        {name: np.mean([[point.characters for point in run] for run in of], axis=0) for name, of in runs.items()},
    )


def interval(samples: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean over the first axis, and the half width of its 95 % interval by Student's t (0 for a single sample)."""
    count = len(samples)
    mean = samples.mean(0)
    if count < 2:
        return mean, np.zeros_like(mean)
    half = student_t.ppf((1 + CONFIDENCE) / 2, count - 1) * samples.std(0, ddof=1) / np.sqrt(count)
    return mean, half


def labels_needed(curves: Curves, name: str, at: int) -> float | None:
    """How many random labels give the F1 that ``name`` has at size number ``at``; None where no size of ours does."""
    random, first = np.unique(np.maximum.accumulate(curves.f1[BASELINE].mean(0)), return_index=True)
    wanted = curves.f1[name].mean(0)[at]
    return None if wanted > random[-1] else float(np.interp(wanted, random, np.array(curves.sizes)[first]))


def table(points: Sequence[Point]) -> str:
    """Markdown: for each measure and strategy F1 at three sizes, the gain over random choice, and the cost.

    The gain is over random choice with the same seed, averaged over all sizes but the first, which no strategy has
    chosen yet. Long reviews take longer to label: beside the labels that random choice needs stand the characters.
    """
    lines: list[str] = []
    for measure in points[0].f1:
        curves = curves_of(points, measure)
        middle, last = len(curves.sizes) // 2, len(curves.sizes) - 1
        first, between, final = (f"{curves.sizes[at]:,}" for at in (0, middle, last))
        lines += [
            f"**{measure} F1**, {len(curves.seeds)} seeds",
            "",
            f"| strategy | {first} labels | {between} | {final}, ± sd | gain over random, 95 % "
            f"| characters of the {between} | random needs for their F1 |",
            "|---|---|---|---|---|---|---|",
        ]
        for name, f1 in curves.f1.items():
            means = f1.mean(0)
            spread = f1[:, last].std(ddof=1) if len(f1) > 1 else 0.0
            gain, needed = "", ""
            if name != BASELINE and BASELINE in curves.f1:
                center, half = interval((f1 - curves.f1[BASELINE])[:, 1:].mean(1))
                gain, needed = f"{100 * center:+.2f} ± {100 * half:.2f}", _needed(curves, name, middle)
            lines.append(
                f"| {name} | {means[0]:.3f} | {means[middle]:.3f} | {means[last]:.3f} ± {spread:.3f} | {gain} "
                f"| {curves.characters[name][middle]:,.0f} | {needed} |"
            )
        lines.append("")
    return "\n".join(lines)


def _needed(curves: Curves, name: str, at: int) -> str:
    labels = labels_needed(curves, name, at)
    if labels is None:
        return f"over {curves.sizes[-1]:,} labels"
    return f"{labels:,.0f} labels, {np.interp(labels, curves.sizes, curves.characters[BASELINE]):,.0f} characters"


def plot(points: Sequence[Point], file: Path, title: str) -> None:
    """Draw, for each measure, F1 over labels, and below it the gain over random choice with its 95 % band."""
    measures = list(points[0].f1)
    figure = Figure(figsize=(5.2 * len(measures), 8), layout="constrained")
    figure.suptitle(title)
    panels = figure.subplots(2, len(measures), squeeze=False, sharex=True)
    colors = mpl.color_sequences["tab10"]
    for column, measure in enumerate(measures):
        curves = curves_of(points, measure)
        above, below = panels[:, column]
        for index, (name, f1) in enumerate(curves.f1.items()):
            style = {"color": "black" if name == BASELINE else colors[index % len(colors)]}
            style["linestyle"] = "--" if name == BASELINE else "-"
            mean, half = interval(f1)
            above.plot(curves.sizes, mean, label=name, **style)
            if name in (BASELINE, "mix"):
                above.fill_between(curves.sizes, mean - half, mean + half, color=style["color"], alpha=0.15, lw=0)
            if BASELINE in curves.f1:
                gain, half = interval(100 * (f1 - curves.f1[BASELINE]))
                below.plot(curves.sizes, gain, **style)
                below.fill_between(curves.sizes, gain - half, gain + half, color=style["color"], alpha=0.12, lw=0)
        above.set(title=f"{measure} F1", ylabel="F1")
        below.set(xlabel="labels bought", ylabel="gain over random, points of F1")
        for panel in (above, below):
            panel.grid(alpha=0.3)
    panels[0, 0].legend(fontsize="small")
    file.parent.mkdir(parents=True, exist_ok=True)
    # Without a date and with fixed ids, the same points give the same file.
    with mpl.rc_context({"svg.hashsalt": "selection"}):
        figure.savefig(file, dpi=110, metadata={"Date": None} if file.suffix == ".svg" else None)
