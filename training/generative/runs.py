"""The two commands: train a generator into a folder, and evaluate one on the test split."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

from client.errors import InvalidInputError
from training.checkpoint import begin_finished, replace_model, write_text
from training.corpus import split_of
from training.data import LabelledReview, LabelSet, read_labelled
from training.examples import split_reviews
from training.finetune import DEFAULT_LABEL_SET, WORK_FOLDER, load_reviews
from training.generative.classifiers import Classifiers
from training.generative.evaluation import Answer, answer_tables
from training.generative.model import generate, load_language_model
from training.generative.text import count_problems
from training.generative.tokens import TextCodec, begin_codec
from training.generative.trainer import fit_generator
from training.metrics import format_table
from training.review_trainer import disk_errors
from training.trainer import Recipe, check_reporter

log = logging.getLogger("generative")

T = TypeVar("T")


@dataclass(frozen=True)
class TrainSettings:
    """``train`` are ``FILE`` or ``FILE:N`` (seen N times an epoch); ``recipe.backbone`` is the language model."""

    train: tuple[str, ...]
    output: Path
    recipe: Recipe = field(default_factory=Recipe)
    label_set: Path = DEFAULT_LABEL_SET


@dataclass(frozen=True)
class EvaluateSettings:
    """``classifiers`` are a keyword and a sentiment checkpoint to set beside the generator."""

    generator: Path
    data: Path
    label_set: Path = DEFAULT_LABEL_SET
    classifiers: tuple[Path, Path] | None = None
    batch_size: int = 64
    limit: int | None = None


def train_generator(settings: TrainSettings) -> None:
    """Train on the training split and write ``config.json``, ``model.safetensors`` and what reads them.

    Raises:
        ReviewLensError: data or model cannot be used, or the disk is full; the message names what and where.
    """
    check_reporter(settings.recipe.report_to)
    label_set = LabelSet.load(settings.label_set)
    reviews, repeats = load_reviews(settings.train, label_set)
    kinds = {"soft" if r.targets else "graded" if r.graded else "signed" for r in reviews}
    if kinds not in ({"graded"}, {"signed"}):
        raise InvalidInputError(
            f"--train: the files hold {' and '.join(sorted(kinds))} labels: a text cannot say that a strength or a "
            "keyword is unknown; train on files of one kind, with scores"
        )
    train = [r for r in split_reviews(reviews)["train"] for _ in range(repeats[r.text])]
    codec = begin_codec(settings.recipe.backbone, label_set, settings.recipe.max_length)
    work = settings.output / WORK_FOLDER
    began = time.monotonic()
    with disk_errors(settings.output):
        model = fit_generator(train, codec, settings.recipe, folder=work / "trainer")
        # All of it is written below before anything is moved: a full disk leaves the generator of before whole.
        done = begin_finished(work)
        model.half().save_pretrained(done)
        codec.save(done)
        facts = {
            "reviews": len(train),
            "seconds": round(time.monotonic() - began, 1),
            "recipe": asdict(settings.recipe),
        }
        write_text(done / "training.json", json.dumps(facts, ensure_ascii=False, indent=1) + "\n")
        replace_model(done, settings.output)
    shutil.rmtree(work)
    log.info("%s: trained on %d reviews", settings.output, len(train))


def evaluate_generator(settings: EvaluateSettings) -> dict[str, Any]:
    """Print and return tables, problems of the outputs by kind, and seconds a review.

    Raises:
        ReviewLensError: data, generator or classifiers cannot be used, or do not agree on the labels.
    """
    label_set = LabelSet.load(settings.label_set)
    codec = TextCodec.load(settings.generator)
    if _labels(codec.label_set) != _labels(label_set):
        raise InvalidInputError(f"{settings.generator}: trained with another label set than {settings.label_set}")
    reviews = [r for r in read_labelled(settings.data, label_set) if split_of(r.text) == "test"][: settings.limit]
    if not reviews:
        raise InvalidInputError(f"{settings.data}: no review of the test split in the file")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_language_model(str(settings.generator)).to(device)
    classifiers = Classifiers(*settings.classifiers, label_set, device) if settings.classifiers else None

    texts = [review.text for review in reviews]
    written, seconds = _timed(lambda: generate(model, codec, texts, batch_size=settings.batch_size))
    readings = [codec.read(ids) for ids in written]
    unreadable = sum(bool(reading.problems) for reading in readings)
    print(f"## {settings.data.name}: {len(reviews)} reviews of the test split\n")
    results: dict[str, Any] = {
        "reviews": len(reviews),
        "generator": {
            **_report("generator", reviews, [reading.scores for reading in readings], label_set, seconds),
            "tokens_written": sum(map(len, written)),
            "outputs_not_read_whole": unreadable / len(reviews),
            "problems": count_problems(readings),
        },
    }
    print(f"outputs that could not be read whole: {unreadable} ({unreadable / len(reviews):.2%})")
    print("problems: " + ", ".join(f"{kind} {n}" for kind, n in count_problems(readings).items()), end="\n\n")
    if classifiers:
        answers, seconds = _timed(lambda: classifiers.answers(reviews))
        results["classifiers"] = _report("classifiers", reviews, answers, label_set, seconds)
    return results


def _labels(label_set: LabelSet) -> tuple[tuple[str, ...], tuple[int, ...]]:
    return label_set.all_labels, label_set.sentiment_scores


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    began = time.perf_counter()
    return work(), time.perf_counter() - began


def _report(
    who: str, reviews: Sequence[LabelledReview], answers: Sequence[Answer], label_set: LabelSet, seconds: float
) -> dict[str, Any]:
    """Print the tables of one side, and return them."""
    tables = answer_tables(reviews, answers, label_set)
    print(f"### {who}: {1000 * seconds / len(reviews):.1f} ms a review\n")
    for title, table in tables.items():
        print(format_table(table, title), end="\n\n")
    return {"tables": tables, "seconds_per_review": seconds / len(reviews)}
