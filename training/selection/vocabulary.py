"""Rare vocabulary: how much of a review is unknown or rare to a SentencePiece model of the present training data."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

from client.errors import InvalidInputError
from training.selection.strategies import Ranking

log = logging.getLogger("selection")

VOCABULARY_SIZE = 8_000
# Pieces are numbered from the most to the least probable: from this part of the vocabulary on, an index is late.
LATE_FROM = 0.75
# A share is shrunk towards the pool's as if the review had this many more pieces: one typing error in three words is
# no vocabulary.
PRIOR_PIECES = 10
SHOWN_WORDS = 3
WORD_BEGIN = "▁"


@dataclass(frozen=True)
class RarePieces:
    """Of one review: how many of its ``pieces`` are unknown or late, and the ``words`` that hold them, each once."""

    rare: int
    pieces: int
    words: tuple[str, ...]


def train_vocabulary(texts: Sequence[str], size: int = VOCABULARY_SIZE) -> SentencePieceProcessor:
    """A unigram model (Kudo 2018, arXiv:1804.10959) of at most ``size`` pieces, fewer where the texts give no more.

    Raises:
        InvalidInputError: the texts are too few for any vocabulary.
    """
    model = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            model_type="unigram",
            vocab_size=size,
            hard_vocab_limit=False,
            num_threads=1,
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        raise InvalidInputError(
            f"--exclude: {len(texts)} texts give no SentencePiece vocabulary: {error}; bring the present training data"
        ) from None
    return SentencePieceProcessor(model_proto=model.getvalue())


def rare_pieces(model: SentencePieceProcessor, text: str) -> RarePieces:
    """Count a review's unknown and late pieces; spaces alone are no pieces."""
    late = LATE_FROM * model.vocab_size()
    words: list[tuple[str, bool]] = []
    rare = total = 0
    for part in model.encode(text, out_type="proto").pieces:
        shown = part.piece.removeprefix(WORD_BEGIN)
        is_rare = bool(shown) and (part.id == model.unk_id() or part.id >= late)
        rare += is_rare
        total += bool(shown)
        if part.piece.startswith(WORD_BEGIN) or not words:
            words.append((shown, is_rare))
        else:
            words[-1] = (words[-1][0] + shown, words[-1][1] or is_rare)
    return RarePieces(rare, total, tuple(dict.fromkeys(word for word, holds in words if holds)))


def rare_vocabulary(model: SentencePieceProcessor, texts: Sequence[str]) -> Ranking:
    """Reviews whose share of rare pieces is above the pool's, the highest shrunken share first.

    The shrunken share of r rare ones of n pieces is ``(r + m * q) / (n + m)``, with q the pool's share and m
    ``PRIOR_PIECES``.
    """
    found = [rare_pieces(model, text) for text in texts]
    usual = sum(f.rare for f in found) / max(1, sum(f.pieces for f in found))
    share = [(f.rare + PRIOR_PIECES * usual) / (f.pieces + PRIOR_PIECES) for f in found]
    rows = [row for row in sorted(range(len(found)), key=lambda row: -share[row]) if share[row] > usual]
    return [(row, _why(found[row], usual)) for row in rows]


def _why(found: RarePieces, usual: float) -> str:
    words = ", ".join(found.words[:SHOWN_WORDS]) + (", …" if len(found.words) > SHOWN_WORDS else "")
    return (
        f"{found.rare} of {found.pieces} word pieces are rare or unknown in the training data "
        f"({usual:.0%} is usual): {words}"
    )
