"""Results: the model's arrays to messages, and messages to the documented JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest

from client.artifact import Artifact
from client.errors import InvalidInputError, InvalidReviewError
from client.highlights import Highlight
from client.results import Findings, InvalidRow, ReviewInput, failed_analysis, finished_analysis, to_dict
from client.words import Word

# Columns of the artifact in conftest.py: 가격 디자인 배송 사이즈.
KEYWORD_PROBS = np.array([0.6, 0.1, 0.9, 0.2], np.float32)


def sentiments(*chosen: int | None) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """[K+1,5] where row k is most likely the chosen sentiment; zeros for None."""
    rows = np.zeros((len(chosen), 5), np.float32)
    for row, choice in zip(rows, chosen, strict=True):
        if choice is not None:
            row[:] = 0.1
            row[choice] = 0.6
    return rows


@pytest.fixture
def findings() -> Findings:
    highlight = Highlight(Word("빠른데", 4, 7), 0.9, 0.25)
    return Findings(KEYWORD_PROBS, sentiments(0, None, 3, None, 2), {2: [highlight]})


def test_keywords_are_ordered_by_probability_with_the_overall_label_last(
    findings: Findings, artifact: Artifact
) -> None:
    analysis = finished_analysis(ReviewInput("배송은 빠른데", "r-1"), findings, artifact.labels, "v1")
    assert [(k.keyword, k.sentiment, k.score) for k in analysis.keywords] == [
        ("배송", "긍정", 1),
        ("가격", "매우부정", -2),
        ("만족도", "중립", 0),
    ]
    assert [round(k.probability, 6) for k in analysis.keywords] == [0.9, 0.6, 1.0]
    assert [len(k.highlights) for k in analysis.keywords] == [1, 0, 0]


def test_equally_probable_keywords_keep_the_order_of_the_label_set(artifact: Artifact) -> None:
    findings = Findings(np.full(4, 0.7, np.float32), sentiments(1, 1, 1, 1, 1))
    analysis = finished_analysis(ReviewInput("글"), findings, artifact.labels, "v1")
    assert [k.keyword for k in analysis.keywords] == ["가격", "디자인", "배송", "사이즈", "만족도"]


def test_json_is_the_documented_one(findings: Findings, artifact: Artifact) -> None:
    analysis = finished_analysis(ReviewInput("배송은 빠른데", "r-1"), findings, artifact.labels, "v1")
    values = to_dict(analysis)
    assert list(values) == ["id", "text", "keywords", "truncated", "model_version"]
    assert values["truncated"] is False
    assert json.dumps(values["keywords"][0], ensure_ascii=False) == (
        '{"keyword": "배송", "probability": 0.9, "sentiment": "긍정", "score": 1, '
        '"sentiment_probabilities": [0.1, 0.1, 0.1, 0.6, 0.1], '
        '"highlights": [{"text": "빠른데", "start": 4, "end": 7, "probability": 0.9, "masked_probability": 0.25}]}'
    )
    assert values["keywords"][-1]["score"] == 0
    assert values["keywords"][-1]["highlights"] == []


def test_failed_review_keeps_id_and_text_and_says_why() -> None:
    values = to_dict(failed_analysis(ReviewInput("", "7", 9), InvalidReviewError("the review is empty"), "v1"))
    assert values == {
        "id": "7",
        "text": "",
        "keywords": [],
        "truncated": False,
        "model_version": "v1",
        "error": {"code": "INVALID_ARGUMENT", "message": "the review is empty", "line": 9},
    }


def test_error_without_a_file_has_no_line() -> None:
    assert not failed_analysis(ReviewInput("", "7"), InvalidReviewError("empty")).error.HasField("line")


def test_surrogates_never_reach_a_message() -> None:
    row = InvalidRow("\udcff", 3, InvalidInputError("no field 'text'; the fields are: \ud800"))
    analysis = failed_analysis(row, row.error)
    assert (analysis.id, analysis.error.message[-1]) == ("\ufffd", "\ufffd")
    assert failed_analysis(ReviewInput("좋아\udcec요", "1"), row.error).text == "좋아\ufffd요"
