"""Checks of labelled reviews before training: contradictory duplicates, empty splits, classes without an example.

One bad review never ends a batch: labels of one text that contradict one another go by majority, or the text is left
out, and either is told. Data that cannot be trained on at all is an error.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from client.errors import InvalidInputError
from training.corpus import text_key
from training.data import LabelledReview, LabelSet

EXAMPLE_THRESHOLD = 0.5  # From this soft target on, a review counts as an example of a keyword.
SHORT_TEXT = 40


@dataclass(frozen=True)
class Contradiction:
    """A label on which rows of one text disagree.

    ``votes`` are (file and line, score) pairs, the score None where a row does not tag the label. ``settled`` tells
    that more than half of the rows agree: their word was taken, otherwise the whole text was left out.
    """

    text: str
    label: str
    votes: tuple[tuple[str, int | None], ...]
    settled: bool


@dataclass(frozen=True)
class CheckReport:
    """``kept`` holds one review for each text and kind of labels, in the order of the first rows."""

    kept: tuple[LabelledReview, ...]
    contradictions: tuple[Contradiction, ...]
    warnings: tuple[str, ...]


def check_reviews(reviews: Iterable[LabelledReview], label_set: LabelSet) -> CheckReport:
    """Merge rows of one text (up to blanks and case) and kind of labels, and take out what contradicts.

    Kinds are labels with scores, marked opinions (signs) and soft targets; merging one kind with another is not a
    matter of contradiction (``training.examples.merge_sources``). Within a kind every label goes by majority vote of
    the rows that annotate it; a text with a label that no strict majority agrees on is left out. Of soft targets the
    first row is kept.
    """
    groups: dict[tuple[str, str], list[LabelledReview]] = defaultdict(list)
    for review in reviews:
        groups[text_key(review.text), _kind(review)].append(review)
    kept: list[LabelledReview] = []
    contradictions: list[Contradiction] = []
    for group in groups.values():
        found = _contradictions(group, label_set)
        contradictions += found
        if all(contradiction.settled for contradiction in found):
            kept.append(_merged(group))
    return CheckReport(tuple(kept), tuple(contradictions), _contradiction_warnings(contradictions))


def check_splits(
    splits: Mapping[str, Sequence[LabelledReview]], label_set: LabelSet, task: Literal["keyword", "sentiment"]
) -> tuple[str, ...]:
    """Warnings about what the training split cannot teach.

    Raises:
        InvalidInputError: a split has no review with labels for the task, or no keyword has an example to learn from.
    """
    usable = _teaches_keywords if task == "keyword" else _teaches_sentiment
    if empty := [name for name, part in splits.items() if not any(usable(review, label_set) for review in part)]:
        raise InvalidInputError(
            f"{sum(map(len, splits.values()))} reviews leave the {' and '.join(empty)} split empty; bring at least 100 "
            f"with {task} labels (a hash of the text decides the split)"
        )
    if task == "keyword":
        return _keyword_warnings(splits, label_set)
    return _sentiment_warnings(splits["train"], label_set)


def contradiction_lines(contradictions: Iterable[Contradiction]) -> Iterator[str]:
    """The lines of a JSON Lines file, ``text`` and ``keyword`` as in the file of decisions that settles them."""
    for one in contradictions:
        votes = [{"where": where, "score": score} for where, score in one.votes]
        outcome = "majority" if one.settled else "left out"
        row = {"text": one.text, "keyword": one.label, "votes": votes, "outcome": outcome}
        yield json.dumps(row, ensure_ascii=False) + "\n"


def _kind(review: LabelledReview) -> str:
    if review.targets:
        return "soft"
    return "graded" if review.graded else "signed"


def _contradictions(group: Sequence[LabelledReview], label_set: LabelSet) -> list[Contradiction]:
    found = []
    for label in label_set.all_labels if len(group) > 1 else ():
        voters = [review for review in group if label in review.annotated and not review.targets]
        counts = Counter(review.scores.get(label) for review in voters)
        if len(counts) > 1:
            votes = tuple((review.where, review.scores.get(label)) for review in voters)
            settled = max(counts.values()) * 2 > len(voters)
            found.append(Contradiction(group[0].text, label, votes, settled))
    return found


def _merged(group: Sequence[LabelledReview]) -> LabelledReview:
    """One review with the word of the majority, and every span that was marked in the very same text."""
    first = group[0]
    if len(group) == 1 or first.targets:
        return first
    annotated = frozenset[str]().union(*(review.annotated for review in group))
    scores: dict[str, int] = {}
    for label in sorted(annotated):
        votes = Counter(review.scores.get(label) for review in group if label in review.annotated)
        ((score, _),) = votes.most_common(1)
        if score is not None:
            scores[label] = score
    spans: dict[str, set[tuple[int, int]]] = defaultdict(set)
    for review in group:
        if review.text == first.text:
            for label, marked in review.evidence.items():
                spans[label].update(marked)
    evidence = {label: tuple(sorted(marked)) for label, marked in spans.items()}
    return replace(first, scores=scores, annotated=annotated, evidence=evidence)


def _contradiction_warnings(contradictions: Sequence[Contradiction]) -> tuple[str, ...]:
    by_text: dict[str, list[Contradiction]] = defaultdict(list)
    for contradiction in contradictions:
        by_text[contradiction.text].append(contradiction)
    left_out = [found for found in by_text.values() if not all(one.settled for one in found)]
    settled = [found for found in by_text.values() if all(one.settled for one in found)]
    warnings = []
    for texts, outcome in ((left_out, "left out"), (settled, "settled by majority")):
        if texts:
            one = next((c for c in texts[0] if not c.settled), texts[0][0])
            votes = ", ".join(f"{where}: {'no' if score is None else score}" for where, score in one.votes[:4])
            warnings.append(
                f"contradictory labels in {len(texts)} text(s), {outcome}; the first {_short(one.text)}: "
                f"{one.label} ({votes}{', …' if len(one.votes) > 4 else ''}); label them anew"
            )
    return tuple(warnings)


def _teaches_keywords(review: LabelledReview, label_set: LabelSet) -> bool:
    return not review.annotated.isdisjoint(label_set.keywords)


def _teaches_sentiment(review: LabelledReview, label_set: LabelSet) -> bool:
    return bool(review.scores)


def _keyword_warnings(splits: Mapping[str, Sequence[LabelledReview]], label_set: LabelSet) -> tuple[str, ...]:
    annotated: dict[str, Counter[str]] = {}
    positive: dict[str, Counter[str]] = {}
    for name, reviews in splits.items():
        annotated[name] = Counter(k for r in reviews for k in label_set.keywords if k in r.annotated)
        positive[name] = Counter(k for r in reviews for k in label_set.keywords if _is_example(r, k))
    absent = [k for k in label_set.keywords if not positive["train"][k]]
    if len(absent) == len(label_set.keywords):
        raise InvalidInputError(
            f"none of the {len(splits['train'])} training reviews tags a keyword of the label set; "
            "is this an export of reviews that are not labelled yet?"
        )
    constant = [k for k in label_set.keywords if k not in absent and positive["train"][k] == annotated["train"][k]]
    uncalibrated = [k for k in label_set.keywords if k not in absent and not positive["validation"][k]]
    told = (
        (
            absent,
            "no training review tags {}: never predicted, threshold 0.5; label some, or drop it from the label set",
        ),
        (constant, "every training review that annotates {} tags it: always predicted; add reviews without it"),
        (uncalibrated, "no validation review tags {}: its threshold stays at 0.5; bring more reviews"),
    )
    return tuple(message.format(", ".join(keywords)) for keywords, message in told if keywords)


def _is_example(review: LabelledReview, keyword: str) -> bool:
    return review.targets.get(keyword, float(keyword in review.scores)) >= EXAMPLE_THRESHOLD


def _sentiment_warnings(reviews: Sequence[LabelledReview], label_set: LabelSet) -> tuple[str, ...]:
    exact: set[int] = set()
    by_sign: set[int] = set()
    for graded, score in {(review.graded, score) for review in reviews for score in review.scores.values()}:
        # As in training.examples.sentiment_examples: of a sign, every class of that sign is allowed.
        allowed = {s for s in label_set.sentiment_scores if (s == score if graded else _sign(s) == _sign(score))}
        (exact if len(allowed) == 1 else by_sign).update(allowed)
    tagged = frozenset[str]().union(*(review.scores for review in reviews))
    names = dict(zip(label_set.sentiment_scores, label_set.sentiments, strict=True))
    told = (
        (
            [name for score, name in names.items() if score not in exact | by_sign],
            "no training review has the sentiment {}: never predicted; label some",
        ),
        (
            [name for score, name in names.items() if score in by_sign - exact],
            "of {} training reviews tell the sign only: told apart by chance; label some with scores",
        ),
        (
            [label for label in label_set.all_labels if label not in tagged],
            "no training review has a sentiment of {}: what the model says of it is a guess; label some",
        ),
    )
    return tuple(message.format(", ".join(words)) for words, message in told if words)


def _sign(score: int) -> int:
    return (score > 0) - (score < 0)


def _short(text: str) -> str:
    return repr(text if len(text) <= SHORT_TEXT else text[:SHORT_TEXT] + "…")
