"""Calibration on a validation split: temperatures, and a threshold for each keyword."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax

THRESHOLD_GRID = np.linspace(0.2, 0.8, 61)
# F1 that a threshold must gain for each 0.1 that it moves from 0.5, and never less than one review of the keyword is
# worth: rare keywords have few validation reviews, and their thresholds would follow single ones.
THRESHOLD_PRICE = 0.004


def keyword_temperature(logits: NDArray[Any], targets: NDArray[Any], known: NDArray[Any]) -> float:
    """The temperature with the least binary cross-entropy (Guo et al. 2017, arXiv:1706.04599); arrays ``[N, K]``."""

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        losses = np.logaddexp(0, scaled) - targets * scaled
        return float((losses * known).sum() / known.sum())

    return _minimum(loss)


def sentiment_temperature(logits: NDArray[Any], classes: NDArray[Any]) -> float:
    """The temperature with the least cross-entropy; logits ``[N, S]``, classes ``[N]``."""

    def loss(log_temperature: float) -> float:
        scaled = log_softmax(logits / np.exp(log_temperature), axis=1)
        return float(-scaled[np.arange(len(classes)), classes].mean())

    return _minimum(loss)


def keyword_thresholds(
    logits: NDArray[Any], targets: NDArray[Any], known: NDArray[Any], temperature: float
) -> list[float]:
    """For each keyword the threshold with the best F1 less the price of leaving 0.5; 0.5 where it has no example."""
    probs = expit(logits / temperature)
    thresholds = []
    for k in range(probs.shape[1]):
        rows = known[:, k] > 0
        truth = targets[rows, k] >= 0.5
        if not truth.any():
            thresholds.append(0.5)
            continue
        predicted = probs[rows, k][:, None] >= THRESHOLD_GRID
        hits = (predicted & truth[:, None]).sum(0)
        f1 = 2 * hits / (predicted.sum(0) + truth.sum())
        # A plateau of equal F1 is common: the point of it nearest 0.5 is the one the price picks.
        price = max(THRESHOLD_PRICE, 1 / truth.sum())
        gain = f1 - price * 10 * np.abs(THRESHOLD_GRID - 0.5)
        thresholds.append(round(float(THRESHOLD_GRID[int(gain.argmax())]), 3))
    return thresholds


def _minimum(loss: Any) -> float:
    result = minimize_scalar(loss, bounds=(np.log(0.2), np.log(5.0)), method="bounded")
    return round(float(np.exp(result.x)), 4)
