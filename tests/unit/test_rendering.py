"""Rendering: each format read back, and the table on narrow, colourless and hostile grounds."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
from reviewlens.v1.review_analysis_pb2 import Highlight, ReviewAnalysis, ReviewError
from rich.cells import cell_len

from client.rendering import CSV_COLUMNS, RENDERERS
from client.results import to_dict

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def analysis(text: str = "배송은 빠른데 핏이\u2028아쉬워요") -> ReviewAnalysis:
    result = ReviewAnalysis(id="1", text=text, model_version="v")
    delivery = result.keywords.add(keyword="배송", probability=0.97, sentiment="긍정", score=1)
    delivery.highlights.append(Highlight(text="빠른데", start=4, end=7, probability=0.97, masked_probability=0.0625))
    fit = result.keywords.add(keyword="핏", probability=0.8, sentiment="매우부정", score=-2)
    fit.highlights.append(Highlight(text="아쉬워요", start=11, end=15, probability=0.8, masked_probability=0.5))
    result.keywords.add(keyword="만족도", probability=1, sentiment="중립", score=0)
    return result


FAILED = ReviewAnalysis(id="2", text="", error=ReviewError(code="INVALID_ARGUMENT", message="the review is empty"))


def rendered(name: str, *analyses: ReviewAnalysis, color: bool = False) -> str:
    out = io.StringIO()
    renderer = RENDERERS[name](out, color)
    for item in analyses:
        renderer.write(item)
    renderer.close()
    return out.getvalue()


def test_json_and_json_lines_hold_the_same_objects() -> None:
    expected = [to_dict(analysis()), to_dict(FAILED)]
    assert json.loads(rendered("json", analysis(), FAILED)) == expected
    lines = rendered("jsonl", analysis(), FAILED).removesuffix("\n").split("\n")
    assert [json.loads(line) for line in lines] == expected


def test_json_is_readable_korean_and_indented() -> None:
    text = rendered("json", analysis())
    assert text.startswith('[\n  {\n    "id": "1",\n')
    assert text.endswith("\n  }\n]\n")
    assert '"keyword": "배송"' in text


def test_no_reviews_are_still_valid_documents() -> None:
    assert json.loads(rendered("json")) == []
    assert rendered("jsonl") == ""
    assert rendered("csv") == ",".join(CSV_COLUMNS) + "\n"


def test_csv_has_a_row_for_each_review_and_keyword() -> None:
    text = 'He said "핏, 좋아요"\n다음 줄'
    rows = list(csv.DictReader(io.StringIO(rendered("csv", analysis(text), FAILED), newline="")))
    assert [(row["id"], row["keyword"], row["probability"], row["score"]) for row in rows] == [
        ("1", "배송", "0.97", "1"),
        ("1", "핏", "0.8", "-2"),
        ("1", "만족도", "1.0", "0"),
        ("2", "", "", ""),
    ]
    assert [(row["highlight"], row["start"], row["end"]) for row in rows] == [
        ("빠른데", "4", "7"),
        ("아쉬워요", "11", "15"),
        ("", "", ""),
        ("", "", ""),
    ]
    assert [row["text"] for row in rows] == [text, text, text, ""]
    assert [row["error"] for row in rows] == ["", "", "", "INVALID_ARGUMENT: the review is empty"]


def test_table_without_colour_has_no_escape_sequence() -> None:
    text = rendered("table", analysis(), FAILED)
    assert "\x1b" not in text
    for part in ("배송은 빠른데 핏이 아쉬워요", "0.970", "+1", "-2", "아쉬워요 (0.500)", "INVALID_ARGUMENT"):
        assert part in text


def test_highlighted_words_have_the_colour_of_their_sentiment() -> None:
    first_line = rendered("table", analysis(), color=True).split("\n")[0]
    assert "\x1b[1;32m빠른데\x1b[0m" in first_line
    assert "\x1b[1;31m아쉬워요\x1b[0m" in first_line
    assert ESCAPE.sub("", first_line) == "1  배송은 빠른데 핏이 아쉬워요"


def test_the_table_shows_only_the_beginning_of_a_failed_text() -> None:
    failed = ReviewAnalysis(id="2", text="가" * 100_000, error=ReviewError(code="INVALID_ARGUMENT", message="too long"))
    text = rendered("table", failed)
    assert text.count("가") == 200
    assert text.count("…") == 1


def test_a_neutral_word_is_yellow() -> None:
    neutral = analysis()
    neutral.keywords[0].score = 0
    assert "\x1b[1;33m빠른데\x1b[0m" in rendered("table", neutral, color=True).split("\n")[0]


def test_each_review_takes_a_line_for_itself_its_heading_and_each_keyword() -> None:
    lines = [line.strip() for line in rendered("table", analysis(), FAILED).split("\n")]
    assert [line.split(" ")[0] for line in lines] == [
        "1",
        "keyword",
        "배송",
        "핏",
        "만족도",
        "",
        "2",
        "INVALID_ARGUMENT:",
        "",
        "",
    ]


def test_a_word_of_two_keywords_has_the_colour_of_the_more_probable() -> None:
    shared = analysis()
    shared.keywords[1].highlights[0].MergeFrom(Highlight(text="빠른데", start=4, end=7))
    assert "\x1b[1;32m빠른데\x1b[0m" in rendered("table", shared, color=True).split("\n")[0]


def test_columns_line_up_where_characters_are_twice_as_wide() -> None:
    lines = rendered("table", analysis()).split("\n")
    rows = [line for line in lines if "0.970" in line or "0.800" in line or "1.000" in line]
    ends = [cell_len(row[: row.index(".") + 4]) for row in rows]
    assert len(rows) == 3
    assert len(set(ends)) == 1


def test_table_fits_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert max(map(cell_len, rendered("table", analysis("아주 긴 리뷰 " * 40)).split("\n"))) <= 60


def test_control_characters_and_direction_marks_do_not_reach_the_terminal() -> None:
    hostile = analysis("배송은 빠른데\x1b]0;제목\x07 \x9b31m핏이\u202e아쉬워요\r\n")
    text = rendered("table", hostile)
    assert not set(text) & set("\x1b\x07\x9b\u202e\r")
    assert "배송은 빠른데\ufffd]0;제목\ufffd \ufffd31m핏이\ufffd아쉬워요" in text


def test_markup_in_a_review_is_text() -> None:
    assert "[red]빨강[/red] :smile:" in rendered("table", analysis("[red]빨강[/red] :smile:"))
