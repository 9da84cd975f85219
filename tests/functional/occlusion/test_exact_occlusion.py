"""Exact highlights against the plainest loop there is: one request for each mask, a batch of one, no padding."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from numpy.typing import NDArray
from reviewlens.v1.review_analysis_pb2 import ReviewAnalysis

from client.analyzer import ReviewAnalyzer
from client.artifact import Artifact, newest_artifact_folder
from client.encoding import Encoder
from client.highlights import DROP_STEP
from client.options import AnalysisOptions, BatchingOptions
from client.windows import Window, plan_windows
from server.embedded import CHANNEL_ARGUMENTS, EmbeddedTriton
from tests.functional.reviews import LONG_REVIEW, REVIEWS

EVERY_WORD = 1000
TEXTS = (*REVIEWS[:8], LONG_REVIEW)


@dataclass
class Reference:
    """What the loop found: ``unmasked`` [K], and by the start of each word ``masked`` [K]."""

    unmasked: NDArray[np.float32]
    masked: dict[int, NDArray[np.float32]]


class PlainLoop:
    """Masks one word at a time."""

    def __init__(self, client: triton_grpc.InferenceServerClient, artifact: Artifact) -> None:
        self._client = client
        self._encoder = Encoder(artifact)

    def reference(self, text: str) -> Reference:
        review = self._encoder.encode(text)
        windows = plan_windows(review, self._encoder.max_length)
        masked = {}
        for number, word in enumerate(review.words):
            tokens = [
                self._encoder.mask_id if owner == number else token
                for token, owner in zip(review.input_ids, review.word_of_token, strict=True)
            ]
            if number in review.word_of_token:
                masked[word.start] = self._highest(tokens, windows)
        return Reference(self._highest(review.input_ids, windows), masked)

    def _highest(self, tokens: list[int] | tuple[int, ...], windows: tuple[Window, ...]) -> NDArray[np.float32]:
        probabilities = [self._keyword_probs(tokens[w.first_token : w.last_token]) for w in windows]
        highest: NDArray[np.float32] = np.stack(probabilities).max(axis=0)
        return highest

    def _keyword_probs(self, tokens: list[int] | tuple[int, ...]) -> NDArray[np.float32]:
        row = np.array([[self._encoder.cls_id, *tokens, self._encoder.sep_id]])
        inputs = []
        for name, values in (("input_ids", row), ("attention_mask", np.ones_like(row))):
            inputs.append(triton_grpc.InferInput(name, list(values.shape), "INT64").set_data_from_numpy(values))
        answer: NDArray[np.float32] = self._client.infer("keyword_classifier", inputs).as_numpy("keyword_probs")[0]
        return answer


@pytest.fixture(scope="module")
def references(tiny_triton: EmbeddedTriton, tiny_artifact: Artifact) -> dict[str, Reference]:
    with triton_grpc.InferenceServerClient(tiny_triton.grpc_url, channel_args=CHANNEL_ARGUMENTS) as client:
        loop = PlainLoop(client, tiny_artifact)
        return {text: loop.reference(text) for text in TEXTS}


@pytest.fixture
async def analyses(tiny_triton: EmbeddedTriton, tiny_artifact: Artifact) -> AsyncIterator[list[ReviewAnalysis]]:
    # A small budget, so that the reviews' rows are spread over many batches.
    options, batching = AnalysisOptions(highlights_per_keyword=EVERY_WORD), BatchingOptions(token_budget=1024)
    async with await ReviewAnalyzer.connect(tiny_triton.grpc_url, tiny_artifact, options, batching) as analyzer:
        yield await analyzer.analyze(TEXTS)


def test_the_long_review_has_several_windows(tiny_artifact: Artifact) -> None:
    encoder = Encoder(tiny_artifact)
    assert len(plan_windows(encoder.encode(LONG_REVIEW), encoder.max_length)) >= 3


async def test_words_are_ordered_as_the_plain_loop_orders_them(
    analyses: list[ReviewAnalysis], references: dict[str, Reference], tiny_artifact: Artifact
) -> None:
    compared = 0
    for analysis in analyses:
        reference = references[analysis.text]
        for keyword in analysis.keywords[:-1]:
            column = tiny_artifact.labels.keywords.index(keyword.keyword)
            probability = reference.unmasked[column]
            drops = {
                start: round((float(probability) - float(probs[column])) / DROP_STEP)
                for start, probs in reference.masked.items()
            }
            expected = [start for start in sorted(drops, key=lambda s: (-drops[s], s)) if drops[start] > 0]
            assert [highlight.start for highlight in keyword.highlights] == expected, keyword.keyword
            compared += len(expected)
    assert compared > 50


async def test_probabilities_with_and_without_each_word_are_the_plain_loops(
    analyses: list[ReviewAnalysis], references: dict[str, Reference], tiny_artifact: Artifact
) -> None:
    for analysis in analyses:
        reference = references[analysis.text]
        for keyword in analysis.keywords[:-1]:
            column = tiny_artifact.labels.keywords.index(keyword.keyword)
            assert keyword.probability == pytest.approx(float(reference.unmasked[column]), abs=1e-6)
            for highlight in keyword.highlights:
                expected = float(reference.masked[highlight.start][column])
                assert highlight.masked_probability == pytest.approx(expected, abs=1e-6)
                assert analysis.text[highlight.start : highlight.end] == highlight.text


async def test_the_keywords_over_their_thresholds_are_predicted(
    analyses: list[ReviewAnalysis], references: dict[str, Reference], tiny_artifact: Artifact
) -> None:
    labels = tiny_artifact.labels
    numbers = set()
    for analysis in analyses:
        unmasked = references[analysis.text].unmasked
        expected = {
            name
            for name, probability, threshold in zip(labels.keywords, unmasked, labels.thresholds, strict=True)
            if probability >= np.float32(threshold)
        }
        assert {keyword.keyword for keyword in analysis.keywords} == expected | {labels.overall}
        numbers.add(len(expected))
    assert len(numbers) > 1


async def test_a_review_is_the_same_alone_and_among_others(
    analyses: list[ReviewAnalysis], tiny_triton: EmbeddedTriton, tiny_artifact: Artifact
) -> None:
    options = AnalysisOptions(highlights_per_keyword=EVERY_WORD)
    async with await ReviewAnalyzer.connect(tiny_triton.grpc_url, tiny_artifact, options) as analyzer:
        for together in analyses[:3]:
            (alone,) = await analyzer.analyze([together.text])
            assert [k.keyword for k in alone.keywords] == [k.keyword for k in together.keywords]
            for one, other in zip(alone.keywords, together.keywords, strict=True):
                assert [h.start for h in one.highlights] == [h.start for h in other.highlights]


async def test_the_starter_models_highlights_are_the_plain_loops(starter_repository: Path) -> None:
    artifact = Artifact.load(newest_artifact_folder(starter_repository))
    with EmbeddedTriton(starter_repository, threads=1) as triton:
        analyses = await _analyzed(triton, artifact, AnalysisOptions(), REVIEWS[:4])
        with triton_grpc.InferenceServerClient(triton.grpc_url, channel_args=CHANNEL_ARGUMENTS) as client:
            loop = PlainLoop(client, artifact)
            found = {analysis.text: loop.reference(analysis.text) for analysis in analyses}
    highlights = [(a.text, k.keyword, h) for a in analyses for k in a.keywords for h in k.highlights]
    assert highlights
    for text, keyword, highlight in highlights:
        column = artifact.labels.keywords.index(keyword)
        masked = {start: float(probabilities[column]) for start, probabilities in found[text].masked.items()}
        assert highlight.masked_probability == pytest.approx(masked[highlight.start], abs=1e-4)
        # Two words may do the same to the last digit; then either is the strongest.
        assert masked[highlight.start] == pytest.approx(min(masked.values()), abs=1e-4)


async def test_fast_highlights_are_exact_where_a_review_is_short(
    tiny_triton: EmbeddedTriton, tiny_artifact: Artifact
) -> None:
    exact, fast = [
        await _analyzed(tiny_triton, tiny_artifact, AnalysisOptions(highlight=mode), REVIEWS)
        for mode in ("exact", "fast")
    ]
    short = [(a, b) for a, b in zip(exact, fast, strict=True) if len(a.text.split()) <= 8]
    assert len(short) > 3
    assert all(a == b for a, b in short)


async def test_fast_highlights_of_a_long_review_are_words_with_their_exact_probability(
    tiny_triton: EmbeddedTriton, tiny_artifact: Artifact, references: dict[str, Reference]
) -> None:
    (fast,) = await _analyzed(tiny_triton, tiny_artifact, AnalysisOptions(highlight="fast"), [LONG_REVIEW])
    reference = references[LONG_REVIEW]
    highlights = [(k.keyword, h) for k in fast.keywords for h in k.highlights]
    assert highlights
    for keyword, highlight in highlights:
        column = tiny_artifact.labels.keywords.index(keyword)
        expected = float(reference.masked[highlight.start][column])
        assert highlight.masked_probability == pytest.approx(expected, abs=1e-6)


async def test_without_highlights_nothing_else_changes(tiny_triton: EmbeddedTriton, tiny_artifact: Artifact) -> None:
    exact, off = [
        await _analyzed(tiny_triton, tiny_artifact, AnalysisOptions(highlight=mode), TEXTS) for mode in ("exact", "off")
    ]
    assert any(keyword.highlights for analysis in exact for keyword in analysis.keywords)
    for analysis in exact:
        for keyword in analysis.keywords:
            keyword.ClearField("highlights")
    assert exact == off


async def _analyzed(
    triton: EmbeddedTriton, artifact: Artifact, options: AnalysisOptions, texts: list[str] | tuple[str, ...]
) -> list[ReviewAnalysis]:
    async with await ReviewAnalyzer.connect(triton.grpc_url, artifact, options) as analyzer:
        return await analyzer.analyze(texts)
