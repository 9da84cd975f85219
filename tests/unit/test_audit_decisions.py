"""Decisions: what is read, what contradicts, and what they do to labelled reviews."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.errors import InvalidInputError
from training.audit.decisions import Decision, Decisions, read_decisions
from training.data import LabelledReview, LabelSet

FASHION = LabelSet.load(Path("training/label_sets/fashion.json"))
TEXT = "허리가 편하고 색이 고와요"


def review(text: str = TEXT, /, **scores: int) -> LabelledReview:
    annotated = frozenset(FASHION.keywords) | scores.keys()
    evidence = dict.fromkeys(scores, ((0, 2),))
    return LabelledReview("1", text, scores, True, annotated, evidence)


def write(path: Path, *rows: object) -> Path:
    lines = (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def row(keyword: str, decision: str, score: int | None = None, text: str = TEXT) -> dict[str, Any]:
    return {"text": text, "keyword": keyword, "decision": decision, "score": score}


def test_every_decision_is_carried_out(tmp_path: Path) -> None:
    path = write(
        tmp_path / "d.jsonl",
        row("신축성", "remove"),
        row("착용감", "add", 2),
        "",
        row("색상", "score", -1),
        row("핏", "keep"),
        row("만족도", "score", 0),
    )
    reviews = [review("다른 리뷰예요", 핏=1), review(신축성=1, 색상=1, 핏=0, 만족도=2)]
    other, decided = read_decisions(path, FASHION).apply(reviews)
    assert other is reviews[0]
    assert dict(decided.scores) == {"색상": -1, "핏": 0, "만족도": 0, "착용감": 2}
    assert "신축성" not in decided.evidence
    assert "색상" in decided.evidence


def test_a_decision_makes_a_label_known_and_replaces_a_soft_target() -> None:
    soft = LabelledReview("1", TEXT, {}, False, frozenset({"색상"}), {}, {"색상": 0.3, "핏": 0.8})
    decisions = Decisions.of([Decision(TEXT, "배송", "remove"), Decision(TEXT, "색상", "add", 1)])
    (decided,) = decisions.apply([soft])
    assert decided.annotated >= {"배송", "색상"}
    assert dict(decided.targets) == {"핏": 0.8}
    assert dict(decided.scores) == {"색상": 1}


def test_reviews_are_found_but_for_blanks_and_case() -> None:
    decisions = Decisions.of([Decision("XL 색이  고와요", "색상", "add", 1)])
    assert [dict(r.scores) for r in decisions.apply([review("xl 색이 고와요\n")])] == [{"색상": 1}]
    assert decisions.decided("xl색이 고와요", "색상")
    assert not decisions.decided("xl색이 고와요", "핏")


def test_decisions_without_a_review_are_told(caplog: pytest.LogCaptureFixture) -> None:
    decisions = Decisions.of([Decision("없는 리뷰", "색상", "remove"), Decision(TEXT, "핏", "keep")])
    with caplog.at_level(logging.WARNING):
        decisions.apply([review(핏=1)])
    assert "1 of 2 decisions match no review, the first: 색상 of '없는 리뷰'" in caplog.text
    assert [d.keyword for d in decisions.unmatched([review(핏=1)])] == ["색상"]
    assert decisions.unmatched([review(), review("없는 리뷰")]) == []


def test_saying_the_same_twice_is_once_and_contradiction_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", row("색상", "add", 1), row("색상", "score", 1))
    assert len(read_decisions(path, FASHION)) == 1
    for first, second in [
        (row("색상", "remove"), row("색상", "keep")),
        (row("색상", "add", 1), row("색상", "add", 2)),
        (row("색상", "score", 1), row("색상", "remove", text=f" {TEXT}")),
    ]:
        with pytest.raises(InvalidInputError, match=r"d\.jsonl: 색상 of .*contradicts.*keep one"):
            read_decisions(write(tmp_path / "d.jsonl", first, second), FASHION)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("{", "broken JSON"),
        ([], "must be a JSON object, not list"),
        (row("향기", "keep"), "keyword: '향기' is not in the label set"),
        (row("색상", "drop"), "decision: 'drop' is not one of keep, remove, add, score"),
        (row("색상", "add"), "score: None is not one of -2, -1, 0, 1, 2, which 'add' needs"),
        (row("색상", "score", 3), "score: 3 is not one of"),
        ({**row("색상", "score"), "score": True}, "score: True is not one of"),
        (row("색상", "remove", 1), "score: 1: 'remove' takes none"),
        (row("만족도", "remove"), "만족도 is true of every review"),
        (row("색상", "keep", text=" "), "text: ' '"),
        ({"keyword": "색상", "decision": "keep"}, "text: None"),
        ({**row("색상", "keep"), "keyword": ["색상"]}, r"keyword: \['색상'\]"),
    ],
)
def test_mistakes_name_line_and_field(tmp_path: Path, wrong: object, told: str) -> None:
    path = write(tmp_path / "d.jsonl", row("핏", "keep"), wrong)
    with pytest.raises(InvalidInputError, match=rf"d\.jsonl:2: .*{told}"):
        read_decisions(path, FASHION)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"none\.jsonl: cannot open"):
        read_decisions(tmp_path / "none.jsonl", FASHION)
    (tmp_path / "latin.jsonl").write_bytes(b"{\xe9}\n")
    with pytest.raises(InvalidInputError, match="cannot read the decisions"):
        read_decisions(tmp_path / "latin.jsonl", FASHION)


decided = st.one_of(
    st.builds(Decision, st.just(TEXT), st.sampled_from(FASHION.keywords), st.sampled_from(["keep", "remove"])),
    st.builds(
        Decision,
        st.just(TEXT),
        st.sampled_from(FASHION.all_labels),
        st.sampled_from(["add", "score"]),
        st.sampled_from(FASHION.sentiment_scores),
    ),
)


@given(
    st.dictionaries(st.sampled_from(FASHION.all_labels), st.sampled_from(FASHION.sentiment_scores)),
    st.lists(decided, unique_by=lambda d: d.keyword),
)
def test_applying_twice_is_applying_once(scores: dict[str, int], said: list[Decision]) -> None:
    decisions = Decisions.of(said)
    once = decisions.apply([review(**scores)])
    assert decisions.apply(once) == once
    after = once[0].scores
    for decision in said:
        if decision.decision == "keep":
            assert after.get(decision.keyword) == scores.get(decision.keyword)
        else:
            assert after.get(decision.keyword) == decision.score
    untouched = set(FASHION.all_labels) - {d.keyword for d in said}
    assert {k: s for k, s in after.items() if k in untouched} == {k: s for k, s in scores.items() if k in untouched}
