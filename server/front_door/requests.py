"""Messages of the API to the core's objects and back. Errors name the field as the proto spells it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from reviewlens.v1 import review_analysis_service_pb2 as pb
from reviewlens.v1.review_analysis_pb2 import ReviewAnalysis

from client.artifact import Artifact
from client.errors import (
    DeadlineExceededError,
    InvalidInputError,
    ReviewLensError,
    ServerUnavailableError,
)
from client.options import AnalysisOptions, HighlightMode
from client.results import ReviewInput
from client.timings import Timings
from server.front_door.settings import Limits

M = TypeVar("M", bound=Message)

_MODES: dict[int, HighlightMode] = {
    pb.HIGHLIGHT_MODE_EXACT: "exact",
    pb.HIGHLIGHT_MODE_FAST: "fast",
    pb.HIGHLIGHT_MODE_OFF: "off",
}


class MessageTooLargeError(ReviewLensError):
    """A message over ``limits.max_message_bytes``. Unlike overload it stays refused: it comes without RetryInfo."""

    code = "RESOURCE_EXHAUSTED"


def parse(message_type: type[M], data: bytes, max_bytes: int) -> M:
    """The message that ``data`` holds.

    Raises:
        MessageTooLargeError: it is over ``max_bytes``.
        InvalidInputError: the bytes are no such message, or a string in it is not UTF-8.
    """
    name = message_type.DESCRIPTOR.name
    if len(data) > max_bytes:
        raise MessageTooLargeError(
            f"{name}: {len(data):,} bytes, over the server's limit of {max_bytes:,}; send fewer reviews at once"
        )
    try:
        return message_type.FromString(data)
    except DecodeError:
        raise InvalidInputError(
            f"{name}: the bytes are no such message, or a text in it is not UTF-8; encode it with the service's proto"
        ) from None


def reviews_of(request: pb.AnalyzeRequest, limits: Limits) -> list[ReviewInput]:
    """The reviews of a call. Their texts are checked one by one when they are analyzed.

    Raises:
        InvalidInputError: there are none, or too many.
    """
    count = len(request.reviews)
    if count == 0:
        raise InvalidInputError("reviews: there are none; send one at least")
    if count > limits.max_reviews:
        raise InvalidInputError(
            f"reviews: {count:,} of them, over the server's limit of {limits.max_reviews:,} a call; split them, or use "
            "AnalyzeStream"
        )
    return [ReviewInput(review.text, review.id) for review in request.reviews]


def review_of(request: pb.AnalyzeStreamRequest) -> ReviewInput:
    """The review of a stream's message.

    Raises:
        InvalidInputError: there is none.
    """
    if not request.HasField("review"):
        raise InvalidInputError("review: not set; every message of the stream carries one review")
    return ReviewInput(request.review.text, request.review.id)


def options_of(message: pb.AnalysisOptions, defaults: AnalysisOptions, limits: Limits) -> AnalysisOptions:
    """The options wanted, with the server's defaults where the message says nothing.

    Raises:
        InvalidInputError: an option is out of range. Names of keywords are checked by the analyzer.
    """
    if message == pb.AnalysisOptions():
        return defaults
    mode = defaults.highlight
    if message.highlight_mode != pb.HIGHLIGHT_MODE_UNSPECIFIED:
        if message.highlight_mode not in _MODES:
            raise InvalidInputError(
                f"options.highlight_mode: {message.highlight_mode} is none of {', '.join(pb.HighlightMode.keys())}"
            )
        mode = _MODES[message.highlight_mode]
    if message.highlights_per_keyword < 0:
        raise InvalidInputError(f"options.highlights_per_keyword: {message.highlights_per_keyword} is below 0")
    if message.highlights_per_keyword > limits.max_highlights_per_keyword:
        raise InvalidInputError(
            f"options.highlights_per_keyword: {message.highlights_per_keyword} is more than "
            f"{limits.max_highlights_per_keyword}, the most that this server finds"
        )
    return AnalysisOptions(
        highlight=mode,
        highlights_per_keyword=message.highlights_per_keyword or defaults.highlights_per_keyword,
        max_characters=defaults.max_characters,
        keywords=tuple(message.keywords),
        thresholds=dict(message.thresholds),
    )


def raise_if_lost(analyses: Sequence[ReviewAnalysis]) -> None:
    """Fail the call when not one review was analyzed and trying again may help.

    Raises:
        ServerUnavailableError, DeadlineExceededError: no review has a result, and one at least has failed with this
            code. Reviews with another error, INVALID_ARGUMENT for instance, do not keep the call alive.
    """
    if any(not analysis.HasField("error") for analysis in analyses):
        return
    for kind in (ServerUnavailableError, DeadlineExceededError):
        for analysis in analyses:
            if analysis.error.code == kind.code:
                raise kind(analysis.error.message)


def timings_message(timings: Timings) -> pb.AnalysisTimings:
    """Timings as the API has them."""
    return pb.AnalysisTimings(
        tokenization=_duration(timings.tokenization_s),
        queue=_duration(timings.queue_s),
        keyword=_duration(timings.keyword_s),
        sentiment=_duration(timings.sentiment_s),
        highlight=_duration(timings.highlight_s),
    )


def _duration(seconds: float) -> Duration:
    nanoseconds = round(seconds * 1e9)
    return Duration(seconds=nanoseconds // 10**9, nanos=nanoseconds % 10**9)


def limits_message(limits: Limits) -> pb.Limits:
    """The limits that callers need to know."""
    return pb.Limits(
        max_message_bytes=limits.max_message_bytes,
        max_reviews=limits.max_reviews,
        max_characters=limits.max_characters,
        max_calls_per_client=limits.max_calls_per_client,
        max_stream_reviews=limits.max_stream_reviews,
        default_deadline=_duration(limits.default_deadline_s),
        max_deadline=_duration(limits.max_deadline_s),
        max_highlights_per_keyword=limits.max_highlights_per_keyword,
    )


def served_model(artifact: Artifact, model_version: str, traffic_share: float) -> pb.ServedModel:
    """What GetInfo says about a version."""
    labels = artifact.labels
    return pb.ServedModel(
        model_version=model_version,
        traffic_share=traffic_share,
        keywords=[
            pb.KeywordLabel(name=name, threshold=threshold)
            for name, threshold in zip(labels.keywords, labels.thresholds, strict=True)
        ],
        overall=labels.overall,
        sentiments=[
            pb.SentimentLabel(name=name, score=score)
            for name, score in zip(labels.sentiments, labels.sentiment_scores, strict=True)
        ],
        tokenizer_sha256=labels.tokenizer_sha256,
        labels_sha256=artifact.labels_sha256,
        max_tokens=labels.max_length,
    )
