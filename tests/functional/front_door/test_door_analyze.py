"""Analyze and GetInfo: the answers are the analyzer's own, failures of reviews are values, work is done once."""

from __future__ import annotations

import asyncio

import pytest
from google.protobuf.duration_pb2 import Duration
from reviewlens.v1 import review_analysis_service_pb2 as pb

from client.analyzer import ReviewAnalyzer
from client.artifact import Artifact
from client.results import ReviewInput
from server.embedded import EmbeddedTriton
from server.front_door.server import FrontDoor
from tests.functional.front_door.calls import calls_under_way, request_of, rows_computed, until
from tests.functional.front_door.conftest import Stub
from tests.functional.front_door.gate import Gate
from tests.functional.reviews import LONG_REVIEW, REVIEWS


async def test_answers_are_those_of_the_analyzer(
    stub: Stub, tiny_triton: EmbeddedTriton, tiny_artifact: Artifact
) -> None:
    texts = [*REVIEWS, LONG_REVIEW]
    async with await ReviewAnalyzer.connect(tiny_triton.grpc_url, tiny_artifact) as analyzer:
        expected = await analyzer.analyze([ReviewInput(text, str(number)) for number, text in enumerate(texts)])
    answer = await stub.Analyze(request_of(*texts))
    assert list(answer.analyses) == expected
    assert answer.model_version == "tiny-1"
    assert any(keyword.highlights for analysis in answer.analyses for keyword in analysis.keywords)


async def test_answer_says_where_the_time_went(stub: Stub) -> None:
    timings = (await stub.Analyze(request_of(LONG_REVIEW))).timings
    for stage in (timings.tokenization, timings.keyword, timings.sentiment, timings.highlight):
        assert stage.ToNanoseconds() > 0


@pytest.mark.parametrize("sections", [{"limits": {"max_characters": 100}}])
async def test_failure_of_a_review_is_a_value(stub: Stub) -> None:
    answer = await stub.Analyze(request_of("  ", REVIEWS[0], "널\0문자", "가" * 101))
    assert [analysis.error.code for analysis in answer.analyses] == [
        "INVALID_ARGUMENT",
        "",
        "INVALID_ARGUMENT",
        "INVALID_ARGUMENT",
    ]
    assert "101" in answer.analyses[3].error.message
    assert answer.analyses[1].keywords


async def test_options_choose_keywords_thresholds_and_highlights(stub: Stub) -> None:
    options = pb.AnalysisOptions(
        highlight_mode=pb.HIGHLIGHT_MODE_OFF,
        keywords=["디자인", "만족도"],
        thresholds={"디자인": 0.000001, "배송": 0.000001},
    )
    (analysis,) = (await stub.Analyze(request_of(REVIEWS[0], options=options))).analyses
    assert [keyword.keyword for keyword in analysis.keywords] == ["디자인", "만족도"]
    assert not any(keyword.highlights for keyword in analysis.keywords)


async def test_info_tells_labels_hashes_and_limits(stub: Stub, tiny_artifact: Artifact) -> None:
    info = await stub.GetInfo(pb.GetInfoRequest())
    (model,) = info.models
    labels = tiny_artifact.labels
    assert [keyword.name for keyword in model.keywords] == list(labels.keywords)
    assert [keyword.threshold for keyword in model.keywords] == pytest.approx(list(labels.thresholds))
    assert [(s.name, s.score) for s in model.sentiments] == list(
        zip(labels.sentiments, labels.sentiment_scores, strict=True)
    )
    assert (model.model_version, model.traffic_share, model.overall) == ("tiny-1", 1.0, "만족도")
    assert model.tokenizer_sha256 == labels.tokenizer_sha256
    assert info.limits == pb.Limits(
        max_message_bytes=4 * 1024 * 1024,
        max_reviews=256,
        max_characters=10_000,
        max_calls_per_client=64,
        max_stream_reviews=256,
        max_highlights_per_keyword=20,
        default_deadline=Duration(seconds=30),
        max_deadline=Duration(seconds=120),
    )


@pytest.mark.parametrize("sections", [{"health": {"probe_every_s": 60}}])
async def test_identical_texts_of_many_calls_are_computed_once(
    gated_door: FrontDoor, gated_stub: Stub, gate: Gate, tiny_triton: EmbeddedTriton
) -> None:
    options = pb.AnalysisOptions(highlight_mode=pb.HIGHLIGHT_MODE_OFF)
    before = rows_computed(tiny_triton.grpc_url)
    gate.shut()
    calls = [
        asyncio.ensure_future(gated_stub.Analyze(request_of(*[REVIEWS[2]] * 5, options=options))) for _ in "12345678"
    ]
    await until(lambda: calls_under_way(gated_door) == 8)
    await asyncio.sleep(0.1)
    gate.open()
    answers = await asyncio.gather(*calls)
    after = rows_computed(tiny_triton.grpc_url)
    assert {len(answer.analyses) for answer in answers} == {5}
    assert after["review_analysis"] - before["review_analysis"] == 1


@pytest.mark.parametrize("sections", [{"cache": {"entries": 2}, "health": {"probe_every_s": 60}}])
async def test_cached_results_cost_no_inference(stub: Stub, tiny_triton: EmbeddedTriton) -> None:
    first = await stub.Analyze(request_of(REVIEWS[0], REVIEWS[1]))
    before = rows_computed(tiny_triton.grpc_url)
    second = await stub.Analyze(request_of(REVIEWS[1], REVIEWS[0], "  "))
    assert rows_computed(tiny_triton.grpc_url) == before
    assert [analysis.id for analysis in second.analyses] == ["0", "1", "2"]
    assert second.analyses[0].keywords == first.analyses[1].keywords
    assert second.analyses[2].error.code == "INVALID_ARGUMENT"
    other_options = pb.AnalysisOptions(highlights_per_keyword=2)
    await stub.Analyze(request_of(REVIEWS[0], options=other_options))
    assert rows_computed(tiny_triton.grpc_url) != before, "other options are another result"


@pytest.mark.parametrize("sections", [{"cache": {"entries": 2}, "health": {"probe_every_s": 60}}])
async def test_cache_keeps_what_was_used_last(stub: Stub, tiny_triton: EmbeddedTriton) -> None:
    async def computes(text: str) -> bool:
        before = rows_computed(tiny_triton.grpc_url)
        await stub.Analyze(request_of(text))
        return rows_computed(tiny_triton.grpc_url) != before

    assert [await computes(REVIEWS[number]) for number in (3, 4, 3, 5, 3, 4)] == [True, True, False, True, False, True]
