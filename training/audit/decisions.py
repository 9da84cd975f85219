"""What people decided about labels: a file that the audit's page writes and the next training applies.

A line is one decision about one keyword of one review, which is found by its text (but for blanks, case and width), so
that the decision holds in whichever file, order or form the review comes:

```json
{"text": "허리 밴드가 잘 늘어나요", "keyword": "신축성", "decision": "add", "score": 1}
```

| decision | afterwards |
|---|---|
| ``keep`` | the label is as it was, tagged or not, and the audit does not ask again |
| ``remove`` | the review does not carry the keyword |
| ``add``, ``score`` | the review carries the keyword with ``score`` |

They say what is true, not what to change: applying a file twice is applying it once.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from client.errors import InvalidInputError
from training.corpus import open_text, text_key
from training.data import LabelledReview, LabelSet

log = logging.getLogger("decisions")

Verdict = Literal["keep", "remove", "add", "score"]


@dataclass(frozen=True)
class Decision:
    """One decision; ``score`` is None for ``keep`` and ``remove``."""

    text: str
    keyword: str
    decision: Verdict
    score: int | None = None

    @property
    def outcome(self) -> tuple[str, int | None]:
        """What is true afterwards: two decisions with one outcome agree."""
        return ("tagged" if self.decision in ("add", "score") else self.decision, self.score)


@dataclass(frozen=True)
class Decisions:
    """Decisions by review (``text_key`` of its text) and keyword."""

    by_text: Mapping[str, Mapping[str, Decision]]

    @classmethod
    def of(cls, decisions: Iterable[Decision]) -> Decisions:
        """Collect decisions; saying the same twice is once.

        Raises:
            InvalidInputError: two of them contradict one another.
        """
        by_text: dict[str, dict[str, Decision]] = {}
        for decision in decisions:
            earlier = by_text.setdefault(text_key(decision.text), {}).setdefault(decision.keyword, decision)
            if earlier.outcome != decision.outcome:
                raise InvalidInputError(
                    f"{decision.keyword} of {_short(decision.text)}: {_said(earlier)} contradicts {_said(decision)}; "
                    "keep one of the two"
                )
        return cls(by_text)

    def __len__(self) -> int:
        return sum(map(len, self.by_text.values()))

    def __iter__(self) -> Iterator[Decision]:
        for of_review in self.by_text.values():
            yield from of_review.values()

    def decided(self, text: str, keyword: str) -> bool:
        return keyword in self.by_text.get(text_key(text), {})

    def unmatched(self, reviews: Iterable[LabelledReview]) -> list[Decision]:
        """Decisions whose text is not among ``reviews``."""
        keys = {text_key(review.text) for review in reviews}
        return [decision for decision in self if text_key(decision.text) not in keys]

    def apply(self, reviews: Iterable[LabelledReview]) -> list[LabelledReview]:
        """The reviews with every decision carried out, in their order; a warning tells decisions without a review."""
        reviews = list(reviews)
        if unmatched := self.unmatched(reviews):
            log.warning(
                "%d of %d decisions match no review, the first: %s of %s",
                len(unmatched),
                len(self),
                unmatched[0].keyword,
                _short(unmatched[0].text),
            )
        return [_decided(review, self.by_text.get(text_key(review.text), {})) for review in reviews]


def _decided(review: LabelledReview, decisions: Mapping[str, Decision]) -> LabelledReview:
    changes = {name: d.score for name, d in decisions.items() if d.decision != "keep"}
    if not changes:
        return review
    removed = {name for name, score in changes.items() if score is None}
    set_scores = {name: score for name, score in changes.items() if score is not None}
    return replace(
        review,
        scores={name: s for name, s in review.scores.items() if name not in removed} | set_scores,
        # A decision makes the label known, and a person's word replaces a soft target.
        annotated=review.annotated | changes.keys(),
        targets={name: t for name, t in review.targets.items() if name not in changes},
        evidence={name: spans for name, spans in review.evidence.items() if name not in removed},
    )


def read_decisions(path: Path, label_set: LabelSet) -> Decisions:
    """Read a decisions file.

    Raises:
        InvalidInputError: names the line, the field and the value that is unknown, or the decisions that contradict.
    """
    try:
        with open_text(path) as lines:
            decisions = [
                _decision(line, f"{path}:{number}", label_set) for number, line in enumerate(lines, 1) if line.strip()
            ]
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path}: cannot read the decisions: {error}") from None
    try:
        return Decisions.of(decisions)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}") from None


def _decision(line: str, where: str, label_set: LabelSet) -> Decision:
    try:
        row: Any = json.loads(line)
    except ValueError as error:
        raise InvalidInputError(f"{where}: broken JSON: {error}") from None
    if not isinstance(row, dict):
        raise InvalidInputError(f"{where}: a line must be a JSON object, not {type(row).__name__}")
    text, keyword, score = row.get("text"), row.get("keyword"), row.get("score")
    verdict: Any = row.get("decision")
    if not isinstance(text, str) or not text.strip():
        raise InvalidInputError(f"{where}: text: {text!r} is not the text of a review")
    if keyword not in label_set.all_labels:
        raise InvalidInputError(
            f"{where}: keyword: {keyword!r} is not in the label set {', '.join(label_set.all_labels)}"
        )
    if verdict not in get_args(Verdict):
        raise InvalidInputError(f"{where}: decision: {verdict!r} is not one of {', '.join(get_args(Verdict))}")
    if verdict == "remove" and keyword == label_set.overall:
        raise InvalidInputError(f"{where}: decision: {keyword} is true of every review; set its score instead")
    if verdict in ("add", "score"):
        if type(score) is not int or score not in label_set.sentiment_scores:
            allowed = ", ".join(map(str, label_set.sentiment_scores))
            raise InvalidInputError(f"{where}: score: {score!r} is not one of {allowed}, which {verdict!r} needs")
    elif score is not None:
        raise InvalidInputError(f"{where}: score: {score!r}: {verdict!r} takes none; did you mean 'score'?")
    return Decision(text, keyword, verdict, score)


def _said(decision: Decision) -> str:
    return decision.decision if decision.score is None else f"{decision.decision} {decision.score}"


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:39] + "…")
