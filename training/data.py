"""Labelled reviews: the readers of every form that labels come in.

Forms, told apart by their fields; a file may be gzip-compressed:

- ``.jsonl`` with ``{"text": "…", "labels": {"디자인": 1, "배송": -1}}``: keywords with scores of the label set;
- ``.jsonl`` with ``{"text": "…", "completion": "디자인 1, 배송 -1"}``, or ``.tsv`` with ``text<TAB>디자인 1, 배송 -1``:
  the same in the compact completion form;
- ``.jsonl`` with ``{"text": "…", "aspects": [{"aspect": "굽", "polarity": 1, "span": "…"}]}``: opinions that people
  marked, mapped to keywords by the label set; their polarity is known, their strength is not;
- ``.jsonl`` with ``{"text": "…", "targets": {"디자인": 0.93}}``: soft keyword labels, as ``training.relabel`` writes.

A JSON line may also tell ``id``, ``shop`` (or ``source``) and ``category``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from client.errors import InvalidInputError
from training.corpus import numbered_lines

UNLABELLED_ADVICE = (
    "if no line has labels, this is an unlabelled file: choose from it what to label with python -m training.selection"
)


@dataclass(frozen=True)
class LabelSet:
    """What a shop labels: ``keywords``, the ``overall`` label, and sentiments from most negative to most positive.

    ``aspect_names`` maps the names of a source of marked opinions to keywords (None: no keyword), and
    ``unannotated`` lists the keywords that this source never marks.
    """

    keywords: tuple[str, ...]
    overall: str
    sentiments: tuple[str, ...]
    sentiment_scores: tuple[int, ...]
    aspect_names: Mapping[str, str | None] = field(default_factory=dict)
    unannotated: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not self.keywords:
            raise InvalidInputError("keywords: the list is empty; name at least one")
        for name in (labels := self.all_labels):
            if not isinstance(name, str) or name != name.strip() or not name or "," in name:
                raise InvalidInputError(f"label {name!r} is not a name; give text without commas and outer blanks")
            if labels.count(name) > 1:
                raise InvalidInputError(f"label {name!r} stands more than once; keep one")
        if unknown := {k for k in self.aspect_names.values() if k is not None} - set(self.keywords):
            raise InvalidInputError(f"aspect names lead to {', '.join(sorted(unknown))}, which are no keywords")
        scores = self.sentiment_scores
        if len(self.sentiments) != len(scores) or list(scores) != sorted(set(scores)) or len(scores) < 2:
            raise InvalidInputError(
                f"sentiments {', '.join(self.sentiments)} and sentiment_scores {', '.join(map(str, scores))} "
                "must be equally long, two at least, and go from most negative to most positive"
            )

    @property
    def all_labels(self) -> tuple[str, ...]:
        return (*self.keywords, self.overall)

    @classmethod
    def load(cls, path: Path) -> LabelSet:
        """Read a label set file (see ``training/label_sets/fashion.json``).

        Raises:
            InvalidInputError: the file is missing, is not JSON, or lacks a field.
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            source = values.get("sources", {}).get("aspects", {})
            if wrong := [f for f in ("keywords", "sentiments", "sentiment_scores") if not isinstance(values[f], list)]:
                raise InvalidInputError(f"{wrong[0]}: {values[wrong[0]]!r} is not a list")
            return cls(
                keywords=tuple(values["keywords"]),
                overall=values["overall"],
                sentiments=tuple(values["sentiments"]),
                sentiment_scores=tuple(values["sentiment_scores"]),
                aspect_names=source.get("names", {}),
                unannotated=frozenset(source.get("unannotated", ())),
            )
        except OSError as error:
            raise InvalidInputError(f"{path}: cannot read the label set: {error.strerror}") from None
        except InvalidInputError as error:
            raise InvalidInputError(f"{path}: {error}") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidInputError(
                f"{path}: not a label set: {error!r}; see training/label_sets/fashion.json"
            ) from None


@dataclass(frozen=True)
class LabelledReview:
    """A review with what is known of its labels.

    ``scores`` holds a score for each tagged label. ``graded`` is False where only the sign of a score is known.
    ``annotated`` are the labels that the source annotates: the others are unknown, not absent. ``evidence`` holds,
    where people marked them, the code-point spans that carry a keyword; ``targets`` soft keyword labels. ``shop`` and
    ``category`` are empty where the source does not tell them. ``where`` is the file and line, for messages.
    """

    id: str
    text: str
    scores: Mapping[str, int]
    graded: bool
    annotated: frozenset[str]
    evidence: Mapping[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    targets: Mapping[str, float] = field(default_factory=dict)
    shop: str = ""
    category: str = ""
    where: str = field(default="", compare=False)


def read_labelled(path: Path, label_set: LabelSet) -> Iterator[LabelledReview]:
    """Read labelled reviews in any of the forms.

    Raises:
        InvalidInputError: names the file, the line, the field and the value that cannot be used.
    """
    tab_separated = ".tsv" in path.suffixes
    for number, line in numbered_lines(path):
        where = f"{path}:{number}"
        row = _parse_tab_separated(line, where) if tab_separated else _parse_json(line, where)
        yield _labelled_review(row, label_set, where, default_id=str(number))


def parse_completion(completion: str, label_set: LabelSet, where: str = "completion") -> dict[str, int]:
    """Parse the compact form ``디자인 1, 배송 -1``; an empty text is no labels.

    Raises:
        InvalidInputError: a piece is not ``keyword score``, the keyword is unknown or twice, or the score out of range.
    """
    scores: dict[str, int] = {}
    for piece in filter(None, (p.strip() for p in completion.split(","))):
        name, _, value = piece.rpartition(" ")
        try:
            score = int(value)
        except ValueError:
            raise InvalidInputError(
                f"{where}: completion: {piece!r} is not 'keyword score', such as '디자인 1'"
            ) from None
        name = name.strip()
        if name in scores:
            raise InvalidInputError(f"{where}: completion: {name!r} stands twice; keep one")
        scores[name] = score
    return _checked(scores, label_set, f"{where}: completion")


def format_completion(scores: Mapping[str, int], label_set: LabelSet) -> str:
    """The compact form of labels, in the order of the label set."""
    return ", ".join(f"{name} {scores[name]}" for name in label_set.all_labels if name in scores)


def _parse_tab_separated(line: str, where: str) -> dict[str, Any]:
    text, tab, completion = line.partition("\t")
    if not tab:
        raise InvalidInputError(f"{where}: no tab; a line is text<TAB>디자인 1, 배송 -1; {UNLABELLED_ADVICE}")
    return {"text": text, "completion": completion}


def _parse_json(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(
            f'{where}: broken JSON: {error}; a line is one object such as {{"text": "…", "labels": {{"디자인": 1}}}}'
        ) from None
    if not isinstance(row, dict):
        raise InvalidInputError(f"{where}: a line must be a JSON object, not {type(row).__name__}")
    return row


def _labelled_review(row: dict[str, Any], label_set: LabelSet, where: str, default_id: str) -> LabelledReview:
    text = row.get("text")
    if not isinstance(text, str) or not text.strip():
        raise InvalidInputError(f"{where}: text: {text!r} is not a review; give a text that is not blank")
    review_id = _word(row, ("id",), where) or default_id
    if "targets" in row:
        review = _from_targets(review_id, text, row, label_set, where)
    elif "aspects" in row:
        review = _from_aspects(review_id, text, row["aspects"], row.get("polarity"), label_set, where)
    else:
        review = _from_scores(review_id, text, row, label_set, where)
    shop, category = _word(row, ("shop", "source"), where), _word(row, ("category",), where)
    return replace(review, shop=shop, category=category, where=where)


def _word(row: Mapping[str, Any], fields: Iterable[str], where: str) -> str:
    """The first of the fields that has a value, as text; empty where none has."""
    for name in fields:
        value = row.get(name)
        if value is not None:
            if not isinstance(value, str | int | float):
                raise InvalidInputError(f"{where}: {name}: {value!r} is neither text nor a number")
            return str(value)
    return ""


def _from_scores(review_id: str, text: str, row: dict[str, Any], label_set: LabelSet, where: str) -> LabelledReview:
    if "completion" in row:
        if not isinstance(row["completion"], str):
            raise InvalidInputError(
                f"{where}: completion: {row['completion']!r} is not text such as '디자인 1, 배송 -1'"
            )
        scores = parse_completion(row["completion"], label_set, where)
    elif isinstance(row.get("labels"), dict):
        scores = _checked(row["labels"], label_set, f"{where}: labels")
    elif row.get("labels") is not None:
        raise InvalidInputError(f'{where}: labels: {row["labels"]!r} is not an object such as {{"디자인": 1}}')
    else:
        raise InvalidInputError(
            f"{where}: no labels: a labelled review has 'labels', 'completion' or 'aspects' beside 'text'; "
            f"{UNLABELLED_ADVICE}"
        )
    annotated = frozenset(label_set.keywords) | scores.keys()
    return LabelledReview(review_id, text, scores, True, annotated)


def _checked(scores: Mapping[str, Any], label_set: LabelSet, where: str) -> dict[str, int]:
    for name, score in scores.items():
        if name not in label_set.all_labels:
            raise InvalidInputError(f"{where}: {name!r} is not in the label set {', '.join(label_set.all_labels)}")
        if isinstance(score, bool) or score not in label_set.sentiment_scores:
            allowed = ", ".join(map(str, label_set.sentiment_scores))
            raise InvalidInputError(f"{where}: {name}: sentiment {score!r} is not one of {allowed}")
    # Tables that were through a spreadsheet or pandas bring 1.0 for 1.
    return {name: int(score) for name, score in scores.items()}


def _from_targets(review_id: str, text: str, row: dict[str, Any], label_set: LabelSet, where: str) -> LabelledReview:
    targets = row["targets"]
    if not isinstance(targets, dict) or targets.keys() - set(label_set.keywords):
        raise InvalidInputError(f"{where}: targets: {targets!r} is not an object of the label set's keywords")
    if wrong := {k: p for k, p in targets.items() if not isinstance(p, int | float) or not 0 <= p <= 1}:
        raise InvalidInputError(f"{where}: targets: {wrong} are no probabilities from 0 to 1")
    marked = row.get("evidence") or {}
    try:
        evidence = {name: tuple((int(start), int(end)) for start, end in spans) for name, spans in marked.items()}
    except (AttributeError, TypeError, ValueError):
        raise InvalidInputError(f'{where}: evidence: {marked!r} is not like {{"디자인": [[0, 4]]}}') from None
    return LabelledReview(review_id, text, {}, False, frozenset(targets), evidence, targets)


def _from_aspects(
    review_id: str, text: str, aspects: Any, polarity: Any, label_set: LabelSet, where: str
) -> LabelledReview:
    signs: dict[str, set[int]] = {}
    evidence: dict[str, list[tuple[int, int]]] = {}
    try:
        entries = [(a["aspect"], a["polarity"], a.get("span", "")) for a in aspects]
    except (TypeError, KeyError) as error:
        raise InvalidInputError(
            f"{where}: aspects: an entry lacks or garbles 'aspect' or 'polarity': {error}"
        ) from None
    for name, sign, span in entries:
        if not isinstance(name, str) or name not in label_set.aspect_names:
            raise InvalidInputError(f"{where}: aspects: {name!r} is not in the label set's aspect names; map it there")
        if isinstance(sign, bool) or sign not in (-1, 0, 1):
            raise InvalidInputError(f"{where}: aspects: polarity {sign!r} of {name} is not -1, 0 or 1")
        keyword = label_set.aspect_names[name]
        if keyword is None:
            continue
        signs.setdefault(keyword, set()).add(sign)
        start = text.find(span) if span and isinstance(span, str) else -1
        if start >= 0:
            evidence.setdefault(keyword, []).append((start, start + len(span)))
    # Praise and blame of one keyword in one review are mixed: neutral by the guideline.
    scores = {keyword: next(iter(found)) if len(found) == 1 else 0 for keyword, found in signs.items()}
    if polarity in (-1, 0, 1):
        scores[label_set.overall] = polarity
    annotated = (frozenset(label_set.keywords) - label_set.unannotated) | scores.keys()
    spans = {keyword: tuple(found) for keyword, found in evidence.items()}
    return LabelledReview(review_id, text, scores, False, annotated, spans)
