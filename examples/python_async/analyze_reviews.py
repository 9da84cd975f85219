"""Analyze any number of reviews with ReviewLens over one stream: an asyncio Python client to copy.

    python analyze_reviews.py < reviews.txt                        # a review a line, of any number
    REVIEWLENS_TOKEN=… python analyze_reviews.py --target reviews.internal:8500 --ca ca.pem < reviews.txt

Prints one JSON object a review as soon as it is finished, also while the next line is yet to come; `id` is the line's
number. Exit status: 0 all analyzed, 1 some failed, 2 the service refused or was not reached.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import grpc
from google.protobuf.json_format import MessageToJson
from google.rpc.error_details_pb2 import RetryInfo
from grpc_status import rpc_status
from reviewlens.v1.review_analysis_pb2 import ReviewAnalysis
from reviewlens.v1.review_analysis_service_pb2 import (
    AnalysisOptions,
    AnalyzeStreamRequest,
    AnalyzeStreamResponse,
    Review,
)
from reviewlens.v1.review_analysis_service_pb2_grpc import ReviewAnalysisServiceStub

Stream = grpc.aio.StreamStreamCall[AnalyzeStreamRequest, AnalyzeStreamResponse]

FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.1, 5.0
# When the server ends a stream while we write, grpc.aio may put INTERNAL with these words in place of the server's
# status: https://github.com/grpc/grpc/issues/36066. Here a callback keeps it from doing so, but for a few times in 100.
STATUS_LOST = "Internal error from Core"


def connect(target: str, ca_file: Path | None, token: str) -> grpc.aio.Channel:
    """A channel to the service. Keep one for the whole process: it reconnects by itself.

    Without ``ca_file`` nothing is encrypted, which is for a server on the same machine. A token goes over TLS only.
    """
    if ca_file is None:
        if token:
            raise SystemExit("a token is sent over TLS only: give the certificate of the server's authority with --ca")
        return grpc.aio.insecure_channel(target)
    credentials = grpc.ssl_channel_credentials(ca_file.read_bytes())
    if token:
        credentials = grpc.composite_channel_credentials(credentials, grpc.access_token_call_credentials(token))
    return grpc.aio.secure_channel(target, credentials)


def retry_delay_s(error: grpc.aio.AioRpcError, failures: int) -> float | None:
    """How long to wait before the call is made again; None where that would not help.

    An overloaded or unready server says when to come back. UNAVAILABLE comes without a hint when nobody answered at
    all: then the wait doubles with every failure. The random part keeps many callers from coming back together.
    """
    lost = error.code() == grpc.StatusCode.INTERNAL and error.details() == STATUS_LOST
    if not lost and error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED):
        return None
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        hint = RetryInfo()
        if detail.Unpack(hint):
            seconds: float = hint.retry_delay.ToMilliseconds() / 1000
            return seconds * random.uniform(1, 1.5)
    if error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED:
        return None  # without a hint it is the message that is too large
    return min(FIRST_BACKOFF_S * 2.0**failures, LONGEST_BACKOFF_S) * random.uniform(0.5, 1)


async def analyze(
    channel: grpc.aio.Channel, reviews: Iterator[Review], options: AnalysisOptions, patience_s: float
) -> AsyncGenerator[ReviewAnalysis, None]:
    """One analysis for each review, in the order in which they are finished; ids must be unique.

    When a stream breaks, reviews without an answer go over the next one: an analysis changes nothing, so that is safe.
    ``reviews`` is read no faster than the server works, so it may be without end; getting its next one may block.

    Raises grpc.aio.AioRpcError when the service refuses, or stays away for longer than ``patience_s``; TimeoutError
    when it has reviews, keeps the stream open and answers nothing for as long.
    """
    stub = ReviewAnalysisServiceStub(channel)
    source = Source(reviews)
    unanswered: dict[str, Review] = {}
    failures, away_since = 0, 0.0
    while True:
        # No timeout: it would bound the whole stream, however many reviews there are. Patience bounds each wait.
        call = stub.AnalyzeStream()
        sender = asyncio.create_task(send(call, source, options, unanswered))
        call.add_done_callback(lambda _, sender=sender: sender.cancel())  # type: ignore[misc]  # see STATUS_LOST
        broken: grpc.aio.AioRpcError | None = None
        try:
            while (response := await next_answer(call, unanswered, patience_s)) is not None:
                failures = 0
                unanswered.pop(response.analysis.id, None)
                yield response.analysis
        except grpc.aio.AioRpcError as error:
            broken = error
        finally:
            # Also when the caller stops in the middle: the server then drops what it has not analyzed yet.
            call.cancel()
            sender.cancel()
            (failure,) = await asyncio.gather(sender, return_exceptions=True)
        if isinstance(failure, Exception):
            raise failure  # reading the reviews failed
        if broken is None:
            return
        away_since = away_since if failures else time.monotonic()
        delay = retry_delay_s(broken, failures)
        if delay is None or time.monotonic() + delay > away_since + patience_s:
            raise broken
        failures += 1
        await asyncio.sleep(delay)


class Source:
    """Takes reviews one at a time, in a thread, because getting the next one may block: a line of a pipe, a query.

    ``asyncio.run`` waits for that thread: after an error the process ends once the line that it reads is there.
    """

    def __init__(self, reviews: Iterator[Review]) -> None:
        self._reviews = reviews
        self._next: asyncio.Task[Review | None] | None = None

    async def take(self) -> Review | None:
        """The next review; None after the last. When the taker is cancelled, the next taker gets that review."""
        if self._next is None:
            self._next = asyncio.create_task(asyncio.to_thread(next, self._reviews, None))
        review = await asyncio.shield(self._next)
        self._next = None
        return review


async def next_answer(call: Stream, unanswered: dict[str, Review], patience_s: float) -> AnalyzeStreamResponse | None:
    """What the server sends next; None at the end of the stream.

    Raises TimeoutError when nothing comes for ``patience_s`` while a review has no answer. Where there was none at
    first it may take up to twice as long: a source that is slow is no fault of the server.
    """
    # Not wait_for: it would cancel the reading, and with it the stream.
    read = asyncio.ensure_future(call.read())
    try:
        asked = bool(unanswered)
        while not (await asyncio.wait({read}, timeout=patience_s))[0]:
            if asked:
                raise TimeoutError
            asked = bool(unanswered)
        response = read.result()
        return response if isinstance(response, AnalyzeStreamResponse) else None
    finally:
        read.cancel()


async def send(call: Stream, source: Source, options: AnalysisOptions, unanswered: dict[str, Review]) -> None:
    """Send what a broken stream left unanswered, then new reviews. ``write`` waits while flow control holds us back."""
    again = list(unanswered.values())
    try:
        while (review := again.pop(0) if again else await source.take()) is not None:
            unanswered[review.id] = review
            try:
                await call.write(AnalyzeStreamRequest(review=review, options=options))
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                return  # the stream is broken; who reads from it learns why
    finally:
        await call.done_writing()


async def run(arguments: argparse.Namespace) -> int:
    reviews = (Review(id=str(number), text=line.rstrip("\n")) for number, line in enumerate(sys.stdin, 1))
    options = AnalysisOptions(keywords=arguments.keywords)
    failed = 0
    async with connect(arguments.target, arguments.ca, os.environ.get("REVIEWLENS_TOKEN", "")) as channel:
        try:
            async for analysis in analyze(channel, reviews, options, arguments.patience):
                failed += analysis.HasField("error")
                print(to_json(analysis), flush=True)
        except grpc.aio.AioRpcError as error:
            print(f"{error.code().name}: {error.details()}", file=sys.stderr)
            return 2
        except TimeoutError:
            print(f"DEADLINE_EXCEEDED: no answer for {arguments.patience:g} seconds", file=sys.stderr)
            return 2
    return 1 if failed else 0


def to_json(analysis: ReviewAnalysis) -> str:
    """One line; fields at their default (a score of 0) are printed, too."""
    return MessageToJson(
        analysis,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
        indent=None,
        ensure_ascii=False,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="127.0.0.1:8500", help="HOST:PORT (default: %(default)s)")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="PEM of the server's authority; without it: no TLS")
    parser.add_argument(
        "--patience", type=float, default=30, metavar="SECONDS", help="to wait without any answer (default: 30)"
    )
    parser.add_argument("--keyword", action="append", dest="keywords", help="a keyword wanted; default: all")
    return asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
