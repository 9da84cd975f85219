"""Train one classifier on labelled reviews: backbone, what is tuned, loss, batches, early stopping, resuming."""

from __future__ import annotations

import importlib.util
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from client.artifact import Artifact
from client.encoding import Encoder
from client.errors import InvalidInputError
from training.checkpoint import begin_checkpoint, load_backbone
from training.data import LabelledReview, LabelSet
from training.examples import (
    Example,
    KeywordCollator,
    KeywordExample,
    SentimentCollator,
    SentimentExample,
    keyword_examples,
    sentiment_examples,
)
from training.losses import (
    FOCAL_GAMMA,
    Loss,
    LossOptions,
    keyword_class_weights,
    sentiment_class_weights,
)
from training.review_trainer import predict_logits, resume, run_digest, run_trainer
from training.tuning import Tune, prepare

log = logging.getLogger("finetune")

DEFAULT_BACKBONE = "klue/roberta-base"
Task = Literal["keyword", "sentiment"]


@dataclass(frozen=True)
class Recipe:
    """How to train: everything but the task and the data.

    ``token_budget`` counts padded tokens a step, ``max_length`` tokens a review. ``early_stopping`` is how many
    evaluations without a gain end the run (0: none do); the best weights are then kept.
    """

    backbone: str = DEFAULT_BACKBONE
    epochs: float = 3
    learning_rate: float = 5e-5
    dropout: float = 0.1
    attention: str = "sdpa"
    token_budget: int = 4096
    max_length: int = 256
    prompt: str = "{keyword}"
    seed: int = 1
    bf16: bool = True
    tune: Tune = "all"
    loss: Loss = "plain"
    early_stopping: int = 0
    report_to: str = "none"


@dataclass(frozen=True)
class Fitted:
    """A trained model, how many of its parameters were trained, and how long it took in seconds."""

    model: Any
    trainable_parameters: int
    parameters: int
    seconds: float


def fit(
    task: Task,
    train: Sequence[LabelledReview],
    encoder: Encoder,
    label_set: LabelSet,
    recipe: Recipe,
    *,
    folder: Path | None = None,
    validation: Sequence[LabelledReview] = (),
) -> Fitted:
    """Train a classifier from the recipe's backbone.

    ``folder`` keeps the run's checkpoints: the same call goes on from the last whole one. ``validation`` is needed
    for early stopping only.

    Raises:
        ArtifactError: the backbone cannot be loaded.
        InvalidInputError: nothing to train on, early stopping without validation, or a reporter that is missing.
    """
    check_reporter(recipe.report_to)
    torch.manual_seed(recipe.seed)
    loss, score = LossOptions(gamma=FOCAL_GAMMA if recipe.loss == "focal" else 0.0), None
    examples: Sequence[Example]
    collate: KeywordCollator | SentimentCollator
    if task == "keyword":
        outputs, collate = len(label_set.keywords), KeywordCollator(encoder, recipe.seed)
        examples = rows = keyword_examples(train, encoder, label_set)
        if recipe.loss == "weighted" and rows:
            targets, known = np.stack([e.targets for e in rows]), np.stack([e.known for e in rows])
            loss = LossOptions(keyword_class_weights(targets, known))
    else:
        outputs, collate = len(label_set.sentiments), SentimentCollator(encoder)
        examples = pairs = sentiment_examples(train, encoder, label_set, recipe.prompt)
        if recipe.loss == "weighted" and pairs:
            loss = LossOptions(sentiment_class_weights(np.stack([e.allowed for e in pairs])))
    if not examples:
        raise InvalidInputError(f"{len(train)} reviews give no {task} example; bring reviews with labels")
    if recipe.early_stopping:
        if not validation:
            raise InvalidInputError("early_stopping: no validation reviews to score; bring at least 100 reviews")
        score = _scorer(task, validation, encoder, label_set, recipe)
    tuned = prepare(load_backbone(recipe.backbone, outputs, recipe.dropout, recipe.attention), recipe.tune)
    trainable, parameters = tuned.parameters
    log.info("%s: %d examples, %d of %d parameters trained", task, len(examples), trainable, parameters)
    began = time.monotonic()
    run = task, replace(recipe, report_to=""), label_set.all_labels, label_set.sentiment_scores
    last = resume(folder, run_digest(run, train, recipe.backbone)) if folder else None
    arguments = {
        "num_train_epochs": recipe.epochs,
        "learning_rate": recipe.learning_rate,
        "bf16": recipe.bf16,
        "seed": recipe.seed,
        "report_to": recipe.report_to,
        "disable_tqdm": not sys.stderr.isatty(),
    }
    with tempfile.TemporaryDirectory() as temporary:
        run_trainer(
            tuned.model,
            examples,
            collate,
            arguments,
            folder=folder or Path(temporary),
            token_budget=recipe.token_budget,
            loss=loss,
            score=score,
            patience=recipe.early_stopping,
            keep=folder is not None,
            last=last,
        )
    return Fitted(tuned.finish(), trainable, parameters, round(time.monotonic() - began, 1))


def check_reporter(report_to: str) -> None:
    """Refuse a reporter whose package is not installed.

    Raises:
        InvalidInputError: says which package to install.
    """
    if report_to != "none" and importlib.util.find_spec(report_to) is None:
        raise InvalidInputError(f"--report-to {report_to}: the package is not installed; pip install {report_to}")


def _scorer(
    task: Task, validation: Sequence[LabelledReview], encoder: Encoder, label_set: LabelSet, recipe: Recipe
) -> Callable[[Any], float]:
    """Micro F1 at 0.5 of keywords, or the share of pairs whose most probable sentiment is allowed."""

    def keyword_score(model: Any) -> float:
        logits, targets, known = predict_keyword(model, validation, encoder, label_set)
        hits = ((logits >= 0) & (targets >= 0.5) & (known > 0)).sum()
        named = ((logits >= 0) & (known > 0)).sum() + ((targets >= 0.5) & (known > 0)).sum()
        return float(2 * hits / max(named, 1))

    def sentiment_score(model: Any) -> float:
        logits, allowed = predict_sentiment(model, validation, encoder, label_set, recipe.prompt)
        return float(allowed[np.arange(len(allowed)), logits.argmax(1)].mean())

    return keyword_score if task == "keyword" else sentiment_score


def predict_keyword(
    model: Any, reviews: Sequence[LabelledReview], encoder: Encoder, label_set: LabelSet
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """``logits``, ``targets`` and ``known``, each FP32 ``[N, K]``."""
    examples: list[KeywordExample] = keyword_examples(reviews, encoder, label_set)
    logits = predict_logits(model, examples, KeywordCollator(encoder, 0, mask_words=False))
    return logits, np.stack([e.targets for e in examples]), np.stack([e.known for e in examples])


def predict_sentiment(
    model: Any, reviews: Sequence[LabelledReview], encoder: Encoder, label_set: LabelSet, prompt: str = "{keyword}"
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """``logits`` and ``allowed``, FP32 ``[P, S]``: a row for each tagged label of each review, in their order."""
    examples: list[SentimentExample] = sentiment_examples(reviews, encoder, label_set, prompt)
    return predict_logits(model, examples, SentimentCollator(encoder)), np.stack([e.allowed for e in examples])


def scratch_encoder(recipe: Recipe, label_set: LabelSet, folder: Path) -> Encoder:
    """An encoder of the backbone's tokenizer, as an artifact in ``folder``, for runs that keep no checkpoint."""
    artifact: Artifact = begin_checkpoint(
        folder, recipe.backbone, label_set, name="scratch", max_length=recipe.max_length, prompt=recipe.prompt
    )
    return Encoder(artifact)
