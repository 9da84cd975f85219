"""The ReviewAnalysisService: what each call does, from its bytes to its answer.

When does a call fail, and when is a failure a value? A review's own failure is a value: its ``ReviewAnalysis`` carries
``error``, and the call is OK. A call fails

- when the request as a whole is wrong (INVALID_ARGUMENT) or too large (RESOURCE_EXHAUSTED without RetryInfo);
- when there is no room for it now (RESOURCE_EXHAUSTED with RetryInfo and ``retry-after-ms`` in the trailing metadata);
- when *not one* of its reviews was analyzed, and one at least because no model was reachable (UNAVAILABLE) or no time
  was left (DEADLINE_EXCEEDED): then a retry loses nothing. As soon as one review has a result the call is OK, and its
  other reviews carry their errors as values.

In a stream every review's failure is a value, and a full queue is waited for. The stream itself fails when a message is
wrong, when no model has been reached at its start, and with UNAVAILABLE when the server drains; the reviews that it had
read are answered first.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

import grpc
from reviewlens.v1 import review_analysis_service_pb2 as pb
from reviewlens.v1.review_analysis_pb2 import ReviewAnalysis

from client.errors import DeadlineExceededError, ServerUnavailableError
from client.options import AnalysisOptions
from client.results import ReviewInput
from client.timings import Timings
from server.front_door.admission import ClientCalls
from server.front_door.answering import Answering
from server.front_door.deployment import analysis_defaults
from server.front_door.metrics import Metrics
from server.front_door.models import Models
from server.front_door.observer import record_analyses
from server.front_door.requests import (
    limits_message,
    options_of,
    parse,
    raise_if_lost,
    reviews_of,
    timings_message,
)
from server.front_door.rollout.traffic import ticket_of
from server.front_door.settings import Settings
from server.front_door.status import Context, failures_as_status
from server.front_door.streams import ReviewStream

SERVICE = pb.DESCRIPTOR.services_by_name["ReviewAnalysisService"]
# The analysis of a call ends this much before its caller's deadline, so that what is finished still arrives.
REPLY_SHARE, REPLY_MOST_S = 0.05, 0.1


class ReviewAnalysisService:
    """Answers the calls. Messages come as bytes: those that cannot be parsed get a proper status, too."""

    def __init__(
        self,
        models: Models,
        answering: Answering,
        settings: Settings,
        metrics: Metrics,
        identify: Callable[[Context], str],
        server_version: str,
    ) -> None:
        """``answering`` has ``models`` answer; ``identify`` names the client of a call."""
        self.calls = ClientCalls(settings.limits.max_calls_per_client)
        self._models = models
        self._answering = answering
        self._limits = settings.limits
        self._defaults = analysis_defaults(settings)
        self._metrics = metrics
        self._identify = identify
        self._server_version = server_version
        self._draining = asyncio.Event()

    def handler(self) -> grpc.GenericRpcHandler:
        """What a gRPC server registers."""
        return grpc.method_handlers_generic_handler(
            SERVICE.full_name,
            {
                "Analyze": grpc.unary_unary_rpc_method_handler(
                    self.analyze, response_serializer=pb.AnalyzeResponse.SerializeToString
                ),
                "AnalyzeStream": grpc.stream_stream_rpc_method_handler(
                    self.analyze_stream, response_serializer=pb.AnalyzeStreamResponse.SerializeToString
                ),
                "GetInfo": grpc.unary_unary_rpc_method_handler(
                    self.get_info, response_serializer=pb.GetInfoResponse.SerializeToString
                ),
            },
        )

    def drain(self) -> None:
        """Refuse new calls, and let streams end: they answer what they have read, and read no more."""
        self._draining.set()

    async def analyze(self, data: bytes, context: Context) -> pb.AnalyzeResponse:
        """Analyze: all reviews of one call."""
        async with failures_as_status(context):
            self._check_open()
            deadline_s = self._deadline_s(context)
            with self.calls.admit(self._identify(context)):
                request = parse(pb.AnalyzeRequest, data, self._limits.max_message_bytes)
                reviews = reviews_of(request, self._limits)
                options = options_of(request.options, self._defaults, self._limits)
                answer = await self._answering.analyze(_ticket(context), reviews, options, deadline_s)
                self._count(answer.analyses, answer.timings)
                raise_if_lost(answer.analyses)
                return pb.AnalyzeResponse(
                    analyses=answer.analyses,
                    timings=timings_message(answer.timings),
                    model_version=answer.model_version,
                )
        raise AssertionError("failures end the call")

    async def analyze_stream(self, _: object, context: Context) -> None:
        """AnalyzeStream: see ``ReviewStream``."""
        async with failures_as_status(context):
            self._check_open()
            with self.calls.admit(self._identify(context)):
                self._models.check_ready()
                ticket = _ticket(context)

                async def analyze(
                    reviews: Sequence[ReviewInput], options: AnalysisOptions, deadline_s: float
                ) -> tuple[list[ReviewAnalysis], Timings]:
                    answer = await self._answering.analyze(ticket, reviews, options, deadline_s)
                    return answer.analyses, answer.timings

                def deadline_s() -> float:
                    return self._deadline_s(context, self._limits.max_deadline_s)

                stream = ReviewStream(context, analyze, deadline_s, self._count, self._limits, self._defaults)
                if not await stream.answer_all(self._draining):
                    self._check_open()

    async def get_info(self, data: bytes, context: Context) -> pb.GetInfoResponse:
        """GetInfo: what is served, and within which limits."""
        async with failures_as_status(context):
            parse(pb.GetInfoRequest, data, self._limits.max_message_bytes)
            return pb.GetInfoResponse(
                models=self._models.served(), limits=limits_message(self._limits), server_version=self._server_version
            )
        raise AssertionError("failures end the call")

    def _check_open(self) -> None:
        if self._draining.is_set():
            raise ServerUnavailableError(
                "the server is shutting down; send what has no answer again, elsewhere if you can"
            )

    def _count(self, analyses: Sequence[ReviewAnalysis], timings: Timings) -> None:
        """Into metrics, the call's log line and its trace."""
        self._metrics.reviews_finished(
            Counter(analysis.error.code if analysis.HasField("error") else "OK" for analysis in analyses)
        )
        self._metrics.stage_times(timings)
        record_analyses(analyses, timings)

    def _deadline_s(self, context: Context, default_s: float | None = None) -> float:
        """Seconds that an analysis may take.

        Raises:
            DeadlineExceededError: none is left.
        """
        remaining = context.time_remaining()
        if remaining is None:
            return default_s or self._limits.default_deadline_s
        if remaining <= 0:
            raise DeadlineExceededError("the deadline had passed when the call arrived; allow more time")
        return min(remaining - min(REPLY_SHARE * remaining, REPLY_MOST_S), self._limits.max_deadline_s)


def _ticket(context: Context) -> str:
    """What the version that answers a call is chosen by; a stream keeps it."""
    return ticket_of(context.invocation_metadata() or ())
