"""The audit as one call: read, judge by model and rules, write what people look at."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from client.errors import InvalidInputError
from client.whole_files import write_whole
from training.audit.decisions import Decisions, read_decisions
from training.audit.issues import Issue, KeywordSummary, find_issues, summarize
from training.audit.likely_errors import Filter, agreement, label_matrix, likely_errors
from training.audit.out_of_fold import out_of_fold
from training.audit.report import issues_csv, page, summary_csv
from training.audit.rules import Rule, load_rules, rules_beside
from training.data import LabelledReview, LabelSet
from training.examples import split_reviews
from training.finetune import DEFAULT_LABEL_SET, load_reviews
from training.held_out import calibration_reviews
from training.review_trainer import disk_errors
from training.spreadsheets import ENCODING
from training.trainer import Recipe

log = logging.getLogger("audit")

FOLDS_FOLDER = "folds"
DEFAULT_FOLDS = 5
DEFAULT_FILTER: Filter = "prune_by_noise_rate"
LOW_AGREEMENT = 0.8


@dataclass(frozen=True)
class AuditSettings:
    """One audit. ``rules`` None: those beside the label set, if there are any."""

    train: tuple[str, ...]
    output: Path
    recipe: Recipe = field(default_factory=Recipe)
    folds: int = DEFAULT_FOLDS
    filter_by: Filter = DEFAULT_FILTER
    label_set: Path = DEFAULT_LABEL_SET
    rules: Path | None = None
    decisions: Path | None = None

    def load_rules(self, label_set: LabelSet) -> tuple[Rule, ...]:
        path = self.rules or rules_beside(self.label_set)
        return load_rules(path, label_set) if path else ()


@dataclass(frozen=True)
class Audit:
    """The ranked issues, the summary by keyword, and the F1 at which the out-of-fold model finds the labels."""

    issues: list[Issue]
    summary: list[KeywordSummary]
    agreement: float


def audit(settings: AuditSettings) -> Audit:
    """Audit the training split; writes `issues.csv`, `summary.csv` and `index.html` into the output folder.

    Raises:
        ReviewLensError: data, rules, decisions or backbone cannot be used, or the disk is full; the message tells what.
    """
    label_set = LabelSet.load(settings.label_set)
    rules = settings.load_rules(label_set)
    decided = read_decisions(settings.decisions, label_set) if settings.decisions else Decisions({})
    with disk_errors(settings.output):
        settings.output.mkdir(parents=True, exist_ok=True)
    reviews, validation = read_splits(
        settings.train, label_set, settings.decisions, settings.output / "contradictions.jsonl"
    )
    probabilities = out_of_fold(
        reviews, label_set, settings.recipe, settings.folds, settings.output / FOLDS_FOLDER, validation
    )
    tagged, known = label_matrix(reviews, label_set)
    f1 = agreement(tagged, known, probabilities)
    if f1 < LOW_AGREEMENT:
        log.warning(
            "the classifiers find the given labels with a micro F1 of %.2f only: what they suspect means little; train "
            "longer (--epochs), or start from a --backbone that knows such reviews",
            f1,
        )
    errors = likely_errors(tagged, known, probabilities, label_set.keywords, settings.filter_by)
    issues = find_issues(reviews, label_set, probabilities, errors, rules, decided)
    summary = summarize(reviews, label_set, issues)
    write_whole(settings.output / "issues.csv", issues_csv(issues), ENCODING)
    write_whole(settings.output / "summary.csv", summary_csv(summary), ENCODING)
    write_whole(settings.output / "index.html", page(issues, summary, label_set, decided))
    return Audit(issues, summary, f1)


def read_splits(
    files: Sequence[str], label_set: LabelSet, decisions: Path | None, contradictions: Path
) -> tuple[list[LabelledReview], list[LabelledReview]]:
    """The reviews of the training split, with earlier decisions applied, and the validation split's for early stopping.

    Labels of one text that contradict one another are listed in the file ``contradictions``.

    Raises:
        InvalidInputError: a file cannot be used, holds a model's soft labels, or leaves no review to train on.
    """
    reviews, _ = load_reviews(files, label_set, decisions, contradictions)
    if soft := next((review for review in reviews if review.targets), None):
        raise InvalidInputError(
            f"review {soft.id!r} has 'targets', which a model said: audit the labels that people gave"
        )
    splits = split_reviews(reviews)
    if not splits["train"]:
        raise InvalidInputError(f"--train: {len(reviews)} reviews leave the train split empty; bring at least 100")
    log.info("%d reviews of the training split", len(splits["train"]))
    return splits["train"], calibration_reviews(splits["validation"]) if splits["validation"] else []
