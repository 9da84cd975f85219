"""A cache of results: the same text with the same options and model version costs no inference."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

from reviewlens.v1.review_analysis_pb2 import ReviewAnalysis

from client.analyzer import ReviewAnalyzer
from client.options import AnalysisOptions
from client.results import ReviewInput
from client.timings import Timings

Key = tuple[str, str, AnalysisOptions]


class ResultCache:
    """Keeps the ``entries`` results that were used last. Errors are not kept."""

    def __init__(self, entries: int, count_lookup: Callable[[bool], None]) -> None:
        """``count_lookup`` is told of every look-up whether it hit; with 0 ``entries`` there are none."""
        self._entries = entries
        self._count_lookup = count_lookup
        self._kept: OrderedDict[Key, ReviewAnalysis] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    async def analyze(
        self,
        analyzer: ReviewAnalyzer,
        reviews: Sequence[ReviewInput],
        options: AnalysisOptions,
        deadline_s: float,
        metadata: Mapping[str, str],
    ) -> tuple[list[ReviewAnalysis], Timings]:
        """``ReviewAnalyzer.analyze_timed`` for the reviews that are not kept; raises what that raises."""
        if not self._entries:
            return await analyzer.analyze_timed(reviews, options=options, deadline_s=deadline_s, metadata=metadata)
        analyzer.validate(options)
        keys = [(analyzer.model_version, review.text, options) for review in reviews]
        found = [self._look_up(key, review.id) for key, review in zip(keys, reviews, strict=True)]
        missing = [review for review, result in zip(reviews, found, strict=True) if result is None]
        timings = Timings()
        computed: list[ReviewAnalysis] = []
        if missing:
            computed, timings = await analyzer.analyze_timed(
                missing, options=options, deadline_s=deadline_s, metadata=metadata
            )
        fresh = iter(computed)
        analyses = []
        for key, result in zip(keys, found, strict=True):
            if result is None:
                result = next(fresh)
                self._keep(key, result)
            analyses.append(result)
        return analyses, timings

    def _look_up(self, key: Key, review_id: str) -> ReviewAnalysis | None:
        kept = self._kept.get(key)
        self._count_lookup(kept is not None)
        if kept is None:
            return None
        self._kept.move_to_end(key)
        analysis = ReviewAnalysis()
        analysis.CopyFrom(kept)
        analysis.id = review_id
        return analysis

    def _keep(self, key: Key, analysis: ReviewAnalysis) -> None:
        if analysis.HasField("error"):
            return
        self._kept[key] = analysis
        self._kept.move_to_end(key)
        if len(self._kept) > self._entries:
            self._kept.popitem(last=False)
