"""Held-out reviews: temperatures and thresholds from the validation split, tables of it and of the test split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from client.artifact import Labels
from client.encoding import Encoder
from training import calibration
from training.data import LabelledReview, LabelSet
from training.metrics import Table, multi_label_table, single_label_table
from training.trainer import Task, predict_keyword, predict_sentiment

# From reviews to the arrays of training.trainer.predict_keyword or predict_sentiment.
Predict = Callable[[list[LabelledReview]], tuple[NDArray[Any], ...]]


def evaluate_model(
    task: Task,
    model: Any,
    encoder: Encoder,
    label_set: LabelSet,
    splits: Mapping[str, list[LabelledReview]],
    labels: Labels,
) -> tuple[Labels, dict[str, Any]]:
    """Calibrate a trained model on the validation split; returns its labels, and the tables of both splits."""
    validation = calibration_reviews(splits["validation"])
    if task == "keyword":
        return evaluate_keyword(
            lambda reviews: predict_keyword(model, reviews, encoder, label_set), validation, splits["test"], labels
        )
    return evaluate_sentiment(
        lambda reviews: predict_sentiment(model, reviews, encoder, label_set, labels.prompt),
        validation,
        splits["test"],
        labels,
    )


def evaluate_keyword(
    predict: Predict, validation: list[LabelledReview], test: list[LabelledReview], labels: Labels
) -> tuple[Labels, dict[str, Any]]:
    """Calibrate temperature and thresholds on ``validation``; tables of both splits, by kind of labels."""
    logits, targets, known = predict(validation)
    temperature = calibration.keyword_temperature(logits, targets, known)
    thresholds = calibration.keyword_thresholds(logits, targets, known, temperature)

    def tables(reviews: list[LabelledReview]) -> dict[str, Table]:
        found: dict[str, Table] = {}
        for kind, part in by_kind(reviews).items():
            logits, targets, known = predict(part)
            columns = [k for k in range(len(labels.keywords)) if known[:, k].min() > 0]
            predicted = expit(logits / temperature) >= np.array(thresholds)
            names = [labels.keywords[k] for k in columns]
            found[kind] = multi_label_table(targets[:, columns] >= 0.5, predicted[:, columns], names)
        return found

    results = {
        "keyword_temperature": temperature,
        "thresholds": thresholds,
        "validation": tables(validation),
        "test": tables(test),
    }
    return replace(labels, keyword_temperature=temperature, thresholds=tuple(thresholds)), results


def evaluate_sentiment(
    predict: Predict, validation: list[LabelledReview], test: list[LabelledReview], labels: Labels
) -> tuple[Labels, dict[str, Any]]:
    """Calibrate the temperature on ``validation``; tables of both splits, by kind of labels."""
    logits, allowed = predict(validation)
    exact = allowed.sum(1) == 1
    # Labels by sign alone, none of them neutral, leave no class to calibrate on.
    temperature = calibration.sentiment_temperature(logits[exact], allowed[exact].argmax(1)) if exact.any() else 1.0
    signs = np.sign(labels.sentiment_scores)

    def tables(reviews: list[LabelledReview]) -> dict[str, Table]:
        found: dict[str, Table] = {}
        for kind, part in by_kind(reviews).items():
            logits, allowed = predict(part)
            chosen, true = logits.argmax(1), allowed.argmax(1)
            if kind == "graded":
                found["graded"] = single_label_table(true, chosen, labels.sentiments)
            found[f"{kind} by sign"] = single_label_table(signs[true] + 1, signs[chosen] + 1, ("-", "0", "+"))
        return found

    results = {"sentiment_temperature": temperature, "validation": tables(validation), "test": tables(test)}
    return replace(labels, sentiment_temperature=temperature), results


def by_kind(reviews: Sequence[LabelledReview]) -> dict[str, list[LabelledReview]]:
    """Reviews whose labels have five levels (``graded``) and those known by sign only (``signed``)."""
    kinds = {"graded": [r for r in reviews if r.graded], "signed": [r for r in reviews if not r.graded]}
    return {kind: part for kind, part in kinds.items() if part}


def calibration_reviews(reviews: Sequence[LabelledReview]) -> list[LabelledReview]:
    """Graded reviews, which follow the guideline; the others only where there is none."""
    kinds = by_kind(reviews)
    return kinds.get("graded") or kinds["signed"]
