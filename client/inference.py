"""Inference of a chunk: unmasked rows first, then the masks of reviews that have a keyword, all in shared batches."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from client.batching import Batch, buckets_up_to, pack, padded
from client.chunks import ReviewPlan
from client.encoding import Encoder
from client.errors import ReviewLensError
from client.highlights import combine_windows, pick_highlights, words_to_refine
from client.masking import Row, deduplicate, plan_masks, plan_segments
from client.options import AnalysisOptions
from client.results import Findings
from client.transport import TritonTransport
from client.windows import choose_sentiment, merge_keyword_probs

# The sentiment model reads a review once for each of its keywords and once more: an analysis takes several times the
# memory and time that its tokens take in the keyword classifier, so its batches are that much smaller.
ANALYSIS_SHARE = 0.25

Arrays = tuple[NDArray[np.float32], ...]
Infer = Callable[[NDArray[np.int64], NDArray[np.int64]], Awaitable[Arrays]]


class ChunkInference:
    """One chunk's requests. A failed batch fails the reviews with a row in it, in ``failures``, and no others."""

    def __init__(
        self,
        transport: TritonTransport,
        encoder: Encoder,
        options: AnalysisOptions,
        in_flight: asyncio.Semaphore,
        deadline: float,
        count_rows: Callable[[int], None],
    ) -> None:
        """``in_flight`` is shared by all chunks, ``count_rows`` is told the rows of each finished batch."""
        self.failures: dict[int, ReviewLensError] = {}
        self._transport = transport
        self._encoder = encoder
        self._options = options
        self._in_flight = in_flight
        self._deadline = deadline
        self._count_rows = count_rows

    async def findings(self, plans: Mapping[int, ReviewPlan]) -> dict[int, Findings]:
        """What was found in each text; texts of ``failures`` are missing."""
        rows = [row for plan in plans.values() for row in plan.rows]
        answers = await self._infer_reviews(rows, self._analysis, ANALYSIS_SHARE)
        findings: dict[int, Findings] = {}
        unmasked: dict[int, NDArray[np.float32]] = {}
        for number, (its_rows, (keyword_probs, sentiment_probs)) in answers.items():
            tokens = np.array([len(row.input_ids) for row in its_rows])
            sentiments = choose_sentiment(keyword_probs, sentiment_probs, tokens)
            findings[number] = Findings(merge_keyword_probs(keyword_probs), sentiments)
            if findings[number].predicted:
                unmasked[number] = keyword_probs
        if self._options.highlight != "off":
            await self._add_highlights(plans, unmasked, findings)
        return {number: found for number, found in findings.items() if number not in self.failures}

    async def _add_highlights(
        self,
        plans: Mapping[int, ReviewPlan],
        unmasked: Mapping[int, NDArray[np.float32]],
        findings: Mapping[int, Findings],
    ) -> None:
        """Fill in the highlights of the texts that have a predicted keyword: those of ``unmasked`` ([N,K] each)."""
        plan_first = plan_segments if self._options.highlight == "fast" else plan_masks
        first_rows = [
            row
            for number in unmasked
            for row in plan_first(number, plans[number].encoded, plans[number].windows, self._encoder)
        ]
        answers = await self._infer_reviews(first_rows, self._keywords)
        if self._options.highlight == "fast":
            answers = await self._refine(plans, unmasked, findings, answers)
        for number, (rows, (probabilities,)) in answers.items():
            masked = combine_windows(rows, probabilities, unmasked[number])
            for keyword in findings[number].predicted:
                findings[number].highlights[keyword] = pick_highlights(
                    plans[number].encoded, keyword, unmasked[number], masked, self._options.highlights_per_keyword
                )

    async def _refine(
        self,
        plans: Mapping[int, ReviewPlan],
        unmasked: Mapping[int, NDArray[np.float32]],
        findings: Mapping[int, Findings],
        segments: Mapping[int, tuple[list[Row], Arrays]],
    ) -> dict[int, tuple[list[Row], Arrays]]:
        """The answers to ``segments`` and to the single words of the best of them, together."""
        word_rows: list[Row] = []
        for number, (rows, (probabilities,)) in segments.items():
            masked = combine_windows(rows, probabilities, unmasked[number])
            words = set(words_to_refine(unmasked[number], masked, findings[number].predicted))
            plan = plans[number]
            word_rows += plan_masks(number, plan.encoded, plan.windows, self._encoder, words)
        refined = dict(segments)
        for number, (rows, (probabilities,)) in (await self._infer_reviews(word_rows, self._keywords)).items():
            segment_rows, (segment_probabilities,) = segments[number]
            refined[number] = (segment_rows + rows, (np.concatenate([segment_probabilities, probabilities]),))
        return refined

    async def _infer_reviews(
        self, rows: Sequence[Row], infer: Infer, share: float = 1.0
    ) -> dict[int, tuple[list[Row], Arrays]]:
        """Each review's rows, and each output of them stacked; reviews with a failed row go to ``failures`` instead."""
        outputs = await self._infer_rows(rows, infer, share)
        grouped: dict[int, tuple[list[Row], list[Arrays]]] = {}
        for row, output in zip(rows, outputs, strict=True):
            if isinstance(output, ReviewLensError):
                self.failures[row.review] = output
            else:
                its_rows, its_outputs = grouped.setdefault(row.review, ([], []))
                its_rows.append(row)
                its_outputs.append(output)
        return {
            number: (its_rows, tuple(np.stack(arrays) for arrays in zip(*its_outputs, strict=True)))
            for number, (its_rows, its_outputs) in grouped.items()
            if number not in self.failures
        }

    async def _infer_rows(self, rows: Sequence[Row], infer: Infer, share: float) -> list[Arrays | ReviewLensError]:
        """Every row's outputs or its batch's error, in order. Identical rows are computed once.

        ``share`` is the part of the token budget that a batch may take.
        """
        unique, position = deduplicate(rows)
        input_ids = [row.input_ids for row in unique]
        batches = pack(
            [len(ids) for ids in input_ids],
            token_budget=max(1, int(self._options.token_budget * share)),
            max_rows=min(self._options.max_rows, self._transport.max_rows),
            buckets=buckets_up_to(self._encoder.max_length),
        )
        answers: dict[int, Arrays | ReviewLensError] = {}

        async def compute(batch: Batch) -> None:
            # Batches are padded only when their turn comes: most of a chunk's memory would be padding otherwise.
            async with self._in_flight:
                try:
                    outputs = await infer(*padded(input_ids, batch, self._encoder.pad_id))
                except ReviewLensError as error:
                    answers.update(dict.fromkeys(batch.rows, error))
                    return
            answers.update(zip(batch.rows, zip(*outputs, strict=True), strict=True))
            self._count_rows(len(batch.rows))

        async with asyncio.TaskGroup() as group:
            for batch in batches:
                group.create_task(compute(batch))
        return [answers[number] for number in position]

    async def _analysis(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> Arrays:
        return await self._transport.infer_analysis(input_ids, attention_mask, self._deadline)

    async def _keywords(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> Arrays:
        return (await self._transport.infer_keywords(input_ids, attention_mask, self._deadline),)
