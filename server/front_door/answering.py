"""How a call is answered: by one version as a whole, with the champion behind the challenger, and shadow traffic."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from reviewlens.v1.review_analysis_pb2 import ReviewAnalysis

from client.errors import InvalidReviewError, ReviewLensError
from client.options import AnalysisOptions
from client.results import ReviewInput
from client.timings import Timings
from server.front_door.cache import ResultCache
from server.front_door.deployment import Deployment
from server.front_door.metrics import Metrics
from server.front_door.models import Models
from server.front_door.rollout.shadow import AnsweredCall, Shadow
from server.front_door.status import unexpected
from server.front_door.tracing import triton_metadata

# A challenger that has not answered by then is given up, so that the champion still can.
CHALLENGER_TIME = 0.5


@dataclass(frozen=True)
class Answer:
    """The analyses of a call, all of one model version, and the time that they took."""

    analyses: list[ReviewAnalysis]
    timings: Timings
    model_version: str


class _ChallengerFailedError(ReviewLensError):
    """The challenger's answer has a review that another version might well analyze."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Answering:
    """Chooses a version for each call, and has it answer."""

    def __init__(self, models: Models, cache: ResultCache, shadow: Shadow, metrics: Metrics) -> None:
        """``shadow`` is offered the calls that a challenger is to be compared on."""
        self._models = models
        self._cache = cache
        self._shadow = shadow
        self._metrics = metrics

    async def analyze(
        self, ticket: str, reviews: Sequence[ReviewInput], options: AnalysisOptions, deadline_s: float
    ) -> Answer:
        """Analyze the reviews with the version that ``ticket`` falls to.

        What the challenger fails with, in whatever way, is done once more by the champion.

        Raises:
            ReviewLensError: what the champion raises, see ``ReviewAnalyzer.analyze_timed``.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + deadline_s
        route = self._models.route
        challenger = route.challenger_of(ticket, "split")
        if challenger is not None:
            answer = await self._ask_challenger(challenger, reviews, options, CHALLENGER_TIME * deadline_s)
            if answer is not None:
                self._metrics.call_answered(answer.model_version, "challenger")
                return answer
            route = self._models.route  # the champion may be another one by now
        started = clock()
        answer = await self._ask(route.champion, reviews, options, deadline - started)
        self._metrics.call_answered(answer.model_version, "champion")
        challenger = route.challenger_of(ticket, "shadow")
        if challenger is not None:
            computed = answer.timings != Timings()
            self._shadow.offer(
                AnsweredCall(
                    reviews=reviews,
                    options=options,
                    champion=answer.model_version,
                    labels=route.champion.artifact.labels.all_labels,
                    analyses=answer.analyses,
                    seconds=clock() - started if computed else None,
                    challenger=challenger,
                )
            )
        return answer

    async def _ask(
        self, deployment: Deployment, reviews: Sequence[ReviewInput], options: AnalysisOptions, deadline_s: float
    ) -> Answer:
        async with deployment.use() as analyzer:
            analyses, timings = await self._cache.analyze(analyzer, reviews, options, deadline_s, triton_metadata())
            return Answer(analyses, timings, analyzer.model_version)

    async def _ask_challenger(
        self, challenger: Deployment, reviews: Sequence[ReviewInput], options: AnalysisOptions, deadline_s: float
    ) -> Answer | None:
        """Its answer, or None when it failed on a single review for another reason than the review itself."""
        url = challenger.url
        try:
            answer = await self._ask(challenger, reviews, options, deadline_s)
            for analysis in answer.analyses:
                if analysis.HasField("error") and analysis.error.code != InvalidReviewError.code:
                    raise _ChallengerFailedError(analysis.error.code, analysis.error.message)
        except Exception as error:  # noqa: BLE001  (a challenger may fail as it likes)
            known = error if isinstance(error, ReviewLensError) else unexpected(error)
            challenger.failed(known, url)
            self._metrics.challenger_failed(known.code)
            return None
        return answer
