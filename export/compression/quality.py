"""What a variant's graphs say of held-out reviews: keywords, sentiments, the words that keywords rest on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from client.artifact import Labels
from client.chunks import plan_chunk
from client.encoding import MAX_CHARACTERS, Encoder
from client.highlights import combine_windows, pick_highlights
from client.masking import deduplicate, plan_masks
from client.results import ReviewInput
from export.graphs import thresholds_float32
from export.runners import Floats, Runner
from export.samples import Batch, batches_of
from training.data import LabelledReview
from training.examples import encode_reviews
from training.metrics import Table, multi_label_table, single_label_table


@dataclass(frozen=True)
class TopWords:
    """For N reviews and K keywords: ``predicted`` bool [N, K], and where the top highlight starts, int [N, K].

    ``starts`` counts code points of the review; -1 where masking no word lowers the probability. It is known of every
    keyword, predicted or not.
    """

    predicted: NDArray[np.bool_]
    starts: NDArray[np.int64]

    def agreement(self, reference: TopWords) -> float:
        """Of the keywords that the reference predicts, the share with the same top word."""
        same = (self.starts == reference.starts)[reference.predicted]
        return float(same.mean()) if len(same) else 1.0


def keyword_table(runner: Runner, reviews: Sequence[LabelledReview], encoder: Encoder, labels: Labels) -> Table:
    """Precision, recall and F1 of each keyword over its threshold, and their averages."""
    encoded = list(encode_reviews(reviews, encoder))
    probabilities = _keyword_probs(runner, [_framed(e.input_ids, encoder) for _, e in encoded], encoder)
    true = np.array([[name in review.scores for name in labels.keywords] for review, _ in encoded])
    return multi_label_table(true, probabilities >= thresholds_float32(labels.thresholds), labels.keywords)


def sentiment_table(runner: Runner, reviews: Sequence[LabelledReview], encoder: Encoder, labels: Labels) -> Table:
    """Accuracy and F1 of the sentiments of all tagged labels, whether their keyword is found or not."""
    encoded = list(encode_reviews(reviews, encoder))
    rows = [_framed(e.input_ids, encoder) for _, e in encoded]
    classes = {score: number for number, score in enumerate(labels.sentiment_scores)}
    true: list[int] = []
    chosen: list[int] = []
    for numbers, batch in batches_of(rows, encoder):
        scores = [encoded[number][0].scores for number in numbers]
        tagged = np.array([[name in found for name in labels.keywords] for found in scores], np.float32)
        # A probability of 1 is over every threshold: the graph is asked for the tagged keywords and no others.
        answers = runner.sentiments(batch, tagged).argmax(2)
        for found, row in zip(scores, answers, strict=True):
            true += [classes[score] for score in found.values()]
            chosen += [int(row[labels.all_labels.index(name)]) for name in found]
    return single_label_table(np.array(true), np.array(chosen), labels.sentiments)


def top_words(runner: Runner, reviews: Sequence[LabelledReview], encoder: Encoder, labels: Labels) -> TopWords:
    """Predict and mask as the analyzer does, in this process."""
    chunk = plan_chunk([ReviewInput(review.text) for review in reviews], encoder, MAX_CHARACTERS)
    rows = [row for plan in chunk.plans.values() for row in plan.rows]
    for number, plan in chunk.plans.items():
        rows += plan_masks(number, plan.encoded, plan.windows, encoder)
    unique, place = deduplicate(rows)
    probabilities = _keyword_probs(runner, [row.input_ids for row in unique], encoder)[place]
    limits = thresholds_float32(labels.thresholds)
    predicted, starts = [], []
    for number, plan in chunk.plans.items():
        mine = [i for i, row in enumerate(rows) if row.review == number]
        plain, masked = [i for i in mine if not rows[i].words], [i for i in mine if rows[i].words]
        unmasked = probabilities[plain]
        combined = combine_windows([rows[i] for i in masked], probabilities[masked], unmasked)
        found = [pick_highlights(plan.encoded, k, unmasked, combined) for k in range(len(labels.keywords))]
        predicted.append(unmasked.max(0) >= limits)
        starts.append([best[0].word.start if best else -1 for best in found])
    return TopWords(np.array(predicted), np.array(starts))


def company_effect(runner: Runner, reviews: Sequence[LabelledReview], encoder: Encoder) -> float:
    """The largest change of a keyword's probability when a review is computed alone instead of in a batch.

    Both times it is padded to the same length. Highlights compare probabilities of different batches: what is not
    nearly 0 moves them at random.
    """
    rows = [_framed(e.input_ids, encoder) for _, e in encode_reviews(reviews, encoder)]
    largest = 0.0
    for _, batch in batches_of(rows, encoder):
        together = runner.keywords(batch)
        for i in range(len(batch)):
            alone = runner.keywords(Batch(batch.input_ids[i : i + 1], batch.attention_mask[i : i + 1]))
            largest = max(largest, float(np.abs(alone[0] - together[i]).max()))
    return largest


def _keyword_probs(runner: Runner, rows: Sequence[Sequence[int]], encoder: Encoder) -> Floats:
    """[N, K], a row each."""
    found: dict[int, Floats] = {}
    for numbers, batch in batches_of(rows, encoder):
        found.update(zip(numbers, runner.keywords(batch), strict=True))
    return np.stack([found[number] for number in range(len(rows))])


def _framed(input_ids: Sequence[int], encoder: Encoder) -> list[int]:
    return [encoder.cls_id, *input_ids, encoder.sep_id]
