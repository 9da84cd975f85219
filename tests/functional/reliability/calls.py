"""Calls for the tests: texts, requests and their outcome."""

from __future__ import annotations

import time
from dataclasses import dataclass

import grpc
from google.rpc.error_details_pb2 import RetryInfo
from grpc_status import rpc_status
from reviewlens.v1 import review_analysis_service_pb2 as pb
from reviewlens.v1.review_analysis_service_pb2_grpc import ReviewAnalysisServiceStub

from tests.functional.reviews import REVIEWS

OFF = pb.AnalysisOptions(highlight_mode=pb.HIGHLIGHT_MODE_OFF)
SERVICE = "reviewlens.v1.ReviewAnalysisService"


def distinct_texts(count: int, first: int = 0) -> list[str]:
    """So many different texts, which the tiny model tells apart; ``first`` begins elsewhere."""
    return [
        f"{number // 1200 % 100}번 {REVIEWS[number % 12]} {number // 12 % 100}번"
        for number in range(first, first + count)
    ]


def request_of(*texts: str, options: pb.AnalysisOptions | None = None) -> pb.AnalyzeRequest:
    """An Analyze request; ids are the numbers from 0."""
    reviews = [pb.Review(id=str(number), text=text) for number, text in enumerate(texts)]
    return pb.AnalyzeRequest(reviews=reviews, options=options)


@dataclass(frozen=True)
class Outcome:
    """How a call ended: its status, the codes of its reviews ("" for no error), its seconds, and when to come back."""

    code: grpc.StatusCode
    reviews: tuple[str, ...] = ()
    seconds: float = 0.0
    retry_after_s: float | None = None
    details: str = ""


def analyze(stub: ReviewAnalysisServiceStub, request: pb.AnalyzeRequest, timeout_s: float = 30.0) -> Outcome:
    """Make an Analyze call and look at how it ends."""
    started = time.monotonic()
    try:
        response = stub.Analyze(request, timeout=timeout_s)
    except grpc.RpcError as error:
        return failed(error, time.monotonic() - started)
    codes = tuple(analysis.error.code for analysis in response.analyses)
    return Outcome(grpc.StatusCode.OK, codes, time.monotonic() - started)


def failed(error: grpc.RpcError, seconds: float = 0.0) -> Outcome:
    """The outcome of a call that raised."""
    assert isinstance(error, grpc.Call)
    return Outcome(error.code(), (), seconds, retry_hint_s(error), error.details() or "")


def retry_hint_s(call: grpc.Call) -> float | None:
    """Seconds of the RetryInfo in a call's status; None when it has none."""
    status = rpc_status.from_call(call)
    for detail in status.details if status else ():
        hint = RetryInfo()
        if detail.Unpack(hint):
            return float(hint.retry_delay.ToNanoseconds() / 1e9)
    return None
