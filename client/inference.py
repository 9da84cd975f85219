"""Inference of a chunk: unmasked rows first, then the masks of reviews that have a keyword, all through the batcher."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from client.artifact import Labels
from client.chunks import ReviewPlan
from client.encoding import Encoder
from client.errors import ReviewLensError
from client.highlights import combine_windows, pick_highlights, words_to_refine
from client.masking import Row, plan_masks, plan_segments
from client.model_times import ModelTimes
from client.options import AnalysisOptions
from client.results import Findings
from client.row_batcher import RowBatcher
from client.row_requests import Answers, Arrays, Caller
from client.timings import Timings
from client.windows import choose_sentiment, merge_keyword_probs

Stacked = dict[int, tuple[list[Row], Arrays]]


class ChunkInference:
    """One chunk's requests, for one caller.

    A failed batch fails the reviews with a row in it, in ``failures``, and no others. ``timings`` is where the time
    went; planning masks counts as tokenization.
    """

    def __init__(
        self,
        batcher: RowBatcher,
        encoder: Encoder,
        labels: Labels,
        model_times: ModelTimes,
        options: AnalysisOptions,
        caller: Caller,
    ) -> None:
        self.failures: dict[int, ReviewLensError] = {}
        self.timings = Timings()
        self._batcher = batcher
        self._encoder = encoder
        self._model_times = model_times
        self._options = options
        self._caller = caller
        wanted = options.keywords or labels.all_labels
        self._wanted = np.array([label in wanted for label in labels.all_labels])
        thresholds = [options.thresholds.get(*pair) for pair in zip(labels.keywords, labels.thresholds, strict=True)]
        self._thresholds = np.array(thresholds, np.float32)

    async def findings(self, plans: Mapping[int, ReviewPlan]) -> dict[int, Findings]:
        """What was found in each text, of what is wanted; texts of ``failures`` are missing."""
        rows = [row for plan in plans.values() for row in plan.rows]
        answers = await (self._analyze_in_steps(rows) if self._options.thresholds else self._analyze(rows))
        findings: dict[int, Findings] = {}
        unmasked: dict[int, NDArray[np.float32]] = {}
        for number, (its_rows, (keyword_probs, sentiment_probs)) in answers.items():
            tokens = np.array([len(row.input_ids) for row in its_rows])
            sentiments = choose_sentiment(keyword_probs, sentiment_probs, tokens) * self._wanted[:, None]
            findings[number] = Findings(merge_keyword_probs(keyword_probs), sentiments)
            if findings[number].predicted:
                unmasked[number] = keyword_probs
        if self._options.highlight != "off" and unmasked:
            await self._add_highlights(plans, unmasked, findings)
        return {number: found for number, found in findings.items() if number not in self.failures}

    async def _analyze(self, rows: Sequence[Row]) -> Stacked:
        """``keyword_probs`` [N,K] and ``sentiment_probs`` [N,K+1,S] of each review, a window each."""
        answers = await self._batcher.infer("analysis", [row.input_ids for row in rows], self._caller)
        share = await self._model_times.keyword_share(self._caller.deadline)
        keyword_s, sentiment_s = answers.compute_s * share, answers.compute_s * (1 - share)
        self.timings += Timings(queue_s=answers.queue_s, keyword_s=keyword_s, sentiment_s=sentiment_s)
        return self._by_review(rows, answers)

    async def _analyze_in_steps(self, rows: Sequence[Row]) -> Stacked:
        """The same with the caller's thresholds: the sentiment model is told what they predict.

        It asks for a keyword whose probability is over the model's own threshold, as 1 is and 0 is not.
        """
        answers = await self._batcher.infer("keywords", [row.input_ids for row in rows], self._caller)
        self.timings += Timings(queue_s=answers.queue_s, keyword_s=answers.compute_s)
        found = self._by_review(rows, answers)
        asked = {
            number: ((keyword_probs >= self._thresholds) & self._wanted[:-1]).astype(np.float32)
            for number, (_, (keyword_probs,)) in found.items()
        }
        rows = [row for its_rows, _ in found.values() for row in its_rows]
        keyword_probs = [row_asked for number in found for row_asked in asked[number]]
        answers = await self._batcher.infer("sentiment", [row.input_ids for row in rows], self._caller, keyword_probs)
        self.timings += Timings(queue_s=answers.queue_s, sentiment_s=answers.compute_s)
        sentiments = self._by_review(rows, answers)
        return {number: (its_rows, found[number][1] + outputs) for number, (its_rows, outputs) in sentiments.items()}

    async def _add_highlights(
        self,
        plans: Mapping[int, ReviewPlan],
        unmasked: Mapping[int, NDArray[np.float32]],
        findings: Mapping[int, Findings],
    ) -> None:
        """Fill in the highlights of the texts that have a predicted keyword: those of ``unmasked`` ([N,K] each)."""
        plan_first = plan_segments if self._options.highlight == "fast" else plan_masks
        answers = await self._infer_masks(
            row
            for number in unmasked
            for row in plan_first(number, plans[number].encoded, plans[number].windows, self._encoder)
        )
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
        segments: Stacked,
    ) -> Stacked:
        """The answers to ``segments`` and to the single words of the best of them, together."""
        word_rows: list[Row] = []
        for number, (rows, (probabilities,)) in segments.items():
            masked = combine_windows(rows, probabilities, unmasked[number])
            words = set(words_to_refine(unmasked[number], masked, findings[number].predicted))
            plan = plans[number]
            word_rows += plan_masks(number, plan.encoded, plan.windows, self._encoder, words)
        refined = dict(segments)
        for number, (rows, (probabilities,)) in (await self._infer_masks(word_rows)).items():
            segment_rows, (segment_probabilities,) = segments[number]
            refined[number] = (segment_rows + rows, (np.concatenate([segment_probabilities, probabilities]),))
        return refined

    async def _infer_masks(self, planned: Iterable[Row]) -> Stacked:
        """``keyword_probs`` [M,K] of each review's masked rows."""
        clock = asyncio.get_running_loop().time
        start = clock()
        rows = list(planned)
        planning_s = clock() - start
        answers = await self._batcher.infer("keywords", [row.input_ids for row in rows], self._caller)
        self.timings += Timings(planning_s, answers.queue_s, highlight_s=answers.compute_s)
        return self._by_review(rows, answers)

    def _by_review(self, rows: Sequence[Row], answers: Answers) -> Stacked:
        """Each review's rows, and each output of them stacked; reviews with a failed row go to ``failures`` instead."""
        grouped: dict[int, tuple[list[Row], list[Arrays]]] = {}
        for row, output in zip(rows, answers.rows, strict=True):
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
