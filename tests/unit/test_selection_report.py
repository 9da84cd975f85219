"""The report of a simulation: gains, their intervals, and the plot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.selection.simulation_report import Point, curves_of, interval, labels_needed, plot, table

# By strategy, F1 at 100, 200 and 300 labels with seed 1; seed 2 is 0.02 higher throughout.
F1 = {"random": (0.5, 0.6, 0.7), "mix": (0.5, 0.65, 0.72)}
POINTS = [
    Point(
        name, seed, 100 * place, 4000 * place * (2 if name == "mix" else 1), {"keyword micro": f1 + 0.02 * (seed - 1)}
    )
    for name, values in F1.items()
    for seed in (1, 2)
    for place, f1 in enumerate(values, 1)
]


def test_curves_are_of_the_seeds_that_every_strategy_has_run() -> None:
    curves = curves_of([*POINTS, Point("random", 3, 100, 1, {"keyword micro": 0.9})], "keyword micro")
    assert curves.sizes == (100, 200, 300)
    assert curves.seeds == (1, 2)
    assert curves.f1["mix"] == pytest.approx(np.array([[0.5, 0.65, 0.72], [0.52, 0.67, 0.74]]))


def test_interval_is_students() -> None:
    mean, half = interval(np.array([1.0, 2.0, 3.0, 4.0]))
    # Of 4 samples with standard deviation 1.291: 3.182 * 1.291 / 2.
    assert (float(mean), float(half)) == pytest.approx((2.5, 2.054), abs=1e-3)
    assert interval(np.array([[1.0, 2.0]]))[1].tolist() == [0, 0]


def test_labels_needed_reads_the_random_curve() -> None:
    curves = curves_of(POINTS, "keyword micro")
    assert labels_needed(curves, "mix", 1) == pytest.approx(250)
    assert labels_needed(curves, "mix", 2) is None


def test_table_tells_gain_and_cost() -> None:
    text = table(POINTS)
    assert "**keyword micro F1**, 2 seeds" in text
    assert "| random | 0.510 | 0.610 | 0.710 ± 0.014 |  | 8,000 |  |" in text
    # (0.05 + 0.02) / 2, the same for both seeds; 250 random reviews have 40 characters each.
    assert "| mix | 0.510 | 0.660 | 0.730 ± 0.014 | +3.50 ± 0.00 | 16,000 | 250 labels, 10,000 characters |" in text


def test_more_than_was_bought_is_told() -> None:
    text = table([point for point in POINTS if point.labels < 300])
    assert "| over 200 labels |" in text


@pytest.mark.parametrize("name", ["curves.png", "curves.svg"])
def test_plot_is_drawn_the_same_every_time(tmp_path: Path, name: str) -> None:
    first, second = tmp_path / "a" / name, tmp_path / "b" / name
    for file in (first, second):
        plot(POINTS, file, "Simulated")
    assert first.read_bytes() == second.read_bytes()
    assert len(first.read_bytes()) > 5000
