"""Checks before training: contradictory duplicates are taken out and told, what cannot be learned is named."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.errors import InvalidInputError
from training.audit.decisions import read_decisions
from training.checks import check_reviews, check_splits, contradiction_lines
from training.corpus import text_key
from training.data import LabelledReview, LabelSet, read_labelled
from training.finetune import load_reviews

LABELS = LabelSet(("배송", "핏", "색상"), "만족도", ("매우부정", "부정", "중립", "긍정", "매우긍정"), (-2, -1, 0, 1, 2))
KEYWORDS = frozenset(LABELS.keywords)


def graded(text: str, where: str = "", **scores: int) -> LabelledReview:
    return LabelledReview(text, text, scores, True, KEYWORDS | scores.keys(), where=where)


def signed(text: str, **scores: int) -> LabelledReview:
    return LabelledReview(text, text, scores, False, frozenset({"핏", "색상"}) | scores.keys())


def soft(text: str, **targets: float) -> LabelledReview:
    return LabelledReview(text, text, {}, False, frozenset(targets), {}, targets)


def test_rows_that_agree_become_one() -> None:
    rows = [graded("핏이 좋아요", 핏=1), graded("핏이  좋아요 ", 핏=1, 만족도=2), graded("색이 고와요", 색상=1)]
    report = check_reviews(rows, LABELS)
    assert [(r.text, dict(r.scores)) for r in report.kept] == [
        ("핏이 좋아요", {"핏": 1, "만족도": 2}),
        ("색이 고와요", {"색상": 1}),
    ], "a label that one row does not annotate comes from the other"
    assert report.kept[0].annotated == KEYWORDS | {"만족도"}
    assert not report.contradictions
    assert not report.warnings


def test_a_contradiction_is_left_out_and_told_with_its_lines() -> None:
    rows = [
        graded("핏이 좋아요", "a.jsonl:3", 핏=1),
        graded("그냥 그래요", 만족도=0),
        graded("핏이 좋아요", "b.jsonl:9", 핏=-1),
    ]
    report = check_reviews(rows, LABELS)
    assert [r.text for r in report.kept] == ["그냥 그래요"]
    (contradiction,) = report.contradictions
    assert (contradiction.label, contradiction.votes) == ("핏", (("a.jsonl:3", 1), ("b.jsonl:9", -1)))
    (warning,) = report.warnings
    assert "in 1 text(s), left out" in warning
    assert "'핏이 좋아요': 핏 (a.jsonl:3: 1, b.jsonl:9: -1)" in warning


def test_a_keyword_that_only_some_rows_tag_is_a_contradiction() -> None:
    report = check_reviews([graded("핏이 좋아요", "a:1", 핏=1), graded("핏이 좋아요", "a:2")], LABELS)
    assert not report.kept
    assert report.contradictions[0].votes == (("a:1", 1), ("a:2", None))
    assert "(a:1: 1, a:2: no)" in report.warnings[0]


def test_a_majority_settles_a_label() -> None:
    rows = [graded("좋아요", f"a:{n}", 만족도=score) for n, score in enumerate((1, 2, 1, 1, 1), 1)]
    report = check_reviews(rows, LABELS)
    assert [dict(r.scores) for r in report.kept] == [{"만족도": 1}]
    assert [c.settled for c in report.contradictions] == [True]
    assert (
        "in 1 text(s), settled by majority; the first '좋아요': 만족도 (a:1: 1, a:2: 2, a:3: 1, a:4: 1, …)"
        in report.warnings[0]
    )


def test_one_label_without_a_majority_takes_the_text_out() -> None:
    rows = [graded("좋아요", 만족도=1, 핏=score) for score in (1, 2)] + [graded("좋아요", 만족도=2)]
    report = check_reviews(rows, LABELS)
    assert not report.kept
    assert {c.label: c.settled for c in report.contradictions} == {"핏": False, "만족도": True}
    (warning,) = report.warnings
    assert "left out; the first '좋아요': 핏" in warning


def test_kinds_of_labels_do_not_contradict_one_another() -> None:
    rows = [
        graded("핏이 좋아요", 핏=2),
        signed("핏이 좋아요", 핏=-1),
        soft("핏이 좋아요", 핏=0.1),
        soft("핏이 좋아요", 핏=0.9),
    ]
    report = check_reviews(rows, LABELS)
    assert list(report.kept) == rows[:3]
    assert not report.contradictions


def test_marked_words_are_joined_where_the_text_is_the_very_same() -> None:
    def marked(text: str, *span: int) -> LabelledReview:
        return LabelledReview("1", text, {"핏": 1}, False, frozenset({"핏"}), {"핏": ((span[0], span[1]),)})

    rows = [marked("핏 참 예뻐요", 4, 7), marked("핏 참 예뻐요", 0, 1), marked("핏 참  예뻐요", 5, 8)]
    (review,) = check_reviews(rows, LABELS).kept
    assert review.evidence == {"핏": ((0, 1), (4, 7))}


def test_the_list_of_contradictions_leads_to_decisions_that_settle_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [graded("=핏이 좋아요", "a:1", 핏=1), graded("=핏이 좋아요", "a:2", 핏=-1)]
    (line,) = contradiction_lines(check_reviews(rows, LABELS).contradictions)
    told = json.loads(line)
    assert told == {
        "text": "=핏이 좋아요",
        "keyword": "핏",
        "votes": [{"where": "a:1", "score": 1}, {"where": "a:2", "score": -1}],
        "outcome": "left out",
    }
    file = tmp_path / "decisions.jsonl"
    decision = {"text": told["text"], "keyword": told["keyword"], "decision": "score", "score": 1}
    file.write_text(json.dumps(decision) + "\n", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        report = check_reviews(read_decisions(file, LABELS).apply(rows), LABELS)
    assert [dict(r.scores) for r in report.kept] == [{"핏": 1}]
    assert not report.contradictions
    assert not caplog.records


scores = st.dictionaries(st.sampled_from(LABELS.all_labels), st.sampled_from(LABELS.sentiment_scores), max_size=3)
texts = st.sampled_from(("핏이 좋아요", "핏이좋아요", "색이 곱다", "배송 빨라요", "배송 빨라요 "))
any_reviews = st.lists(
    st.builds(lambda text, given, sign: (signed if sign else graded)(text, **given), texts, scores, st.booleans()),
    max_size=12,
)


def labels_by_text(reviews: Sequence[LabelledReview]) -> dict[tuple[str, bool], dict[str, int]]:
    return {(text_key(r.text), r.graded): dict(r.scores) for r in reviews}


@given(any_reviews)
def test_every_text_is_kept_once_or_told(reviews: list[LabelledReview]) -> None:
    report = check_reviews(reviews, LABELS)
    kept = labels_by_text(report.kept)
    assert len(kept) == len(report.kept)
    told = {text_key(c.text) for c in report.contradictions if not c.settled}
    assert {(text_key(r.text), r.graded) for r in reviews} - kept.keys() <= {
        (key, g) for key in told for g in (True, False)
    }
    assert bool(report.contradictions) == bool(report.warnings)


@given(any_reviews, st.randoms(use_true_random=False))
def test_what_is_kept_does_not_depend_on_the_order(reviews: list[LabelledReview], random: Random) -> None:
    shuffled = random.sample(reviews, len(reviews))
    assert labels_by_text(check_reviews(reviews, LABELS).kept) == labels_by_text(check_reviews(shuffled, LABELS).kept)


@given(any_reviews)
def test_what_is_kept_has_nothing_more_to_say(reviews: list[LabelledReview]) -> None:
    kept = check_reviews(reviews, LABELS).kept
    again = check_reviews([*kept, *kept], LABELS)
    assert labels_by_text(again.kept) == labels_by_text(kept)
    assert not again.contradictions


FULL = [graded("가", 배송=-2, 핏=-1), graded("나", 핏=0, 색상=1), graded("다", 배송=2), graded("라", 색상=1, 만족도=1)]


def splits(**parts: Sequence[LabelledReview]) -> dict[str, Sequence[LabelledReview]]:
    return {"train": FULL, "validation": FULL, "test": FULL} | parts


@pytest.mark.parametrize("task", ["keyword", "sentiment"])
def test_nothing_to_say_of_complete_data(task: str) -> None:
    assert check_splits(splits(), LABELS, task) == ()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("parts", "empty"),
    [
        ({"validation": []}, "8 reviews leave the validation split empty"),
        ({"validation": [], "test": []}, "4 reviews leave the validation and test split empty"),
        ({"test": [soft("가", 핏=0.9)]}, "9 reviews leave the test split empty"),
    ],
)
def test_an_empty_split(parts: dict[str, Sequence[LabelledReview]], empty: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^{empty}; bring at least 100 with sentiment labels"):
        check_splits(splits(**parts), LABELS, "sentiment")


def test_no_keyword_at_all() -> None:
    with pytest.raises(InvalidInputError, match="none of the 2 training reviews tags a keyword"):
        check_splits(splits(train=[graded("가", 만족도=1), graded("나")]), LABELS, "keyword")


def test_keywords_that_training_cannot_teach() -> None:
    told = check_splits(splits(train=[graded("가", 핏=1), soft("나", 배송=0.4, 핏=0.6)]), LABELS, "keyword")
    assert [warning.partition(":")[0] for warning in told] == [
        "no training review tags 배송, 색상",
        "every training review that annotates 핏 tags it",
    ]
    (told_once,) = check_splits(splits(validation=[graded("가", 핏=1, 배송=1)]), LABELS, "keyword")
    assert told_once.startswith("no validation review tags 색상: its threshold stays at 0.5")


def test_sentiments_that_training_cannot_teach() -> None:
    train = [signed("가", 핏=-1, 색상=0), graded("나", 배송=1, 만족도=1)]
    told = check_splits(splits(train=train), LABELS, "sentiment")
    assert [warning.partition(":")[0] for warning in told] == [
        "no training review has the sentiment 매우긍정",
        "of 매우부정, 부정 training reviews tell the sign only",
    ]
    (unasked,) = check_splits(splits(train=FULL[:3]), LABELS, "sentiment")
    assert unasked.startswith("no training review has a sentiment of 만족도")


def test_warnings_name_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [
        {"text": "핏이 좋아요", "labels": {"핏": 1}},
        {"text": "핏이 좋아요!", "labels": {}},
        {"text": "핏이 좋아요", "completion": ""},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (warning,) = check_reviews(read_labelled(path, LABELS), LABELS).warnings
    assert f"({path}:1: 1, {path}:3: no)" in warning


def test_the_list_of_contradictions_is_that_of_this_run(tmp_path: Path) -> None:
    data, listed = tmp_path / "reviews.jsonl", tmp_path / "contradictions.jsonl"
    for scores, told in (((1, -1), True), ((1, 1), False)):
        rows = [{"text": "핏이 좋아요", "labels": {"핏": score}} for score in scores]
        rows.append({"text": "색이 고와요", "labels": {"색상": 1}})
        data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        load_reviews([str(data)], LABELS, contradictions=listed)
        assert listed.exists() is told
