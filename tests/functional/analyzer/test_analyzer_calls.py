"""Calls that share an analyzer: each with its own options, times, deadline and share of the queue."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from reviewlens.v1.review_analysis_pb2 import ReviewAnalysis

from client.analyzer import ReviewAnalyzer
from client.artifact import Artifact
from client.errors import InvalidInputError, OverloadedError, ReviewLensError, ServerUnavailableError
from client.options import AnalysisOptions, BatchingOptions
from server.embedded import EmbeddedTriton
from tests.functional.reviews import LONG_REVIEW, REVIEWS

TEXTS = (*REVIEWS, LONG_REVIEW)
# Distinct, so that no row of one is a row of another.
LONG = " ".join(f"{review} {number}번" for number, review in enumerate(REVIEWS * 6))
MANY = [f"{first} {second}" for first in REVIEWS for second in REVIEWS]


class Rows:
    """Counts the rows that were computed."""

    def __init__(self) -> None:
        self.computed = 0

    def batch_finished(
        self,
        model: str,
        rows: int,
        tokens: int,
        padded_tokens: int,
        queue_s: float,
        compute_s: float,
        error: ReviewLensError | None,
    ) -> None:
        self.computed += rows


@pytest.fixture
async def analyzer(tiny_triton: EmbeddedTriton, tiny_artifact: Artifact) -> AsyncIterator[ReviewAnalyzer]:
    async with await ReviewAnalyzer.connect(tiny_triton.grpc_url, tiny_artifact) as analyzer:
        yield analyzer


@pytest.fixture
async def full(analyzer: ReviewAnalyzer) -> list[ReviewAnalysis]:
    """What is found without any option."""
    return await analyzer.analyze(TEXTS)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  (nothing tells it)
            await asyncio.sleep(0.001)


def keywords_of(analysis: ReviewAnalysis) -> list[str]:
    return [keyword.keyword for keyword in analysis.keywords]


def assert_same(found: Any, expected: Any) -> None:
    """Two ``KeywordAnalysis`` are the same but for the last bits: their rows were in other batches."""
    assert (found.keyword, found.sentiment) == (expected.keyword, expected.sentiment)
    assert found.probability == pytest.approx(expected.probability, abs=1e-5)
    assert found.sentiment_probabilities == pytest.approx(list(expected.sentiment_probabilities), abs=1e-5)
    assert [h.start for h in found.highlights] == [h.start for h in expected.highlights]


@pytest.mark.parametrize("wanted", [("디자인", "핏"), ("디자인", "만족도"), ("만족도",)])
async def test_the_wanted_keywords_are_those_of_the_full_answer(
    analyzer: ReviewAnalyzer, full: list[ReviewAnalysis], wanted: tuple[str, ...]
) -> None:
    analyses = await analyzer.analyze(TEXTS, options=AnalysisOptions(keywords=wanted))
    for found, expected in zip(analyses, full, strict=True):
        kept = [keyword for keyword in expected.keywords if keyword.keyword in wanted]
        assert len(found.keywords) == len(kept)
        for ours, theirs in zip(found.keywords, kept, strict=True):
            assert_same(ours, theirs)
    assert any(len(keywords_of(analysis)) > len(wanted) for analysis in full)


async def test_no_masks_are_computed_for_what_is_not_wanted(
    tiny_triton: EmbeddedTriton, tiny_artifact: Artifact
) -> None:
    rows = Rows()
    async with await ReviewAnalyzer.connect(tiny_triton.grpc_url, tiny_artifact, observer=rows) as analyzer:
        await analyzer.analyze(REVIEWS, options=AnalysisOptions(keywords=("만족도",)))
    assert rows.computed == len(REVIEWS)


async def test_the_models_own_thresholds_change_nothing(
    analyzer: ReviewAnalyzer, full: list[ReviewAnalysis], tiny_artifact: Artifact
) -> None:
    """The two models one after the other are what the ensemble is."""
    labels = tiny_artifact.labels
    own = dict(zip(labels.keywords, labels.thresholds, strict=True))
    analyses = await analyzer.analyze(TEXTS, options=AnalysisOptions(thresholds=own))
    for found, expected in zip(analyses, full, strict=True):
        assert keywords_of(found) == keywords_of(expected)
        for ours, theirs in zip(found.keywords, expected.keywords, strict=True):
            assert_same(ours, theirs)


async def test_the_callers_thresholds_decide(analyzer: ReviewAnalyzer, full: list[ReviewAnalysis]) -> None:
    options = AnalysisOptions(thresholds={"가격": 0.001, "배송": 0.999})
    analyses = await analyzer.analyze(TEXTS, options=options)
    gained = 0
    for found, expected in zip(analyses, full, strict=True):
        ours = {keyword.keyword: keyword for keyword in found.keywords}
        theirs = {keyword.keyword: keyword for keyword in expected.keywords}
        assert "가격" in ours
        assert "배송" not in ours or ours["배송"].probability >= 0.999
        assert ours.keys() - {"가격", "배송"} == theirs.keys() - {"가격", "배송"}
        for name in ours.keys() & theirs.keys():
            assert_same(ours[name], theirs[name])
        if "가격" not in theirs:
            gained += 1
            assert sum(ours["가격"].sentiment_probabilities) == pytest.approx(1, abs=1e-4)
            assert ours["가격"].probability < 0.5
    assert gained > 3
    assert any("배송" in keywords_of(analysis) for analysis in full)


async def test_thresholds_and_keywords_go_together(analyzer: ReviewAnalyzer) -> None:
    options = AnalysisOptions(keywords=("가격",), thresholds={"가격": 0.001, "핏": 0.001})
    assert {tuple(keywords_of(analysis)) for analysis in await analyzer.analyze(TEXTS, options=options)} == {("가격",)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (AnalysisOptions(keywords=("핏", "맛")), r"options.keywords\[1\]: '맛' is none of 가격, 디자인"),
        (
            AnalysisOptions(thresholds={"만족도": 0.5}),
            r"options.thresholds\['만족도'\]: only these have a threshold: 가격",
        ),
    ],
)
async def test_names_that_the_model_does_not_have_are_refused(
    analyzer: ReviewAnalyzer, options: AnalysisOptions, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        analyzer.validate(options)
    with pytest.raises(InvalidInputError, match=message):
        await analyzer.analyze(REVIEWS, options=options)


async def test_calls_that_run_together_get_their_own_answers(
    analyzer: ReviewAnalyzer, full: list[ReviewAnalysis]
) -> None:
    options = (AnalysisOptions(), AnalysisOptions(highlight="off"), AnalysisOptions(thresholds={"핏": 0.3}))
    calls = [analyzer.analyze([text], options=options[number % len(options)]) for number, text in enumerate(TEXTS * 6)]
    analyses = [analysis for (analysis,) in await asyncio.gather(*calls)]
    assert [analysis.text for analysis in analyses] == list(TEXTS * 6)
    for found, expected in zip(analyses[::3], (full * 6)[::3], strict=True):
        for ours, theirs in zip(found.keywords, expected.keywords, strict=True):
            assert_same(ours, theirs)
    snapshot = analyzer.snapshot()
    assert (snapshot.queued_rows, snapshot.queued_tokens, snapshot.in_flight_batches) == (0, 0, 0)
    assert snapshot.tokens_per_second > 0


async def test_a_short_call_does_not_wait_for_a_long_one(tiny_triton: EmbeddedTriton, tiny_artifact: Artifact) -> None:
    batching = BatchingOptions(concurrency=1, token_budget=512)
    async with await ReviewAnalyzer.connect(tiny_triton.grpc_url, tiny_artifact, batching=batching) as analyzer:
        long = asyncio.create_task(analyzer.analyze(MANY))
        await until(lambda: analyzer.snapshot().queued_rows > 0)
        (short,) = await analyzer.analyze(["그냥 그래요"])
        assert short.keywords
        assert not long.done()
        assert len(await long) == len(MANY)


async def test_a_cancelled_calls_masks_are_not_computed(tiny_triton: EmbeddedTriton, tiny_artifact: Artifact) -> None:
    rows = Rows()
    batching = BatchingOptions(concurrency=1, token_budget=256)
    async with await ReviewAnalyzer.connect(
        tiny_triton.grpc_url, tiny_artifact, batching=batching, observer=rows
    ) as analyzer:
        await analyzer.analyze(MANY)
        of_all, rows.computed = rows.computed, 0
        call = asyncio.create_task(analyzer.analyze(MANY))
        await until(lambda: rows.computed >= of_all / 5)
        call.cancel()
        await asyncio.wait([call])
        snapshot = analyzer.snapshot()
        assert (snapshot.queued_rows, snapshot.queued_tokens) == (0, 0)
        await asyncio.sleep(0.05)
        assert rows.computed < of_all / 2


async def test_a_call_that_does_not_fit_is_refused_until_there_is_room(
    tiny_triton: EmbeddedTriton, tiny_artifact: Artifact
) -> None:
    batching = BatchingOptions(max_queued_tokens=2000, concurrency=1)
    async with await ReviewAnalyzer.connect(tiny_triton.grpc_url, tiny_artifact, batching=batching) as analyzer:
        with pytest.raises(InvalidInputError, match=f"^reviews: {len(MANY)} of them need about"):
            await analyzer.analyze(MANY)
        too_large = asyncio.create_task(analyzer.analyze([LONG]))  # admitted: nothing else is there
        await asyncio.sleep(0)
        assert analyzer.snapshot().admitted_tokens > 2000
        for _ in range(2):
            with pytest.raises(OverloadedError, match="2,000 at most") as refused:
                await analyzer.analyze(REVIEWS[:1])
        assert 0 < refused.value.retry_after_s <= 60
        assert not any(analysis.HasField("error") for analysis in await too_large)
        (one,) = await analyzer.analyze(REVIEWS[:1])
        assert one.keywords

        cancelled = asyncio.create_task(analyzer.analyze([LONG]))
        await asyncio.sleep(0.01)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        late = await analyzer.analyze([LONG], deadline_s=0.0001)
        assert {analysis.error.code for analysis in late} == {"DEADLINE_EXCEEDED"}
        assert analyzer.snapshot().admitted_tokens == 0
        assert len(await analyzer.analyze([LONG])) == 1


async def test_room_is_made_while_a_call_is_computed(tiny_triton: EmbeddedTriton, tiny_artifact: Artifact) -> None:
    async with await ReviewAnalyzer.connect(tiny_triton.grpc_url, tiny_artifact) as analyzer:
        call = asyncio.create_task(analyzer.analyze(MANY))
        await asyncio.sleep(0)
        at_first = analyzer.snapshot().admitted_tokens
        await until(lambda: analyzer.snapshot().admitted_tokens < at_first / 2)
        assert not call.done()
        await call


async def test_a_call_that_others_keep_waiting_beyond_its_deadline_is_refused(
    tiny_triton: EmbeddedTriton, tiny_artifact: Artifact
) -> None:
    async with await ReviewAnalyzer.connect(tiny_triton.grpc_url, tiny_artifact) as analyzer:
        await analyzer.analyze(REVIEWS)  # how fast this Triton is
        call = asyncio.create_task(analyzer.analyze(MANY))
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError, match=r"would wait .* for others"):
            await analyzer.analyze(MANY, deadline_s=0.001)
        assert len(await call) == len(MANY)


async def test_the_estimate_of_tokens_is_near_what_is_computed(analyzer: ReviewAnalyzer) -> None:
    await analyzer.analyze(MANY[:40])
    held = asyncio.create_task(analyzer.analyze(MANY[40:]))
    await asyncio.sleep(0)
    estimate = analyzer.snapshot().admitted_tokens
    await held
    encodings = [analyzer._encoder.encode(text) for text in MANY[40:]]
    exact = sum((len(e.words) + 1) * (len(e.input_ids) + 2) for e in encodings)
    assert 0.8 * exact < estimate < 1.25 * exact


async def test_the_times_of_the_stages_add_up(analyzer: ReviewAnalyzer) -> None:
    for options in (AnalysisOptions(), AnalysisOptions(highlight="fast", thresholds={"핏": 0.3})):
        start = time.perf_counter()
        analyses, timings = await analyzer.analyze_timed(MANY, options=options)
        passed = time.perf_counter() - start
        assert len(analyses) == len(MANY)
        stages = timings.tokenization_s, timings.keyword_s, timings.sentiment_s, timings.highlight_s
        assert min(stages) > 0
        assert timings.queue_s >= 0
        assert 0.2 * passed < sum(stages) + timings.queue_s <= passed
    _, timings = await analyzer.analyze_timed(REVIEWS, options=AnalysisOptions(highlight="off"))
    assert timings.highlight_s == 0


async def test_metadata_goes_to_triton(analyzer: ReviewAnalyzer, monkeypatch: pytest.MonkeyPatch) -> None:
    client = analyzer._transport._client
    infer, sent = client.infer, []

    async def recording(*arguments: Any, **named: Any) -> Any:
        sent.append((named["model_name"], named["headers"]))
        return await infer(*arguments, **named)

    monkeypatch.setattr(client, "infer", recording)
    metadata = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    analyses, _ = await analyzer.analyze_timed(REVIEWS[:3], metadata=metadata)
    assert not any(analysis.HasField("error") for analysis in analyses)
    assert {model for model, _ in sent} == {"review_analysis", "keyword_classifier"}
    assert all(headers == metadata for _, headers in sent)


async def test_the_probe_asks_both_models(analyzer: ReviewAnalyzer) -> None:
    await analyzer.probe(5)


async def test_closing_lets_calls_finish_as_long_as_it_is_told(
    tiny_triton: EmbeddedTriton, tiny_artifact: Artifact
) -> None:
    for drain_s, expected in ((30, {""}), (0, {"UNAVAILABLE"})):
        analyzer = await ReviewAnalyzer.connect(tiny_triton.grpc_url, tiny_artifact)
        call = asyncio.create_task(analyzer.analyze(MANY))
        await until(lambda: analyzer.snapshot().in_flight_batches > 0)  # noqa: B023
        closing = asyncio.create_task(analyzer.close(drain_s))
        await asyncio.sleep(0)
        with pytest.raises(ServerUnavailableError, match="closed"):
            await analyzer.analyze(REVIEWS)
        assert {analysis.error.code for analysis in await call} == expected
        await closing
