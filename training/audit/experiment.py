"""The experiment of planted errors: what the audit finds of them, and what training without them gains."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from client.errors import InvalidInputError
from training.audit.decisions import Decision, Decisions
from training.audit.likely_errors import Filter, agreement, label_matrix, likely_errors
from training.audit.out_of_fold import fingerprint, out_of_fold
from training.audit.planting import Found, Planted, plant, score_search
from training.audit.rules import check_rules
from training.audit.run import FOLDS_FOLDER, AuditSettings
from training.checkpoint import write_text
from training.data import LabelledReview, LabelSet
from training.examples import split_reviews
from training.finetune import load_reviews
from training.held_out import calibration_reviews
from training.metrics import multi_label_table
from training.review_trainer import disk_errors
from training.trainer import Recipe, fit, predict_keyword, scratch_encoder

log = logging.getLogger("audit")


@dataclass(frozen=True)
class PlantSettings:
    """One experiment. ``score`` is the sentiment of planted labels, ``where`` the expression that their reviews match,
    ``f1_folder`` keeps the figures of trainings (None: none are made)."""

    audit: AuditSettings
    keyword: str
    share: float
    score: int
    where: str | None
    f1_folder: Path | None


@dataclass(frozen=True)
class Search:
    """One way of searching: its figures, and what it flags, bool ``[N]``."""

    found: Found
    flagged: NDArray[np.bool_]


def experiment(settings: PlantSettings) -> dict[str, Any]:
    """Run it; returns what `result.json` holds: ``search`` by method, ``filters`` of cleanlab, ``f1`` by labels.

    Raises:
        ReviewLensError: data, rules or backbone cannot be used, or the disk is full; the message tells what.
    """
    audit = settings.audit
    label_set = LabelSet.load(audit.label_set)
    if settings.keyword not in label_set.keywords:
        raise InvalidInputError(f"--keyword {settings.keyword!r} is not one of {', '.join(label_set.keywords)}")
    if settings.score not in label_set.sentiment_scores:
        allowed = ", ".join(map(str, label_set.sentiment_scores))
        raise InvalidInputError(f"--score {settings.score} is not one of {allowed}")
    reviews, _ = load_reviews(audit.train, label_set)
    splits = split_reviews(reviews)
    original = splits["train"]
    held_out = calibration_reviews([*splits["validation"], *splits["test"]])
    planted = plant(original, settings.keyword, settings.share, settings.score, audit.recipe.seed, settings.where)
    searches, filters, found_again = search(settings, planted, label_set)
    result: dict[str, Any] = {
        "keyword": settings.keyword,
        "where": settings.where,
        "seed": audit.recipe.seed,
        "reviews": len(original),
        "held_out": len(held_out),
        "rightly_tagged": sum(settings.keyword in review.scores for review in original),
        "agreement": found_again,
        "search": {name: asdict(method.found) for name, method in searches.items()},
        "filters": {name: asdict(found) for name, found in filters.items()},
        "f1": {},
    }
    if settings.f1_folder:
        trainings = {
            "as it was": original,
            "planted": planted.reviews,
            "less what the model flags": _without(planted, searches["model"], settings.keyword),
            "less what either flags": _without(planted, searches["both"], settings.keyword),
        }
        for name, train in trainings.items():
            log.info("training on the labels %s", name)
            result["f1"][name] = trained_f1(
                train, held_out, label_set, audit.recipe, settings.keyword, settings.f1_folder
            )
    with disk_errors(audit.output):
        write_text(audit.output / "result.json", json.dumps(result, ensure_ascii=False, indent=1) + "\n")
    return result


def search(
    settings: PlantSettings, planted: Planted, label_set: LabelSet
) -> tuple[dict[str, Search], dict[Filter, Found], float]:
    """What ``model``, ``rules`` and ``both`` find of the planted errors, the model with each of cleanlab's filters, and
    the F1 at which it finds the labels.

    The ranking of both is the audit's: what both flag, what one flags, the rest, each by the quality of the label.
    """
    audit, keyword, reviews = settings.audit, settings.keyword, planted.reviews
    rules = audit.load_rules(label_set)
    probabilities = out_of_fold(reviews, label_set, audit.recipe, audit.folds, audit.output / FOLDS_FOLDER)
    tagged, known = label_matrix(reviews, label_set)
    column = label_set.keywords.index(keyword)
    rows = np.flatnonzero(tagged[:, column])

    def model(filter_by: Filter) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        errors = likely_errors(
            tagged[:, [column]], known[:, [column]], probabilities[:, [column]], [keyword], filter_by
        )
        return errors.flagged[:, 0] & tagged[:, column], np.nan_to_num(1 - errors.quality[:, 0]).astype(np.float64)

    by_model, doubt = model(audit.filter_by)
    by_rules = tagged[:, column] & np.array(
        [any(f.keyword == keyword for f in check_rules(rules, r.text, r.scores)) for r in reviews]
    )
    methods = {
        "model": (by_model, doubt),
        "rules": (by_rules, by_rules.astype(np.float64)),
        "both": (by_model | by_rules, by_model.astype(np.float64) + by_rules + doubt),
    }

    def found(flagged: NDArray[np.bool_], suspicion: NDArray[np.float64]) -> Found:
        return score_search(planted.wrong[rows], flagged[rows], suspicion[rows])

    filters: tuple[Filter, ...] = get_args(Filter)
    return (
        {name: Search(found(*method), method[0]) for name, method in methods.items()},
        {name: found(*model(name)) for name in filters},
        agreement(tagged, known, probabilities),
    )


def _without(planted: Planted, method: Search, keyword: str) -> list[LabelledReview]:
    """The planted reviews less the labels that a search flags, as a decisions file would remove them."""
    flagged = (planted.reviews[i] for i in np.flatnonzero(method.flagged))
    return Decisions.of(Decision(review.text, keyword, "remove") for review in flagged).apply(planted.reviews)


def trained_f1(
    train: Sequence[LabelledReview],
    held_out: Sequence[LabelledReview],
    label_set: LabelSet,
    recipe: Recipe,
    keyword: str,
    folder: Path,
) -> dict[str, float]:
    """Train a keyword classifier and score it; read from ``folder`` if it was stored there.

    Returns ``f1``, ``precision``, ``recall`` and ``average_precision`` of the keyword, and ``micro`` and ``macro`` F1.
    """
    name = fingerprint(train, label_set, recipe, folds=0)[:16]
    file, scratch = folder / f"{keyword}-{name}.json", folder / name
    if file.is_file():
        stored: dict[str, float] = json.loads(file.read_text(encoding="utf-8"))
        return stored
    encoder = scratch_encoder(recipe, label_set, folder / "tokenizer")
    model = fit("keyword", train, encoder, label_set, recipe, folder=scratch).model
    logits, targets, known = predict_keyword(model, held_out, encoder, label_set)
    columns = [k for k in range(len(label_set.keywords)) if known[:, k].all()]
    table = multi_label_table(targets[:, columns], logits[:, columns] > 0, [label_set.keywords[k] for k in columns])
    k = label_set.keywords.index(keyword)
    figures = {
        **{name: table[keyword][name] for name in ("f1", "precision", "recall")},
        "average_precision": float(average_precision_score(targets[:, k], logits[:, k])),
        "micro": table["micro avg"]["f1"],
        "macro": table["macro avg"]["f1"],
    }
    with disk_errors(folder):
        write_text(file, json.dumps(figures) + "\n")
    shutil.rmtree(scratch)
    return figures
