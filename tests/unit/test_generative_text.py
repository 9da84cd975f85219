"""Reading what a generator writes: round trip, every kind of problem, and text that nobody would expect."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.errors import InvalidInputError
from training.data import LabelSet, format_completion
from training.generative.text import KINDS, CompletionParser, count_problems

LABEL_SET = LabelSet(("디자인", "배송", "핏", "A/S"), "만족도", ("나쁨", "보통", "좋음"), (-1, 0, 1))
PARSER = CompletionParser(LABEL_SET)


@given(st.dictionaries(st.sampled_from(LABEL_SET.all_labels), st.sampled_from((-1, 0, 1)), min_size=1))
def test_what_training_writes_is_read_back(scores: dict[str, int]) -> None:
    reading = PARSER.parse(format_completion(scores, LABEL_SET))
    assert reading.scores == scores
    assert reading.problems == ()


SCRAPS = st.sampled_from(
    ("디자인", "배송", "A/S", "a / s", "만족도", "-", "- 1", "1", "-1", "7", ",", "#", "\n", " ", "\0")
)


@given(st.one_of(st.text(), st.lists(st.one_of(SCRAPS, st.text(max_size=3))).map("".join)), st.booleans())
def test_no_output_stops_the_parser(text: str, finished: bool) -> None:
    reading = PARSER.parse(text, finished=finished)
    assert reading.scores.items() <= {(n, s) for n in LABEL_SET.all_labels for s in LABEL_SET.sentiment_scores}
    assert {problem.kind for problem in reading.problems} <= set(KINDS)
    assert reading.scores or reading.problems, "what says nothing is told"
    assert finished != any(problem.kind == "cut off" for problem in reading.problems)


@given(st.dictionaries(st.sampled_from(LABEL_SET.all_labels), st.sampled_from((-1, 0, 1))), st.integers(0))
def test_a_part_of_an_output_says_nothing_else(scores: dict[str, int], end: int) -> None:
    text = format_completion(scores, LABEL_SET)
    reading = PARSER.parse(text[: end % (len(text) + 1)], finished=False)
    assert reading.scores.items() <= scores.items()


@pytest.mark.parametrize(
    ("text", "scores", "problems"),
    [
        ("", {}, [("empty", "")]),
        ("디자인 1,, 배송 0", {"디자인": 1, "배송": 0}, [("empty", "")]),
        ("향기 1, 배송 0", {"배송": 0}, [("unknown keyword", "향기 1")]),
        ("디자인1", {}, [("unknown keyword", "디자인1")]),
        ("디자인, 배송 좋아요 1", {}, [("no score", "디자인"), ("no score", "배송 좋아요 1")]),
        ("디자인 5, 배송 -2", {}, [("out of range", "디자인 5"), ("out of range", "배송 -2")]),
        ("디자인 1.0, 배송 +1, 핏 01", {}, [("out of range", p) for p in ("디자인 1.0", "배송 +1", "핏 01")]),
        ("디자인 1, 디자인 -1", {"디자인": 1}, [("repeated", "디자인 -1")]),
        ("디자인 1 배송 -1, 핏 0", {"디자인": 1}, [("trailing text", "배송 -1, 핏 0")]),
        ("핏 0 ###입력: 좋아요", {"핏": 0}, [("trailing text", "###입력: 좋아요")]),
        ("핏 9 ###입력: 좋아요", {}, [("out of range", "핏 9 ###입력: 좋아요"), ("trailing text", "###입력: 좋아요")]),
        ("핏 " + "1" * 5000, {}, [("out of range", "핏 " + "1" * 5000)]),
    ],
)
def test_problems_are_told_by_kind(text: str, scores: dict[str, int], problems: list[tuple[str, str]]) -> None:
    reading = PARSER.parse(text)
    assert reading.scores == scores
    assert [(problem.kind, problem.piece) for problem in reading.problems] == problems


def test_spaces_and_case_of_a_tokenizer_do_not_matter() -> None:
    assert PARSER.parse("디자인 - 1, a / s 1,만족도 0").scores == {"디자인": -1, "A/S": 1, "만족도": 0}


def test_the_last_piece_of_an_output_that_was_cut_off_is_not_read() -> None:
    reading = PARSER.parse("디자인 1, 배송 1", finished=False)
    assert reading.scores == {"디자인": 1}
    assert [(p.kind, p.piece) for p in reading.problems] == [("cut off", "배송 1")]


def test_the_longest_name_counts_but_one_with_a_score_more() -> None:
    parser = CompletionParser(LabelSet(("핏", "핏 1", "핏 감"), "만족도", ("-", "+"), (0, 1)))
    assert parser.parse("핏 1").scores == {"핏": 1}
    assert parser.parse("핏 1 1").scores == {"핏 1": 1}
    assert parser.parse("핏 감 0").scores == {"핏 감": 0}


def test_names_that_text_cannot_tell_apart_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="cannot tell 'a / s' from 'A/S'"):
        CompletionParser(LabelSet(("A/S", "a / s"), "만족도", ("-", "+"), (0, 1)))


def test_problems_are_counted_by_kind() -> None:
    counts = count_problems(map(PARSER.parse, ("핏 1", "핏 9, 향기 1", "향기 1", "")))
    assert counts == dict.fromkeys(KINDS, 0) | {"unknown keyword": 2, "out of range": 1, "empty": 1}
