"""How two versions agree on the same reviews: counts alone, which add up over calls and over servers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self

from reviewlens.v1.review_analysis_pb2 import KeywordAnalysis, ReviewAnalysis

# Durations are counted in classes of which the next is wider by a twentieth of a power of ten, 12 %.
CLASSES_PER_DECADE = 20
SHORTEST_S = 1e-4


@dataclass
class Agreement:
    """What both versions said about one label, over the reviews that were asked for it.

    ``both``, ``champion_only`` and ``challenger_only`` count reviews in which the label was predicted; ``reviews`` has
    those in which it was not, too. The rest is about the reviews in which both predicted it: ``same_sentiment``, the
    sum of the challenger's score minus the champion's and of that difference's square, and, where both highlighted a
    word (``highlighted``), whether the strongest one is the same (``same_highlight``).
    """

    reviews: int = 0
    both: int = 0
    champion_only: int = 0
    challenger_only: int = 0
    same_sentiment: int = 0
    score_difference: int = 0
    squared_score_difference: int = 0
    highlighted: int = 0
    same_highlight: int = 0

    def add(self, champion: KeywordAnalysis | None, challenger: KeywordAnalysis | None) -> None:
        """Count one review; None where the label was not predicted."""
        self.reviews += 1
        if champion is None or challenger is None:
            self.champion_only += champion is not None
            self.challenger_only += challenger is not None
            return
        difference = challenger.score - champion.score
        self.both += 1
        self.same_sentiment += champion.sentiment == challenger.sentiment
        self.score_difference += difference
        self.squared_score_difference += difference**2
        if champion.highlights and challenger.highlights:
            first, second = champion.highlights[0], challenger.highlights[0]
            self.highlighted += 1
            self.same_highlight += (first.start, first.end) == (second.start, second.end)

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass
class Durations:
    """Durations by class; a quantile is off by 6 % at most."""

    classes: Counter[int] = field(default_factory=Counter)

    def add(self, seconds: float) -> None:
        """Count one."""
        self.classes[math.floor(CLASSES_PER_DECADE * math.log10(max(seconds, SHORTEST_S)))] += 1

    def quantile(self, share: float) -> float | None:
        """Seconds that ``share`` of the durations do not exceed; None without any."""
        wanted = share * self.classes.total()
        for number in sorted(self.classes):
            wanted -= self.classes[number]
            if wanted <= 0:
                return float(10 ** ((number + 0.5) / CLASSES_PER_DECADE))
        return None


@dataclass
class Comparison:
    """Two versions on the reviews of the same calls. Texts are not among what is kept, except in ``examples``.

    ``reviews`` both analyzed, ``identical`` ones got the same keywords and sentiments. ``failed`` counts reviews that
    the challenger alone did not analyze by error code, ``dropped`` those it was not asked about because it was behind.
    Reviews that the champion failed on are not counted at all. ``examples`` are the latest reviews with differences.
    """

    champion: str
    challenger: str
    since: str
    until: str = ""
    calls: int = 0
    reviews: int = 0
    identical: int = 0
    dropped: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    labels: dict[str, Agreement] = field(default_factory=dict)
    champion_seconds: Durations = field(default_factory=Durations)
    challenger_seconds: Durations = field(default_factory=Durations)
    examples: list[dict[str, Any]] = field(default_factory=list)

    def add_call(
        self,
        champion: Sequence[ReviewAnalysis],
        challenger: Sequence[ReviewAnalysis],
        labels: Sequence[str],
        examples: int = 0,
    ) -> None:
        """Count a call. Both sequences have its reviews in the same order; ``labels`` are what it asked for.

        ``examples`` is how many reviews with differences to keep, with their texts.
        """
        self.calls += 1
        for first, second in zip(champion, challenger, strict=True):
            if first.HasField("error"):
                continue
            if second.HasField("error"):
                self.failed[second.error.code] += 1
                continue
            self.reviews += 1
            said, says = _by_label(first), _by_label(second)
            for label in labels:
                self.labels.setdefault(label, Agreement()).add(said.get(label), says.get(label))
            if _sentiments(said) == _sentiments(says):
                self.identical += 1
            elif examples:
                example = {"text": first.text, "champion": _sentiments(said), "challenger": _sentiments(says)}
                self.examples = [*self.examples, example][-examples:]

    def add_failed_call(self, champion: Sequence[ReviewAnalysis], code: str) -> None:
        """Count a call that failed as a whole with the challenger."""
        self.calls += 1
        self.failed[code] += sum(not analysis.HasField("error") for analysis in champion)

    def __add__(self, other: Comparison) -> Comparison:
        """The counts of two servers, or of two times, of the same two versions."""
        names = [*self.labels, *(name for name in other.labels if name not in self.labels)]
        return Comparison(
            champion=self.champion,
            challenger=self.challenger,
            since=min(self.since, other.since),
            until=max(self.until, other.until),
            calls=self.calls + other.calls,
            reviews=self.reviews + other.reviews,
            identical=self.identical + other.identical,
            dropped=self.dropped + other.dropped,
            failed=self.failed + other.failed,
            labels={n: self.labels.get(n, Agreement()) + other.labels.get(n, Agreement()) for n in names},
            champion_seconds=Durations(self.champion_seconds.classes + other.champion_seconds.classes),
            challenger_seconds=Durations(self.challenger_seconds.classes + other.challenger_seconds.classes),
            examples=[*self.examples, *other.examples],
        )

    def to_dict(self) -> dict[str, Any]:
        """What JSON takes."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The reverse of ``to_dict``, also after a way through JSON.

        Raises:
            TypeError, ValueError, AttributeError: these are not its values.
        """
        built = {
            "failed": Counter(values["failed"]),
            "labels": {name: Agreement(**counts) for name, counts in values["labels"].items()},
            **{
                name: Durations(Counter({int(number): count for number, count in values[name].items()}))
                for name in ("champion_seconds", "challenger_seconds")
            },
        }
        return cls(**(values | built))


def _by_label(analysis: ReviewAnalysis) -> dict[str, KeywordAnalysis]:
    return {found.keyword: found for found in analysis.keywords}


def _sentiments(found: dict[str, KeywordAnalysis]) -> dict[str, str]:
    return {label: keyword.sentiment for label, keyword in found.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Durations):
        return {str(number): count for number, count in sorted(value.classes.items())}
    if isinstance(value, Agreement):
        return {f.name: getattr(value, f.name) for f in fields(value)}
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value


def merged(comparisons: Sequence[Comparison]) -> Iterator[Comparison]:
    """One comparison for each pair of versions, in the order in which they appear."""
    pairs = dict.fromkeys((comparison.champion, comparison.challenger) for comparison in comparisons)
    for pair in pairs:
        first, *others = (c for c in comparisons if (c.champion, c.challenger) == pair)
        yield sum(others, start=first)
