"""Out-of-fold probabilities: what a model says of each review that it was not trained on.

The reviews are cut into folds by a hash of their text, so that a review that stands twice is in one fold only: a model
that saw its twin would repeat the label. Each fold's probabilities come from a classifier trained on the others
(cross-validation, as confident learning asks for: Northcutt et al. 2021, arXiv:1911.00068).
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from client.encoding import Encoder
from client.errors import InvalidInputError, InvalidReviewError
from training.corpus import text_key
from training.data import LabelledReview, LabelSet
from training.review_trainer import disk_errors
from training.trainer import Recipe, fit, predict_keyword, scratch_encoder

log = logging.getLogger("audit")


def fold_of(text: str, folds: int, seed: int) -> int:
    """The fold, 0 to ``folds`` - 1, of every review that reads the same but for blanks, case and width."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{text_key(text)}".encode()).digest()[:8], "big") % folds


def out_of_fold(
    reviews: Sequence[LabelledReview],
    label_set: LabelSet,
    recipe: Recipe,
    folds: int,
    folder: Path,
    validation: Sequence[LabelledReview] = (),
) -> NDArray[np.float32]:
    """Keyword probabilities, FP32 ``[N, K]``; NaN for texts that cannot be encoded.

    ``validation`` is for recipes that stop early.

    Every fold is stored in ``folder`` as it ends, and a training within a fold keeps its checkpoints: the same call
    goes on where the last one was interrupted. Folds of other reviews, labels or recipes are trained again.

    Raises:
        InvalidInputError: fewer than two folds, or a fold without reviews.
        ReviewLensError: the backbone cannot be loaded, or the disk is full.
    """
    if folds < 2:
        raise InvalidInputError(f"--folds {folds}: 2 at least: each review needs a model that did not see it")
    places = np.array([fold_of(review.text, folds, recipe.seed) for review in reviews], np.int64)
    if empty := folds - len(set(places.tolist())):
        raise InvalidInputError(f"--folds {folds}: {len(reviews)} reviews leave {empty} folds empty; use fewer folds")
    folder.mkdir(parents=True, exist_ok=True)
    encoder = scratch_encoder(recipe, label_set, folder / "tokenizer")
    print_of_run = fingerprint(reviews, label_set, recipe, folds)
    probabilities = np.full((len(reviews), len(label_set.keywords)), np.nan, np.float32)
    usable = _encodable(reviews, encoder)
    for fold in range(folds):
        rows = np.flatnonzero((places == fold) & usable)
        file = folder / f"fold-{fold + 1}-of-{folds}.npz"
        stored = _stored(file, print_of_run)
        if stored is None:
            train = [reviews[i] for i in np.flatnonzero((places != fold) & usable)]
            log.info("fold %d of %d: training on %d reviews, predicting %d", fold + 1, folds, len(train), len(rows))
            scratch = folder / f"{file.stem}-{print_of_run[:12]}"
            model = fit("keyword", train, encoder, label_set, recipe, folder=scratch, validation=validation).model
            logits, _, _ = predict_keyword(model, [reviews[i] for i in rows], encoder, label_set)
            stored = expit(logits)
            with disk_errors(folder):
                temporary = file.with_suffix(".tmp.npz")
                np.savez_compressed(temporary, probabilities=stored, fingerprint=print_of_run)
                temporary.replace(file)
            shutil.rmtree(scratch)
        else:
            log.info("fold %d of %d: stored before", fold + 1, folds)
        probabilities[rows] = stored
    return probabilities


def fingerprint(reviews: Sequence[LabelledReview], label_set: LabelSet, recipe: Recipe, folds: int) -> str:
    """A digest of everything that the probabilities follow from."""
    rows = [(r.text, sorted(r.scores), sorted(r.annotated), sorted(r.targets.items())) for r in reviews]
    content = json.dumps([rows, label_set.keywords, asdict(recipe), folds], ensure_ascii=False)
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


def _encodable(reviews: Sequence[LabelledReview], encoder: Encoder) -> NDArray[np.bool_]:
    encoded = encoder.encode_many([review.text for review in reviews])
    usable = np.array([not isinstance(e, InvalidReviewError) for e in encoded])
    if not usable.all():
        log.warning("%d reviews cannot be encoded and are not judged by the model", (~usable).sum())
    return usable


def _stored(file: Path, print_of_run: str) -> NDArray[np.float32] | None:
    """The probabilities of a fold that ended, if they are of this run."""
    if not file.is_file():
        return None
    with np.load(file) as values:
        if str(values["fingerprint"]) != print_of_run:
            log.info("%s: of other reviews, labels or settings: trained again", file)
            return None
        probabilities: NDArray[np.float32] = values["probabilities"]
        return probabilities
