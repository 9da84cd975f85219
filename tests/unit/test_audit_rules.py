"""Guideline rules: the engine on rules written here, and the rules that come with the fashion label set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.errors import InvalidInputError
from training.audit.rules import Rule, check_rules, load_rules, rules_beside
from training.data import LabelSet, read_labelled

LABEL_SET_FILE = Path("training/label_sets/fashion.json")
FASHION = LabelSet.load(LABEL_SET_FILE)


@pytest.fixture(scope="module")
def rules() -> tuple[Rule, ...]:
    path = rules_beside(LABEL_SET_FILE)
    assert path is not None
    return load_rules(path, FASHION)


@pytest.mark.parametrize(
    ("text", "labels", "keyword", "action", "suggestion"),
    [
        ("천이 쫀쫀해서 오래 입겠어요", "신축성", "신축성", "remove", "품질"),
        ("짱짱하게 잘 만들었네요", "신축성", "신축성", "remove", "품질"),
        ("세탁 두 번에 목이 늘어났어요", "신축성 품질", "신축성", "remove", "품질"),
        ("주머니가 깊어서 좋아요", "신축성 기능성", "신축성", "remove", None),
        ("구김이 안 가서 편해요", "착용감", "소재", "add", None),
        ("구김이 심해요", "마감처리 소재", "마감처리", "remove", "소재"),
        ("실밥이 여기저기 나와 있어요", "품질", "마감처리", "add", None),
        ("박음질이 삐뚤어요", "디자인", "마감처리", "add", None),
        ("세탁 한 번에 목이 늘어졌어요", "착용감", "품질", "add", None),
        ("보풀이 벌써 생겼어요", "소재", "품질", "add", None),
        ("흰색이라 비침이 있어요", "색상", "소재", "add", None),
        ("교환 문의했는데 답이 없어요", "배송", "배송", "remove", None),
        ("얇아서 별로예요", "기능성 소재", "기능성", "remove", "소재"),
    ],
)
def test_the_guideline_is_checked(
    rules: tuple[Rule, ...], text: str, labels: str, keyword: str, action: str, suggestion: str | None
) -> None:
    scores = dict.fromkeys([*labels.split(), "만족도"], 1)
    (finding,) = check_rules(rules, text, scores)
    assert (finding.keyword, finding.action, finding.suggestion) == (keyword, action, suggestion)
    assert finding.why
    if finding.span:
        start, end = finding.span
        assert 0 <= start < end <= len(text)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("허리 밴드가 짱짱해요", "신축성"),
        ("스판이 쫀쫀하게 들어 있어요", "신축성"),
        ("천이 쫀쫀해요", "품질"),
        ("구겨진 채로 배송됐어요", "배송"),
        ("실밥이 나와 있어요", "마감처리"),
        ("두꺼워서 따뜻해요", "기능성 소재"),
        ("교환했는데 배송이 빨라요", "배송"),
        ("가성비가 좋아요", "가격"),
    ],
)
def test_labels_under_the_guideline_are_left_alone(rules: tuple[Rule, ...], text: str, labels: str) -> None:
    assert check_rules(rules, text, dict.fromkeys([*labels.split(), "만족도"], 1)) == []


def test_few_of_the_sample_reviews_are_suspected(rules: tuple[Rule, ...]) -> None:
    reviews = list(read_labelled(Path("samples/labelled_reviews.jsonl"), FASHION))
    findings = [f for review in reviews for f in check_rules(rules, review.text, review.scores)]
    assert len(findings) <= 0.05 * len(reviews), [f.rule for f in findings]


def test_overall_is_missed_where_it_is_not_tagged(rules: tuple[Rule, ...]) -> None:
    (finding,) = check_rules(rules, "색이 고와요", {"색상": 1})
    assert (finding.keyword, finding.action, finding.span) == ("만족도", "add", None)


def write(path: Path, *rules: Any, words: Any = None) -> Path:
    path.write_text(json.dumps({"words": words or {}, "rules": list(rules)}, ensure_ascii=False), encoding="utf-8")
    return path


RULE = {"name": "r", "keyword": "핏", "suspect": "tagged", "when_any": ["통"], "why": "왜냐하면"}


def test_lists_of_words_are_quoted_by_name(tmp_path: Path) -> None:
    row = RULE | {"when_any": ["@wide", "벙"], "unless_any": ["@slim"], "suggest": "사이즈"}
    (rule,) = load_rules(
        write(tmp_path / "r.json", row, words={"wide": ["통", "품이 ?크"], "slim": ["라인|핏"]}), FASHION
    )
    found = check_rules([rule], "품이크다", {"핏": 0})
    assert [(f.suggestion, f.span, f.rule) for f in found] == [("사이즈", (0, 3), "r")]
    assert check_rules([rule], "품이크다", {"사이즈": 0}) == [], "not tagged"
    assert check_rules([rule], "통이 넓지만 라인이 예뻐요", {"핏": 0}) == [], "unless"
    assert check_rules([rule], "색이 예뻐요", {"핏": 0}) == [], "when"


@given(st.text())
def test_a_rule_without_words_speaks_of_every_review(text: str) -> None:
    rule = Rule("r", "핏", "missing", None, None, None, "왜냐하면")
    assert [f.keyword for f in check_rules([rule], text, {})] == ["핏"]
    assert check_rules([rule], text, {"핏": 0}) == []


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"keyword": "향기"}, "keyword: '향기' is not in the label set"),
        ({"suggest": "향기"}, "suggest: '향기' is not in the label set"),
        ({"suggest": "핏"}, "only a tagged keyword can belong to another one"),
        ({"suspect": "missing", "suggest": "사이즈"}, "only a tagged keyword can belong to another one"),
        ({"suspect": "wrong"}, "suspect: 'wrong' is not one of tagged, missing"),
        ({"when_any": ["("]}, r"when_any: '\(' is not a regular expression"),
        ({"when_any": []}, "when_any: \\[\\] is not a list"),
        ({"when_any": "통"}, "when_any: '통' is not a list"),
        ({"unless_any": ["@none"]}, "unless_any: @none: no such list"),
        ({"why": " "}, "why: ' ' is not a text"),
        ({"whenever": ["통"]}, "whenever: no field of a rule"),
    ],
)
def test_mistakes_name_rule_and_field(tmp_path: Path, row: dict[str, Any], told: str) -> None:
    path = write(tmp_path / "r.json", RULE | {"name": "first"}, RULE | row)
    with pytest.raises(InvalidInputError, match=f"rule 2.*{told}"):
        load_rules(path, FASHION)


def test_unusable_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="cannot read the rules"):
        load_rules(tmp_path / "none.json", FASHION)
    broken = tmp_path / "broken.json"
    broken.write_text("{", encoding="utf-8")
    with pytest.raises(InvalidInputError, match="broken JSON"):
        load_rules(broken, FASHION)
    broken.write_text("[]", encoding="utf-8")
    with pytest.raises(InvalidInputError, match="no list 'rules'"):
        load_rules(broken, FASHION)
    with pytest.raises(InvalidInputError, match="keyword, name, suspect, why: missing"):
        load_rules(write(tmp_path / "r.json", {}), FASHION)
    with pytest.raises(InvalidInputError, match="name: r stands more than once"):
        load_rules(write(tmp_path / "r.json", RULE, RULE), FASHION)


def test_rules_lie_beside_their_label_set(tmp_path: Path) -> None:
    assert rules_beside(tmp_path / "shoes.json") is None
    path = write(tmp_path / "shoes_rules.json")
    assert rules_beside(tmp_path / "shoes.json") == path
