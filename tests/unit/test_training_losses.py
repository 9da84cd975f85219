"""Losses: what weights and the focal factor do, on numbers that can be checked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.losses import (
    MAX_CLASS_WEIGHT,
    LossOptions,
    keyword_class_weights,
    keyword_loss,
    sentiment_class_weights,
    sentiment_loss,
)

logit = st.floats(-8, 8)


def test_keyword_loss_counts_known_keywords_only() -> None:
    logits, targets = torch.tensor([[0.0, 50.0]]), torch.tensor([[1.0, 0.0]])
    loss = keyword_loss(logits, targets, torch.tensor([[1.0, 0.0]]))
    assert loss.item() == pytest.approx(math.log(2))


def test_sentiment_loss_of_a_sign_is_the_loss_of_the_sum() -> None:
    logits = torch.log(torch.tensor([[0.1, 0.1, 0.2, 0.4, 0.2]]))
    loss = sentiment_loss(logits, torch.tensor([[0.0, 0.0, 0.0, 1.0, 1.0]]))
    assert loss.item() == pytest.approx(-math.log(0.6), rel=1e-5)


@given(logit, st.floats(0, 1))
def test_focal_factor_is_the_distance_to_the_target_squared(x: float, target: float) -> None:
    logits, targets, known = torch.tensor([[x]]), torch.tensor([[target]]), torch.ones(1, 1)
    plain = keyword_loss(logits, targets, known)
    focal = keyword_loss(logits, targets, known, LossOptions(gamma=2.0))
    distance = abs(target - 1 / (1 + math.exp(-x)))
    assert focal.item() == pytest.approx(plain.item() * distance**2, rel=1e-3, abs=1e-6)


@given(st.lists(logit, min_size=5, max_size=5), st.integers(0, 4))
def test_focal_sentiment_loss_never_exceeds_the_plain_one(row: list[float], answer: int) -> None:
    allowed = torch.zeros(1, 5)
    allowed[0, answer] = 1
    logits = torch.tensor([row])
    assert sentiment_loss(logits, allowed, LossOptions(gamma=2.0)) <= sentiment_loss(logits, allowed) + 1e-6


def test_rare_keywords_weigh_more_up_to_a_bound() -> None:
    targets = np.zeros((100, 3), np.float32)
    targets[:50, 0] = 1
    targets[:10, 1] = 1
    weights = keyword_class_weights(targets, np.ones_like(targets))
    assert weights.tolist() == pytest.approx([1.0, 3.0, 1.0]), "half; one in ten: root of 9; none: nothing to weigh"
    targets[1:, 1] = 0
    assert keyword_class_weights(targets, np.ones_like(targets))[1] == MAX_CLASS_WEIGHT
    loss = keyword_loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), torch.ones(1, 2), LossOptions(weights[:2] * 2))
    assert loss.item() == pytest.approx(math.log(2) * (2 + 1) / 2), "weights apply to what is there, not to what is not"


def test_rare_sentiments_weigh_more_and_open_ones_are_not_counted() -> None:
    allowed = np.zeros((13, 3), np.float32)
    allowed[:9, 0] = 1
    allowed[9:12, 1] = 1
    allowed[12, :] = 1  # only known not to be one of the others: no class
    weights = sentiment_class_weights(allowed)
    assert weights.tolist() == pytest.approx([math.sqrt(4 / 9), math.sqrt(4 / 3), 1.0])
    rows = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    logits = torch.tensor([[0.0, 0.0, 0.0], [0.0, 3.0, 0.0]])
    plain = [sentiment_loss(logits[i : i + 1], rows[i : i + 1]).item() for i in range(2)]
    expected = (weights[0] * plain[0] + weights[1] * plain[1]) / (weights[0] + weights[1])
    assert sentiment_loss(logits, rows, LossOptions(weights)).item() == pytest.approx(expected.item(), rel=1e-5)
