"""Issues: suspected labels, one a review and keyword, with the reasons, in the order in which to look at them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.audit.decisions import Decisions
from training.audit.likely_errors import LikelyErrors
from training.audit.rules import Action, Finding, Rule, check_rules
from training.data import LabelledReview, LabelSet

Source = Literal["model", "rule"]


@dataclass(frozen=True)
class Issue:
    """A suspected label.

    ``score`` is the sentiment that was given with it, None where the keyword is not tagged. ``probability`` is the
    out-of-fold probability of the keyword and ``quality`` that of the label as given; both None where the model does
    not judge. ``action`` is what is suggested, ``suggestion`` the keyword that the words belong to instead. ``spans``
    are the code points of the words that rules point at.
    """

    review: LabelledReview
    keyword: str
    score: int | None
    probability: float | None
    quality: float | None
    action: Action
    suggestion: str | None
    found_by: frozenset[Source]
    why: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]


def find_issues(
    reviews: Sequence[LabelledReview],
    label_set: LabelSet,
    probabilities: NDArray[np.float32],
    errors: LikelyErrors,
    rules: Sequence[Rule],
    decided: Decisions,
) -> list[Issue]:
    """Every suspected label that nobody has decided on, first those that both model and rules suspect.

    Within each part the order is by the quality of the label, the least sure first; what only a rule can judge comes
    before what the model finds right.
    """
    issues = []
    for row, review in enumerate(reviews):
        findings: dict[str, list[Finding]] = {}
        for finding in check_rules(rules, review.text, review.scores):
            # What a source does not annotate is unknown, not missing.
            if review.graded or finding.keyword in review.annotated:
                findings.setdefault(finding.keyword, []).append(finding)
        columns = {name: k for k, name in enumerate(label_set.keywords)}
        suspected = {name for name, k in columns.items() if errors.flagged[row, k]} | findings.keys()
        for keyword in (name for name in label_set.all_labels if name in suspected):
            if not decided.decided(review.text, keyword):
                k = columns.get(keyword)
                judged = k is not None and not np.isnan(errors.quality[row, k])
                probability = float(probabilities[row, k]) if judged else None
                quality = float(errors.quality[row, k]) if judged else None
                flagged = k is not None and bool(errors.flagged[row, k])
                issues.append(_issue(review, keyword, probability, quality, flagged, findings.get(keyword, [])))
    return sorted(issues, key=rank)


def rank(issue: Issue) -> tuple[int, float]:
    """The sort key of an issue: found by both first, then the label of least quality."""
    return -len(issue.found_by), issue.quality if issue.quality is not None else 0.0


def _issue(
    review: LabelledReview,
    keyword: str,
    probability: float | None,
    quality: float | None,
    flagged: bool,
    findings: Sequence[Finding],
) -> Issue:
    score = review.scores.get(keyword)
    why = [finding.why for finding in findings]
    if flagged:
        state = "not tagged" if score is None else "tagged"
        why.append(f"It is {state}; a model that did not see this review gives it a probability of {probability:.2f}")
    sources: list[tuple[Source, bool]] = [("model", flagged), ("rule", bool(findings))]
    # Where the review carries that keyword already, there is nothing to move.
    suggestions = [f.suggestion for f in findings if f.suggestion and f.suggestion not in review.scores]
    return Issue(
        review=review,
        keyword=keyword,
        score=score,
        probability=probability,
        quality=quality,
        action="add" if score is None else "remove",
        suggestion=suggestions[0] if suggestions else None,
        found_by=frozenset(source for source, found in sources if found),
        why=tuple(why),
        spans=tuple(f.span for f in findings if f.span),
    )


@dataclass(frozen=True)
class KeywordSummary:
    """One keyword: ``reviews`` whose source annotates it, ``support`` of those that carry it, suspected ``wrong`` and
    ``missing`` labels, how many of both a rule names, and the shares of the tagged and of all reviews."""

    keyword: str
    reviews: int
    support: int
    wrong: int
    missing: int
    by_rules: int
    share_of_tagged_wrong: float
    share_of_reviews_suspected: float


def summarize(reviews: Sequence[LabelledReview], label_set: LabelSet, issues: Sequence[Issue]) -> list[KeywordSummary]:
    """A row for each label, in the order of the label set."""
    rows = []
    for label in label_set.all_labels:
        judged = sum(label in review.annotated for review in reviews)
        support = sum(label in review.scores for review in reviews)
        found = [issue for issue in issues if issue.keyword == label]
        wrong = sum(issue.action == "remove" for issue in found)
        rows.append(
            KeywordSummary(
                keyword=label,
                reviews=judged,
                support=support,
                wrong=wrong,
                missing=len(found) - wrong,
                by_rules=sum("rule" in issue.found_by for issue in found),
                share_of_tagged_wrong=round(wrong / max(support, 1), 4),
                share_of_reviews_suspected=round(len(found) / max(judged, 1), 4),
            )
        )
    return rows
