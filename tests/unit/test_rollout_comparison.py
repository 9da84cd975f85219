"""What is counted when two versions analyze the same reviews, and how it is reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from reviewlens.v1.review_analysis_pb2 import Highlight, KeywordAnalysis, ReviewAnalysis, ReviewError

from client.errors import InvalidInputError
from server.front_door.rollout.comparison import Agreement, Comparison, Durations, merged
from server.front_door.rollout.journal import PAIRS_KEPT, Journal, read_journal
from server.front_door.rollout.report import markdown, wilson

LABELS = ("핏", "배송", "만족도")
SENTIMENTS = {-1: "부정", 0: "중립", 1: "긍정"}


def analysis(text: str = "리뷰", **scores: int) -> ReviewAnalysis:
    """An analysis with these scores by keyword, each with its first two characters highlighted."""
    highlight = Highlight(text=text[:2], start=0, end=2)
    keywords = [
        KeywordAnalysis(keyword=name, sentiment=SENTIMENTS[score], score=score, highlights=[highlight])
        for name, score in scores.items()
    ]
    return ReviewAnalysis(text=text, keywords=keywords)


def failed(code: str) -> ReviewAnalysis:
    return ReviewAnalysis(error=ReviewError(code=code))


def compared() -> Comparison:
    comparison = Comparison("1-a", "2-b", since="2026-01-01T00:00:00+00:00", until="2026-01-02T00:00:00+00:00")
    other_word = analysis(핏=1, 만족도=1)
    other_word.keywords[0].highlights[0].start = 1
    champion = [analysis(핏=1, 만족도=1), analysis(핏=-1, 만족도=0), analysis(배송=1, 만족도=1), failed("INTERNAL")]
    challenger = [other_word, analysis(핏=1, 만족도=0), analysis(만족도=-1), analysis(만족도=1)]
    comparison.add_call(champion, challenger, LABELS)
    comparison.add_call([analysis(만족도=1)], [failed("UNAVAILABLE")], LABELS)
    comparison.add_failed_call([analysis(), failed("INVALID_ARGUMENT")], "INTERNAL")
    comparison.champion_seconds.add(0.1)
    comparison.challenger_seconds.add(0.2)
    return comparison


def test_reviews_are_counted_by_label() -> None:
    comparison = compared()
    assert (comparison.calls, comparison.reviews, comparison.identical) == (3, 3, 1)
    assert comparison.failed == {"UNAVAILABLE": 1, "INTERNAL": 1}
    assert comparison.labels == {
        "핏": Agreement(
            reviews=3,
            both=2,
            same_sentiment=1,
            score_difference=2,
            squared_score_difference=4,
            highlighted=2,
            same_highlight=1,
        ),
        "배송": Agreement(reviews=3, champion_only=1),
        "만족도": Agreement(
            reviews=3,
            both=3,
            same_sentiment=2,
            score_difference=-2,
            squared_score_difference=4,
            highlighted=3,
            same_highlight=3,
        ),
    }


def test_counts_of_servers_add_up_and_survive_a_file(tmp_path: Path) -> None:
    file = tmp_path / "comparison.json"
    file.write_text(Journal([compared()]).to_json(), encoding="utf-8")
    (comparison,) = read_journal(file).comparisons
    assert comparison == compared()
    other = Comparison("1-a", "3-c", since="")
    (both, unlike) = merged([comparison, other, compared()])
    assert unlike == other
    assert (both.calls, both.reviews, both.failed["INTERNAL"]) == (6, 6, 2)
    assert both.labels["만족도"].squared_score_difference == 8
    assert both.champion_seconds.classes.total() == 2


@pytest.mark.parametrize("text", ["", "[]", '{"comparisons": [{}]}', '{"comparisons": [{"champion": "a"}]}'])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "comparison.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"comparison.json: no comparison"):
        read_journal(file)


def test_texts_are_kept_only_when_asked_for() -> None:
    comparison = Comparison("1-a", "2-b", since="")
    pairs = [(analysis(f"비밀 {n}", 핏=1), analysis(f"비밀 {n}", 핏=0)) for n in range(5)]
    comparison.add_call([one for one, _ in pairs], [other for _, other in pairs], LABELS)
    assert "비밀" not in json.dumps(comparison.to_dict(), ensure_ascii=False)
    comparison.add_call([one for one, _ in pairs], [other for _, other in pairs], LABELS, examples=2)
    assert [example["text"] for example in comparison.examples] == ["비밀 3", "비밀 4"]
    assert "| 비밀 4 | 핏 긍정 | 핏 중립 |" in markdown([comparison])


def test_the_journal_keeps_the_last_pairs() -> None:
    journal = Journal()
    for number in range(PAIRS_KEPT + 5):
        journal.of("1", str(number))
    again = journal.of("1", "10")
    assert len(journal.comparisons) == PAIRS_KEPT
    assert journal.comparisons[-1] is again
    assert again is journal.of("1", "10")


def test_durations_are_told_to_six_percent() -> None:
    durations = Durations()
    assert durations.quantile(0.5) is None
    for milliseconds in range(1, 1001):
        durations.add(milliseconds / 1000)
    assert durations.quantile(0.5) == pytest.approx(0.5, rel=0.06)
    assert durations.quantile(0.95) == pytest.approx(0.95, rel=0.06)
    durations.add(0.0)


def test_wilson_intervals_are_the_known_ones() -> None:
    assert wilson(0, 0) is None
    # Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17 (1998), table I.
    for successes, trials, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611)):
        interval = wilson(successes, trials)
        assert interval == pytest.approx((low, high), abs=5e-5)


def test_the_report_has_counts_and_intervals_and_no_verdict() -> None:
    text = markdown([compared(), Comparison("2-b", "3-c", since="now")])
    assert text.index("# 2-b and 3-c") < text.index("# 1-a and 2-b"), "the latest first"
    assert "| failed with the challenger alone | 1 INTERNAL, 1 UNAVAILABLE |" in text
    assert "| 핏 | 3 | 2 | 0 | 0 | 50.0% [9.5%, 90.5%] | +1.000 [-0.960, +2.960] | 50.0% [9.5%, 90.5%] |" in text
    assert "| 배송 | 3 | 0 | 1 | 0 |  |  |  |" in text
    assert markdown([]).startswith("No comparison yet")
