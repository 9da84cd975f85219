"""Evaluation tables: precision, recall, F1 and support by class, with their averages."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

Table = dict[str, dict[str, float]]


def multi_label_table(true: NDArray[Any], predicted: NDArray[Any], names: Sequence[str]) -> Table:
    """Rows by keyword with micro, macro, weighted and samples averages; arguments are 0/1 ``[N, K]``."""
    return _table(true, predicted, names, list(range(len(names))), ("micro", "macro", "weighted", "samples"))


def single_label_table(true: NDArray[Any], predicted: NDArray[Any], names: Sequence[str]) -> Table:
    """Rows by class with micro (accuracy), macro and weighted averages; arguments are class indices ``[N]``.

    There is no samples average: with one label a sample it is the accuracy again.
    """
    table = _table(true, predicted, names, list(range(len(names))), ("macro", "weighted"))
    table["accuracy"] = {"f1": float(accuracy_score(true, predicted)), "support": float(len(true))}
    return table


def _table(
    true: NDArray[Any], predicted: NDArray[Any], names: Sequence[str], labels: list[int], averages: Sequence[str]
) -> Table:
    table: Table = {}
    with warnings.catch_warnings():
        # A class that never occurs in a small split has no recall; zero_division says so with 0.
        warnings.simplefilter("ignore")
        rows = precision_recall_fscore_support(true, predicted, labels=labels, average=None, zero_division=0)
        for i, name in enumerate(names):
            table[name] = _row(*(column[i] for column in rows))
        for average in averages:
            p, r, f, _ = precision_recall_fscore_support(
                true, predicted, labels=labels, average=average, zero_division=0
            )
            table[f"{average} avg"] = _row(p, r, f, np.sum(rows[3]))
    return table


def _row(precision: float, recall: float, f1: float, support: float) -> dict[str, float]:
    return {"precision": float(precision), "recall": float(recall), "f1": float(f1), "support": float(support)}


def format_table(table: Table, title: str) -> str:
    """A table as text, one class a line."""
    lines = [f"{title:<24} precision  recall      f1  support"]
    for name, row in table.items():
        # Hangul is two columns wide: pad by what is shown, not by how many characters it takes.
        pad = " " * max(0, 24 - sum(2 if ord(c) > 0x10FF else 1 for c in name))
        cells = [f"{row[key]:8.3f}" if key in row else " " * 8 for key in ("precision", "recall", "f1")]
        lines.append(f"{name}{pad} {cells[0]} {cells[1]} {cells[2]} {row['support']:8.0f}")
    return "\n".join(lines)
