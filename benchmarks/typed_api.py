"""Requests to the front door whose answers are checked: none may be lost, crossed or different from the known one.

async with connect("127.0.0.1:8500") as channel:
    api = TypedApi(channel, texts, reviews_per_request=8)
    await api.learn()                                   # the answers that each text gets while nothing else runs
    print(await closed_loop(api.analyze, concurrency=16, seconds=10))
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
from google.rpc.error_details_pb2 import RetryInfo
from grpc_status import rpc_status
from reviewlens.v1 import review_analysis_service_pb2 as pb
from reviewlens.v1.review_analysis_pb2 import KeywordAnalysis, ReviewAnalysis
from reviewlens.v1.review_analysis_service_pb2_grpc import ReviewAnalysisServiceStub

from benchmarks.load_generator import OK, Reply
from client.errors import ReviewLensError

WRONG_ANSWER = "WRONG_ANSWER"
# A row's probabilities depend on the batch that it was computed in by rounding only.
TOLERANCE = 1e-3
LEARNED_AT_ONCE = 32


@dataclass(frozen=True)
class Tls:
    """PEM files: the server's authority (None: those of the system), and a client's own certificate for mTLS."""

    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


def connect(url: str, tls: Tls | None = None, token: str = "") -> grpc.aio.Channel:
    """A channel to the front door at ``url`` (HOST:PORT); in plain text without ``tls``, and then without a token.

    Raises:
        ValueError: a token without TLS.
    """
    if tls is None:
        if token:
            raise ValueError("a token goes over TLS only")
        return grpc.aio.insecure_channel(url, options=_OPTIONS)
    credentials = grpc.ssl_channel_credentials(_bytes(tls.authority), _bytes(tls.key), _bytes(tls.certificate))
    if token:
        credentials = grpc.composite_channel_credentials(credentials, grpc.access_token_call_credentials(token))
    return grpc.aio.secure_channel(url, credentials, options=_OPTIONS)


_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # each channel a connection of its own, as clients on other machines have
]


def _bytes(file: Path | None) -> bytes | None:
    return None if file is None else file.read_bytes()


class TypedApi:
    """Sends ``texts`` in turn, ``reviews_per_request`` at a time, each with an id of its own."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        texts: Sequence[str],
        *,
        reviews_per_request: int = 1,
        options: pb.AnalysisOptions | None = None,
        deadline_s: float | None = 30.0,
    ) -> None:
        """``deadline_s`` bounds a request; None sets no deadline."""
        self.known: dict[str, ReviewAnalysis] = {}
        self._stub = ReviewAnalysisServiceStub(channel)
        self._texts = texts
        self._count = reviews_per_request
        self._options = options
        self._deadline_s = deadline_s

    async def learn(self) -> None:
        """Ask for the answer of each text, one request at a time. Texts that are in ``known`` already are not asked.

        Raises:
            ReviewLensError: a text cannot be analyzed.
            grpc.aio.AioRpcError: the service refuses.
        """
        unknown = list(dict.fromkeys(text for text in self._texts if text not in self.known))
        for start in range(0, len(unknown), LEARNED_AT_ONCE):
            reviews = [pb.Review(text=text) for text in unknown[start : start + LEARNED_AT_ONCE]]
            response = await self._stub.Analyze(pb.AnalyzeRequest(reviews=reviews, options=self._options))
            for analysis in response.analyses:
                if analysis.HasField("error"):
                    raise ReviewLensError(f"{analysis.text!r}: {analysis.error.code}: {analysis.error.message}")
                self.known[analysis.text] = analysis

    async def analyze(self, number: int) -> Reply:
        """Request number ``number`` as an Analyze call."""
        reviews = self._reviews(number)
        try:
            response = await self._stub.Analyze(
                pb.AnalyzeRequest(reviews=reviews, options=self._options), timeout=self._deadline_s
            )
        except grpc.aio.AioRpcError as error:
            return _failed(error)
        return self._checked(reviews, response.analyses, in_order=True)

    async def analyze_stream(self, number: int) -> Reply:
        """Request number ``number`` as an AnalyzeStream of its own, which is read while it is written."""
        reviews = self._reviews(number)
        call = self._stub.AnalyzeStream(timeout=self._deadline_s)

        async def write() -> None:
            for review in reviews:
                await call.write(pb.AnalyzeStreamRequest(review=review, options=self._options))
            await call.done_writing()

        writing = asyncio.create_task(write())
        try:
            analyses = [response.analysis async for response in call]
            await writing
        except grpc.aio.AioRpcError as error:
            return _failed(error)
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
        return self._checked(reviews, analyses, in_order=False)

    def _reviews(self, number: int) -> list[pb.Review]:
        first = number * self._count
        return [
            pb.Review(id=str(first + place), text=self._texts[(first + place) % len(self._texts)])
            for place in range(self._count)
        ]

    def _checked(self, reviews: Sequence[pb.Review], analyses: Iterable[ReviewAnalysis], *, in_order: bool) -> Reply:
        analyses = list(analyses)
        if not in_order:
            analyses.sort(key=lambda analysis: int(analysis.id))
        if [analysis.id for analysis in analyses] != [review.id for review in reviews]:
            ids = ", ".join(analysis.id for analysis in analyses)
            problem = f"reviews {reviews[0].id} to {reviews[-1].id} were answered with {ids or 'nothing'}"
            return Reply(reviews={WRONG_ANSWER: len(reviews)}, problem=problem)
        codes: Counter[str] = Counter()
        problem = ""
        for review, analysis in zip(reviews, analyses, strict=True):
            if analysis.HasField("error"):
                codes[analysis.error.code] += 1
                problem = problem or analysis.error.message
            elif difference := self._difference(review, analysis):
                codes[WRONG_ANSWER] += 1
                problem = problem or difference
            else:
                codes[OK] += 1
        return Reply(reviews=codes, problem=problem)

    def _difference(self, review: pb.Review, analysis: ReviewAnalysis) -> str:
        if analysis.text != review.text:
            return f"another review's answer: {analysis.text!r} to {review.text!r}"
        known = self.known.get(review.text)
        return "" if known is None else difference(known, analysis)


def difference(known: ReviewAnalysis, analysis: ReviewAnalysis) -> str:
    """What is not the same in two analyses of a text, ids aside, in words; "" for nothing but rounding."""
    if known.model_version != analysis.model_version:
        return f"model {analysis.model_version}, expected {known.model_version}"
    expected, found = ({keyword.keyword: keyword for keyword in a.keywords} for a in (known, analysis))
    if expected.keys() != found.keys():
        return f"{known.text!r}: keywords {', '.join(found)}, expected {', '.join(expected)}"
    for name, keyword in expected.items():
        before, now = _probabilities(keyword), _probabilities(found[name])
        if len(before) != len(now) or any(abs(a - b) > TOLERANCE for a, b in zip(before, now, strict=True)):
            return f"{known.text!r}: {name} has other probabilities"
        for highlight in found[name].highlights:
            if analysis.text[highlight.start : highlight.end] != highlight.text:
                return f"{known.text!r}: {highlight.text!r} does not stand at {highlight.start}"
    return ""


def _probabilities(keyword: KeywordAnalysis) -> list[float]:
    """All of them, those of highlights last: equal ones may trade places without being wrong."""
    highlights = [p for highlight in keyword.highlights for p in (highlight.probability, highlight.masked_probability)]
    return [keyword.probability, *keyword.sentiment_probabilities, *highlights]


def _failed(error: grpc.aio.AioRpcError) -> Reply:
    """A call that failed as a whole, with the server's hint when to come back."""
    retry_after_s = 0.0
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        hint = RetryInfo()
        if detail.Unpack(hint):
            retry_after_s = hint.retry_delay.ToNanoseconds() / 1e9
    return Reply(error.code().name, retry_after_s=retry_after_s, problem=f"{error.code().name}: {error.details()}")
