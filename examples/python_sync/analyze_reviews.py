"""Analyze reviews with ReviewLens: a blocking Python client to copy.

    python analyze_reviews.py "배송은 빨랐지만 원단이 얇아요"
    python analyze_reviews.py < reviews.txt                        # a review a line
    REVIEWLENS_TOKEN=… python analyze_reviews.py --target reviews.internal:8500 --ca ca.pem < reviews.txt

Prints one JSON object a review. Exit status: 0 all analyzed, 1 some failed, 2 the service refused or was not reached.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import grpc
from google.protobuf.json_format import MessageToJson
from google.rpc.error_details_pb2 import RetryInfo
from grpc_status import rpc_status
from reviewlens.v1.review_analysis_pb2 import ReviewAnalysis
from reviewlens.v1.review_analysis_service_pb2 import AnalysisOptions, AnalyzeRequest, GetInfoRequest, Limits, Review
from reviewlens.v1.review_analysis_service_pb2_grpc import ReviewAnalysisServiceStub

Request = TypeVar("Request")
Response = TypeVar("Response")

FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.1, 5.0
# Answers repeat the reviews' texts, so they are larger than requests: gRPC's default of 4 MiB can be too little.
CHANNEL_OPTIONS = [("grpc.max_receive_message_length", 64 * 1024 * 1024)]


def connect(target: str, ca_file: Path | None, token: str) -> grpc.Channel:
    """A channel to the service. Keep one for the whole process: it is safe for threads and reconnects by itself.

    Without ``ca_file`` nothing is encrypted, which is for a server on the same machine. A token goes over TLS only.
    """
    if ca_file is None:
        if token:
            raise SystemExit("a token is sent over TLS only: give the certificate of the server's authority with --ca")
        return grpc.insecure_channel(target, CHANNEL_OPTIONS)
    credentials = grpc.ssl_channel_credentials(ca_file.read_bytes())
    if token:
        credentials = grpc.composite_channel_credentials(credentials, grpc.access_token_call_credentials(token))
    return grpc.secure_channel(target, credentials, CHANNEL_OPTIONS)


def retry_delay_s(error: grpc.RpcError, failures: int) -> float | None:
    """How long to wait before the call is made again; None where that would not help.

    An overloaded or unready server says when to come back. UNAVAILABLE comes without a hint when nobody answered at
    all: then the wait doubles with every failure. The random part keeps many callers from coming back together.
    """
    if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED):
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


def with_retries(
    method: grpc.UnaryUnaryMultiCallable[Request, Response], request: Request, deadline_s: float
) -> Response:
    """What a method answers to a request. All attempts together have the deadline.

    Raises grpc.RpcError when the service refuses the call, or the deadline leaves no time for another attempt.
    """
    end = time.monotonic() + deadline_s
    for failures in itertools.count():
        try:
            return method(request, timeout=end - time.monotonic())
        except grpc.RpcError as error:
            delay = retry_delay_s(error, failures)
            if delay is None or time.monotonic() + delay >= end:
                raise
            time.sleep(delay)
    raise AssertionError("the loop ends by itself")


def groups(reviews: Iterable[Review], limits: Limits) -> Iterator[list[Review]]:
    """The reviews in groups that the server takes in one call."""
    group: list[Review] = []
    room = most = limits.max_message_bytes - 4096  # the rest is for the options
    for review in reviews:
        size = review.ByteSize() + 8  # 8: tag and length in the request
        if group and (len(group) == limits.max_reviews or size > room):
            yield group
            group, room = [], most
        group.append(review)
        room -= size
    if group:
        yield group


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
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="reviews; without any, lines of standard input")
    parser.add_argument("--target", default="127.0.0.1:8500", help="HOST:PORT (default: %(default)s)")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="PEM of the server's authority; without it: no TLS")
    parser.add_argument("--deadline", type=float, default=30, metavar="SECONDS", help="of a call (default: 30)")
    parser.add_argument("--keyword", action="append", dest="keywords", help="a keyword wanted; default: all")
    arguments = parser.parse_args()

    texts = arguments.texts or (line.rstrip("\n") for line in sys.stdin)
    reviews = (Review(id=str(number), text=text) for number, text in enumerate(texts, 1))
    options = AnalysisOptions(keywords=arguments.keywords)
    failed = 0
    with connect(arguments.target, arguments.ca, os.environ.get("REVIEWLENS_TOKEN", "")) as channel:
        stub = ReviewAnalysisServiceStub(channel)
        try:
            info = with_retries(stub.GetInfo, GetInfoRequest(), arguments.deadline)
            for group in groups(reviews, info.limits):
                request = AnalyzeRequest(reviews=group, options=options)
                response = with_retries(stub.Analyze, request, arguments.deadline)
                for analysis in response.analyses:
                    failed += analysis.HasField("error")
                    print(to_json(analysis))
        except grpc.RpcError as error:
            print(f"{error.code().name}: {error.details()}", file=sys.stderr)
            return 2
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
