"""Messages to the core's objects and back."""

from __future__ import annotations

import pytest
from reviewlens.v1 import review_analysis_service_pb2 as pb
from reviewlens.v1.review_analysis_pb2 import ReviewAnalysis, ReviewError

from client.errors import DeadlineExceededError, InvalidInputError, ReviewLensError, ServerUnavailableError
from client.options import AnalysisOptions
from client.results import ReviewInput
from client.timings import Timings
from server.front_door.requests import (
    MessageTooLargeError,
    options_of,
    parse,
    raise_if_lost,
    review_of,
    reviews_of,
    timings_message,
)
from server.front_door.settings import Limits

LIMITS = Limits(max_highlights_per_keyword=9)
DEFAULTS = AnalysisOptions(highlight="fast", highlights_per_keyword=2, max_characters=50)


def test_parse_gives_the_message() -> None:
    request = pb.AnalyzeRequest(reviews=[pb.Review(id="1", text="핏이 예뻐요")])
    assert parse(pb.AnalyzeRequest, request.SerializeToString(), 1000) == request


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x0a\x05\x12\x03\xed\xa0\x80", b"\x0a\x7f"])
def test_bytes_that_are_no_message_are_invalid(data: bytes) -> None:
    with pytest.raises(InvalidInputError, match="AnalyzeRequest: the bytes are no such message"):
        parse(pb.AnalyzeRequest, data, 1000)


def test_message_over_the_limit_names_both_sizes() -> None:
    with pytest.raises(MessageTooLargeError, match="1,001 bytes, over the server's limit of 1,000"):
        parse(pb.AnalyzeRequest, b"x" * 1001, 1000)


def test_reviews_keep_text_and_id() -> None:
    request = pb.AnalyzeRequest(reviews=[pb.Review(id="a", text="가"), pb.Review(text="나")])
    assert reviews_of(request, Limits()) == [ReviewInput("가", "a"), ReviewInput("나", "")]


@pytest.mark.parametrize(("count", "problem"), [(0, "reviews: there are none"), (3, "reviews: 3 of them, over")])
def test_wrong_number_of_reviews(count: int, problem: str) -> None:
    request = pb.AnalyzeRequest(reviews=[pb.Review(text="가")] * count)
    with pytest.raises(InvalidInputError, match=problem):
        reviews_of(request, Limits(max_reviews=2))


def test_stream_message_needs_a_review() -> None:
    assert review_of(pb.AnalyzeStreamRequest(review=pb.Review(id="7"))) == ReviewInput("", "7")
    with pytest.raises(InvalidInputError, match="review: not set"):
        review_of(pb.AnalyzeStreamRequest())


def test_options_that_are_not_set_are_the_defaults() -> None:
    assert options_of(pb.AnalysisOptions(), DEFAULTS, LIMITS) == DEFAULTS
    some = options_of(pb.AnalysisOptions(highlight_mode=pb.HIGHLIGHT_MODE_OFF), DEFAULTS, LIMITS)
    assert some == AnalysisOptions(highlight="off", highlights_per_keyword=2, max_characters=50)


def test_options_that_are_set() -> None:
    message = pb.AnalysisOptions(
        highlight_mode=pb.HIGHLIGHT_MODE_EXACT,
        highlights_per_keyword=3,
        keywords=["핏", "가격"],
        thresholds={"핏": 0.25},
    )
    assert options_of(message, DEFAULTS, LIMITS) == AnalysisOptions(
        highlight="exact", highlights_per_keyword=3, max_characters=50, keywords=("핏", "가격"), thresholds={"핏": 0.25}
    )


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (pb.AnalysisOptions(highlight_mode=9), "options.highlight_mode: 9"),  # type: ignore[arg-type]
        (pb.AnalysisOptions(highlights_per_keyword=-1), "options.highlights_per_keyword: -1"),
        (pb.AnalysisOptions(highlights_per_keyword=10), "options.highlights_per_keyword: 10 is more than 9"),
        (pb.AnalysisOptions(thresholds={"핏": 1.0}), r"options.thresholds\['핏'\]: 1.0"),
        (pb.AnalysisOptions(thresholds={"핏": float("nan")}), r"options.thresholds\['핏'\]: nan"),
    ],
)
def test_wrong_options_name_their_field(message: pb.AnalysisOptions, field: str) -> None:
    with pytest.raises(InvalidInputError, match=field):
        options_of(message, DEFAULTS, LIMITS)


def failed(code: str) -> ReviewAnalysis:
    return ReviewAnalysis(error=ReviewError(code=code, message="why"))


@pytest.mark.parametrize(
    ("codes", "kind"),
    [
        (["UNAVAILABLE"], ServerUnavailableError),
        (["DEADLINE_EXCEEDED", "UNAVAILABLE"], ServerUnavailableError),
        (["INVALID_ARGUMENT", "DEADLINE_EXCEEDED"], DeadlineExceededError),
    ],
)
def test_call_without_a_result_fails_so_that_it_is_tried_again(codes: list[str], kind: type[ReviewLensError]) -> None:
    with pytest.raises(kind, match="why"):
        raise_if_lost([failed(code) for code in codes])


@pytest.mark.parametrize("codes", [["INVALID_ARGUMENT"], ["INTERNAL", "INVALID_ARGUMENT"]])
def test_reviews_own_failures_are_values(codes: list[str]) -> None:
    raise_if_lost([failed(code) for code in codes])


def test_one_result_keeps_the_call_alive() -> None:
    raise_if_lost([failed("UNAVAILABLE"), ReviewAnalysis(text="가")])


def test_timings_are_durations() -> None:
    message = timings_message(Timings(tokenization_s=0.25, queue_s=1.5, keyword_s=2.999999999))
    assert message.tokenization.ToTimedelta().total_seconds() == 0.25
    assert (message.queue.seconds, message.queue.nanos) == (1, 500_000_000)
    assert (message.keyword.seconds, message.keyword.nanos) == (2, 999_999_999)
    assert message.highlight.ToNanoseconds() == 0
