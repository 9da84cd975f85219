"""Training examples: labelled reviews as token ids and targets, and the batches that are made of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Sampler

from client.batching import Batch, pack, padded
from client.encoding import EncodedReview, Encoder
from client.errors import InvalidReviewError
from client.windows import SPECIAL_TOKENS_PER_WINDOW
from training.corpus import split_of, text_key
from training.data import LabelledReview, LabelSet

# Shares of training rows: without any mask, and, of the others, with all marked words of one keyword masked.
PLAIN_SHARE = 0.3
EVIDENCE_MASK_SHARE = 0.4
MAX_MASK_RATE = 0.3


@dataclass(frozen=True)
class KeywordExample:
    """``targets`` and ``known`` are FP32 ``[K]``; ``evidence`` gives the words that carry a keyword, by column."""

    review: LabelledReview
    encoded: EncodedReview
    targets: NDArray[np.float32]
    known: NDArray[np.float32]
    evidence: dict[int, frozenset[int]]

    def __len__(self) -> int:
        return len(self.encoded.input_ids) + SPECIAL_TOKENS_PER_WINDOW


@dataclass(frozen=True)
class SentimentExample:
    """One (review, label) pair. ``allowed`` is FP32 ``[S]``: the sentiment classes that the annotation leaves open."""

    review: LabelledReview
    encoded: EncodedReview
    label: str
    prompt_ids: tuple[int, ...]
    allowed: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.encoded.input_ids) + 3


Example = KeywordExample | SentimentExample


def merge_sources(reviews: Iterable[LabelledReview]) -> list[LabelledReview]:
    """One entry a text: graded labels win over signs, and keep the evidence that people marked in the other."""
    merged: dict[str, LabelledReview] = {}
    for review in reviews:
        key = text_key(review.text)
        other = merged.get(key)
        if other is None:
            merged[key] = review
        elif review.graded != other.graded:
            graded, signed = (review, other) if review.graded else (other, review)
            # Spans are code points of the text that they were marked in.
            merged[key] = replace(graded, evidence=signed.evidence) if graded.text == signed.text else graded
    return list(merged.values())


def split_reviews(reviews: Iterable[LabelledReview]) -> dict[str, list[LabelledReview]]:
    """Reviews by split: ``train``, ``validation`` and ``test``."""
    splits: dict[str, list[LabelledReview]] = {"train": [], "validation": [], "test": []}
    for review in reviews:
        splits[split_of(review.text)].append(review)
    return splits


def encode_reviews(
    reviews: Sequence[LabelledReview], encoder: Encoder
) -> Iterator[tuple[LabelledReview, EncodedReview]]:
    """Reviews with their encoding, cut to one window; texts that cannot be encoded are left out."""
    for review, encoded in zip(reviews, encoder.encode_many([r.text for r in reviews]), strict=True):
        if not isinstance(encoded, InvalidReviewError):
            most = encoder.max_length - SPECIAL_TOKENS_PER_WINDOW
            yield (
                review,
                replace(encoded, input_ids=encoded.input_ids[:most], word_of_token=encoded.word_of_token[:most]),
            )


def keyword_examples(reviews: Sequence[LabelledReview], encoder: Encoder, label_set: LabelSet) -> list[KeywordExample]:
    """Multi-label examples; keywords that the source does not annotate are not ``known``."""
    column = {name: k for k, name in enumerate(label_set.keywords)}
    examples = []
    for review, encoded in encode_reviews(reviews, encoder):
        targets = np.array(
            [review.targets.get(name, float(name in review.scores)) for name in label_set.keywords], np.float32
        )
        known = np.array([float(name in review.annotated) for name in label_set.keywords], np.float32)
        evidence = {
            column[name]: frozenset(
                i for i, word in enumerate(encoded.words) if any(word.start < e and word.end > s for s, e in spans)
            )
            for name, spans in review.evidence.items()
            if name in review.scores or name in review.targets
        }
        examples.append(KeywordExample(review, encoded, targets, known, evidence))
    return examples


def sentiment_examples(
    reviews: Sequence[LabelledReview], encoder: Encoder, label_set: LabelSet, prompt: str
) -> list[SentimentExample]:
    """An example for each tagged label. Where only the sign is known, every class of that sign is allowed."""
    prompts = {name: encoder.encode(prompt.format(keyword=name)).input_ids for name in label_set.all_labels}
    scores = np.array(label_set.sentiment_scores)
    examples = []
    for review, encoded in encode_reviews(reviews, encoder):
        for name, score in review.scores.items():
            allowed = scores == score if review.graded else np.sign(scores) == np.sign(score)
            examples.append(SentimentExample(review, encoded, name, prompts[name], allowed.astype(np.float32)))
    return examples


class TokenBudgetSampler(Sampler[list[int]]):
    """Batches of similar length with at most ``token_budget`` padded tokens, in an order that changes every epoch."""

    def __init__(self, lengths: Sequence[int], token_budget: int, seed: int) -> None:
        self.lengths = list(lengths)
        self.token_budget = token_budget
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self._batches(0))

    def __iter__(self) -> Iterator[list[int]]:
        yield from self._batches(self.epoch)

    def _batches(self, epoch: int) -> list[list[int]]:
        rng = np.random.default_rng((self.seed, epoch))
        # Which examples of one length share a batch changes, how many batches there are does not.
        order = rng.permutation(len(self.lengths))
        batches = [
            [int(order[row]) for row in batch.rows]
            for batch in pack([self.lengths[i] for i in order], token_budget=self.token_budget)
        ]
        return [batches[int(i)] for i in rng.permutation(len(batches))]


class KeywordCollator:
    """Pads keyword examples and masks words, so that the masks of occlusion are nothing new to the model.

    Random words are masked, and in some examples all the words that people marked for one keyword. Where all of them
    are masked (or cut off), the review no longer says the keyword: its target is 0, and the model learns which words
    the keyword rests on. Where more than half are, it is not known: either label would teach to guess.
    """

    def __init__(self, encoder: Encoder, seed: int, *, mask_words: bool = True) -> None:
        self.encoder = encoder
        self.mask_words = mask_words
        self.rng = np.random.default_rng(seed)

    def __call__(self, examples: Sequence[KeywordExample]) -> dict[str, Tensor]:
        rows, known, targets = [], [], []
        for example in examples:
            hidden = self._hidden_words(example)
            owners = example.encoded.word_of_token
            ids = [
                self.encoder.mask_id if hidden[w] else token
                for token, w in zip(example.encoded.input_ids, owners, strict=True)
            ]
            rows.append([self.encoder.cls_id, *ids, self.encoder.sep_id])
            visible = {w for w in owners if not hidden[w]}
            said = example.targets.copy()
            kept = example.known.copy()
            for column, words in example.evidence.items():
                if not words & visible:
                    said[column] = 0
                elif len(words & visible) * 2 < len(words):
                    kept[column] = 0
            known.append(kept)
            targets.append(said)
        return {
            **pad_rows(rows, self.encoder.pad_id),
            "targets": torch.from_numpy(np.stack(targets)),
            "known": torch.from_numpy(np.stack(known)),
        }

    def _hidden_words(self, example: KeywordExample) -> NDArray[np.bool_]:
        """Which words of the review to mask."""
        words = len(example.encoded.words)
        if not self.mask_words or self.rng.random() < PLAIN_SHARE:
            return np.zeros(words, bool)
        hidden = self.rng.random(words) < self.rng.uniform(0, MAX_MASK_RATE)
        if example.evidence and self.rng.random() < EVIDENCE_MASK_SHARE:
            column = self.rng.choice(sorted(example.evidence))
            hidden[sorted(example.evidence[column])] = True
        return hidden


class SentimentCollator:
    """Pads sentiment examples: ``<s> prompt </s> review </s>``."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    def __call__(self, examples: Sequence[SentimentExample]) -> dict[str, Tensor]:
        sep = self.encoder.sep_id
        rows = [[self.encoder.cls_id, *e.prompt_ids, sep, *e.encoded.input_ids, sep] for e in examples]
        return {
            **pad_rows(rows, self.encoder.pad_id),
            "allowed": torch.from_numpy(np.stack([example.allowed for example in examples])),
        }


def pad_rows(rows: Sequence[Sequence[int]], pad_id: int) -> dict[str, Tensor]:
    """``input_ids`` and ``attention_mask``, both INT64 ``[B, L]`` with L a multiple of 8."""
    width = -(-max(map(len, rows)) // 8) * 8
    input_ids, attention_mask = padded(rows, Batch(tuple(range(len(rows))), width), pad_id)
    return {"input_ids": torch.from_numpy(input_ids), "attention_mask": torch.from_numpy(attention_mask)}
