"""What the model reads, and what can be read of what it writes.

    ###입력: {review} ###명령어: 리뷰를 분석해줘 ###출력: 디자인 1, 배송 -1

The parser is strict: it takes ``keyword score`` pairs parted by commas, and nothing else, and counts by kind what it
does not take. It never raises on text, since a generator may write anything.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from client.errors import InvalidInputError
from training.data import LabelSet

BEFORE_REVIEW = "###입력:"
AFTER_REVIEW = " ###명령어: 리뷰를 분석해줘 ###출력:"

Kind = Literal["empty", "unknown keyword", "no score", "out of range", "repeated", "trailing text", "cut off"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_NUMBER = re.compile(r"[-+]?[0-9]+(\.[0-9]+)?")
# WordPiece parts "-1" into "-" and "1", and its decoder puts a space between them.
_PARTED_SIGN = re.compile(r"(?<!\S)-\s+(?=[0-9])")


@dataclass(frozen=True)
class Problem:
    """A piece of an output that could not be read."""

    kind: Kind
    piece: str


@dataclass(frozen=True)
class Reading:
    """The scores that could be read, in the order in which they were written, and what could not be read."""

    scores: dict[str, int]
    problems: tuple[Problem, ...]


class CompletionParser:
    """Reads completions such as ``디자인 1, 배송 -1`` in the names and scores of one label set.

    Names are compared without case, compatibility forms (NFKC) and whitespace, because tokenizers change all three.
    """

    def __init__(self, label_set: LabelSet) -> None:
        """Prepare the names.

        Raises:
            InvalidInputError: two names differ only in what the comparison ignores.
        """
        self._names: dict[str, str] = {}
        for name in label_set.all_labels:
            if (other := self._names.setdefault(_squashed(name), name)) != name:
                raise InvalidInputError(f"label set: a text output cannot tell {name!r} from {other!r}; rename one")
        self._scores = {str(score): score for score in label_set.sentiment_scores}

    def parse(self, text: str, *, finished: bool = True) -> Reading:
        """Read one output.

        The first of repeated pairs counts. Reading stops at trailing text: what follows a pair without a comma. Of an
        output that was not ``finished`` (it came to the limit of tokens) the last piece is not read: it may be a part.
        """
        scores: dict[str, int] = {}
        problems: list[Problem] = []
        pieces = [piece.strip() for piece in _PARTED_SIGN.sub("-", text).split(",")]
        if not finished:
            problems.append(Problem("cut off", pieces.pop()))
        elif pieces == [""]:
            return Reading({}, (Problem("empty", ""),))
        for number, piece in enumerate(pieces):
            name, score, rest = self._pair(piece)
            if not piece:
                problems.append(Problem("empty", piece))
            elif name is None:
                problems.append(Problem("unknown keyword", piece))
            elif not _NUMBER.fullmatch(score):
                problems.append(Problem("no score", piece))
            elif score not in self._scores:
                problems.append(Problem("out of range", piece))
            elif name in scores:
                problems.append(Problem("repeated", piece))
            else:
                scores[name] = self._scores[score]
            if rest and _NUMBER.fullmatch(score):
                problems.append(Problem("trailing text", ", ".join([rest, *pieces[number + 1 :]])))
                break
        return Reading(scores, tuple(problems))

    def _pair(self, piece: str) -> tuple[str | None, str, str]:
        """The name that begins the piece (None: no known one), the word behind it, and the rest.

        Of several names the longest counts, and one with a number behind it before one without.
        """
        words = piece.split()
        known = [end for end in range(len(words), 0, -1) if _squashed("".join(words[:end])) in self._names]
        if not known:
            return None, "", ""
        end = next((end for end in known if _NUMBER.fullmatch("".join(words[end : end + 1]))), known[0])
        name = self._names[_squashed("".join(words[:end]))]
        return name, "".join(words[end : end + 1]), " ".join(words[end + 1 :])


def count_problems(readings: Iterable[Reading]) -> dict[str, int]:
    """How often each kind of problem stands in the outputs; kinds that do not occur are 0."""
    counts = Counter(problem.kind for reading in readings for problem in reading.problems)
    return {kind: counts[kind] for kind in KINDS}


def _squashed(name: str) -> str:
    return "".join(unicodedata.normalize("NFKC", name).casefold().split())
