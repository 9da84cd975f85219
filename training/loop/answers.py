"""What labellers are asked and what they answer, whichever tool they label with."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field

from training.data import LabelSet

# The labeller of rows that settle a disagreement, or confirm labels that a check returned.
DECISION = "decision"


@dataclass(frozen=True)
class Task:
    """A review to be labelled."""

    id: str
    text: str
    shop: str = ""
    category: str = ""


@dataclass(frozen=True)
class Answer:
    """What one labeller said of one review, as it was read: nothing is checked yet.

    ``cells`` are the values that are not blank, by label. ``text`` is None where the file does not repeat it.
    ``problem`` says why a row could not be read. ``file`` counts the files in the order that they came in.
    """

    where: str
    file: int
    id: str
    text: str | None
    labeller: str
    cells: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""


def parse_score(value: str, label_set: LabelSet) -> int | None:
    """The score that a cell means, or None: ``-1``, as spreadsheets write it (``-1.0``, ``−1``), or a sentiment's name.

    >>> parse_score("+1", fashion), parse_score("긍정", fashion), parse_score("좋음", fashion)
    (1, 1, None)
    """
    said = unicodedata.normalize("NFKC", value).strip().replace("\N{MINUS SIGN}", "-")
    if said in label_set.sentiments:
        return label_set.sentiment_scores[label_set.sentiments.index(said)]
    try:
        score = float(said)
    except ValueError:
        return None
    return int(score) if score in label_set.sentiment_scores else None


def same_text(left: str, right: str) -> bool:
    """Whether two texts differ only in what editors change by themselves.

    That is white space, Unicode composition, and what CP949 lacks: Excel for Korean Windows saves emoji as ``?``.
    """
    return plain(left) == plain(right) or _in_cp949(left) == _in_cp949(right)


def plain(text: str) -> str:
    """A text with one space between words, and composed."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def _in_cp949(text: str) -> str:
    # An emoji becomes as many question marks as UTF-16 takes for it.
    return re.sub(r"\?+", "?", plain(text).encode("cp949", "replace").decode("cp949"))
