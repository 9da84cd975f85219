"""The load generator's arithmetic, with requests that only wait."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import pytest
from reviewlens.v1.review_analysis_pb2 import Highlight, KeywordAnalysis, ReviewAnalysis

from benchmarks.comparison import Spread, differences, ratios, replace_section
from benchmarks.load import distinct_reviews, load_range
from benchmarks.load_generator import Reply, closed_loop, open_loop, percentile
from benchmarks.typed_api import difference


@pytest.mark.parametrize(("percent", "expected"), [(0, 1), (50, 5), (51, 6), (90, 9), (99, 10), (100, 10)])
def test_percentiles_are_nearest_ranks(percent: float, expected: float) -> None:
    assert percentile([7, 1, 10, 3, 5, 9, 2, 8, 4, 6], percent) == expected


def test_there_is_no_percentile_of_nothing() -> None:
    assert math.isnan(percentile([], 50))


def test_ratios_compare_within_a_round() -> None:
    assert ratios([90, 45, 9], [100, 50, 10]) == Spread(0.9, 0.9, 0.9)
    assert differences([3, 5, 9], [1, 1, 1]) == Spread(4, 3, 6)
    assert f"{ratios([1, 2, 3, 4, 5], [4, 4, 4, 4, 4]):.2f}" == "0.75 (0.50 to 1.00)"
    with pytest.raises(ValueError, match="no rounds"):
        Spread.of([])
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        ratios([1, 2], [1])


async def test_a_closed_loop_has_so_many_requests_under_way_and_no_more() -> None:
    under_way, most, numbers = 0, 0, []

    async def send(number: int) -> Reply:
        nonlocal under_way, most
        numbers.append(number)
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.001)
        under_way -= 1
        return Reply(reviews={"OK": 2}) if number % 5 else Reply("UNAVAILABLE", problem="gone")

    report = await closed_loop(send, concurrency=3, requests=20, first=100)
    assert most == 3
    assert sorted(numbers) == list(range(100, 120))
    assert (report.requests, report.reviews) == ({"OK": 16, "UNAVAILABLE": 4}, {"OK": 32})
    assert len(report.latencies_s) == 16
    assert min(report.latencies_s) >= 0.001
    assert report.errors == {"UNAVAILABLE": 4}
    assert "UNAVAILABLE 4" in str(report)
    assert "4x gone" in str(report)


async def test_a_refused_caller_comes_back_when_the_server_says() -> None:
    async def send(number: int) -> Reply:
        return Reply("RESOURCE_EXHAUSTED", retry_after_s=0.05)

    report = await closed_loop(send, concurrency=2, seconds=0.12)
    assert report.requests["RESOURCE_EXHAUSTED"] <= 2 * 3


async def test_an_open_loop_does_not_wait_and_charges_for_waiting() -> None:
    server = asyncio.Lock()

    async def send(number: int) -> Reply:
        async with server:  # one after the other, each for longer than the next one takes to come
            await asyncio.sleep(0.02)
        return Reply()

    report = await open_loop(send, 100, seconds=0.1)
    assert report.requests == {"OK": 10}
    # The last was due after 0.09 s and answered after 10 times 0.02 s.
    assert report.latency_s(100) >= 0.1
    poisson = await open_loop(lambda number: _answered(), 2000, seconds=0.2, distribution="poisson")
    assert 300 < poisson.requests["OK"] < 500


async def _answered() -> Reply:
    return Reply()


def test_differences_between_answers_are_found() -> None:
    def analysis(probability: float, masked: float = 0.2, start: int = 0, name: str = "배송") -> ReviewAnalysis:
        highlight = Highlight(
            text="배송", start=start, end=start + 2, probability=probability, masked_probability=masked
        )
        keyword = KeywordAnalysis(keyword=name, probability=probability, highlights=[highlight])
        return ReviewAnalysis(id=name, text="배송 빠름", keywords=[keyword], model_version="1")

    assert difference(analysis(0.9), analysis(0.90001)) == ""
    assert "other probabilities" in difference(analysis(0.9), analysis(0.91))
    assert "other probabilities" in difference(analysis(0.9), analysis(0.9, masked=0.3))
    assert "does not stand at 1" in difference(analysis(0.9), analysis(0.9, start=1))
    assert "expected 배송" in difference(analysis(0.9), analysis(0.9, name="핏"))


@pytest.mark.parametrize(("text", "expected"), [("4", [4]), ("2:4", [2, 3, 4]), ("1:16:5", [1, 6, 11, 16])])
def test_loads_are_ranges_as_perf_analyzer_has_them(text: str, expected: list[int]) -> None:
    assert list(load_range(text)) == expected


def test_reviews_are_distinct_and_the_same_each_time(tmp_path: Path) -> None:
    source = tmp_path / "reviews.txt"
    source.write_text("배송은 빠른데 핏이 아쉬워요\n\n가격 대비 좋아요\n", encoding="utf-8")
    reviews = distinct_reviews(source, 50)
    assert reviews[:2] == ["배송은 빠른데 핏이 아쉬워요", "가격 대비 좋아요"]
    assert len(set(reviews)) == 50
    assert distinct_reviews(source, 50) == reviews


def test_a_section_is_replaced_and_the_rest_stays(tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    document.write_text("before\n<!-- it: begin -->\nold\n<!-- it: end -->\nafter\n", encoding="utf-8")
    replace_section(document, "it", "new")
    assert document.read_text(encoding="utf-8") == "before\n<!-- it: begin -->\nnew\n<!-- it: end -->\nafter\n"
    with pytest.raises(ValueError, match="other: begin"):
        replace_section(document, "other", "new")
