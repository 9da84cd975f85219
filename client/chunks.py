"""Chunks: the input in pieces of bounded size, each with its reviews tokenized and its rows planned."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from client.encoding import EncodedReview, Encoder
from client.errors import InvalidInputError, InvalidReviewError, ReviewLensError
from client.masking import Row, plan_rows
from client.results import InvalidRow, ReviewInput
from client.windows import Window, plan_windows

MAX_REVIEWS = 256
# The masks of a review take words * tokens of memory, so a chunk of long reviews is closed earlier.
MAX_CHARACTERS = 50_000

InputRow = ReviewInput | InvalidRow


@dataclass(frozen=True)
class ReviewPlan:
    """A distinct text: its encoding, its windows and an unmasked row for each of them."""

    encoded: EncodedReview
    windows: tuple[Window, ...]
    rows: list[Row]


@dataclass(frozen=True)
class Chunk:
    """Input rows, and the work that they make. Identical texts share one text number and are planned once.

    ``text_of`` holds the text number of each row (-1 for an invalid row). Each text number is either in ``plans``
    or, if the text cannot be analyzed, in ``failures``.
    """

    inputs: list[InputRow]
    text_of: list[int]
    plans: dict[int, ReviewPlan]
    failures: dict[int, ReviewLensError]


def read_chunks(rows: Iterable[InputRow]) -> Iterator[list[InputRow]]:
    """Cut the input into pieces of at most MAX_REVIEWS rows, fewer if they are long.

    Raises:
        InvalidInputError: ``rows`` raised it; what came before has been yielded.
    """
    piece: list[InputRow] = []
    characters = 0
    failure: InvalidInputError | None = None
    try:
        for row in rows:
            piece.append(row)
            characters += len(row.text) if isinstance(row, ReviewInput) else 0
            if len(piece) == MAX_REVIEWS or characters >= MAX_CHARACTERS:
                yield piece
                piece, characters = [], 0
    except InvalidInputError as error:
        failure = error
    if piece:
        yield piece
    if failure:
        raise failure


def plan_chunk(inputs: list[InputRow], encoder: Encoder, max_characters: int) -> Chunk:
    """Tokenize the distinct texts of some rows and plan their unmasked rows."""
    number_of: dict[str, int] = {}
    text_of = [number_of.setdefault(row.text, len(number_of)) if isinstance(row, ReviewInput) else -1 for row in inputs]
    chunk = Chunk(inputs, text_of, {}, {})
    for number, encoded in enumerate(encoder.encode_many(list(number_of), max_characters)):
        if isinstance(encoded, InvalidReviewError):
            chunk.failures[number] = encoded
        else:
            windows = plan_windows(encoded, encoder.max_length)
            chunk.plans[number] = ReviewPlan(encoded, windows, plan_rows(number, encoded, windows, encoder))
    return chunk
