"""Calls for the tests of the front door."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import TypeVar

import grpc
import tritonclient.grpc as triton_grpc
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from reviewlens.v1 import review_analysis_service_pb2 as pb

from server.embedded import CHANNEL_ARGUMENTS
from server.front_door.server import FrontDoor

M = TypeVar("M", bound=Message)


def request_of(*texts: str, options: pb.AnalysisOptions | None = None) -> pb.AnalyzeRequest:
    """A call for reviews with ids 0, 1, …"""
    reviews = [pb.Review(id=str(number), text=text) for number, text in enumerate(texts)]
    return pb.AnalyzeRequest(reviews=reviews, options=options)


async def stream_of(texts: Iterable[str]) -> AsyncIterator[pb.AnalyzeStreamRequest]:
    """A stream of reviews with ids 0, 1, …"""
    for number, text in enumerate(texts):
        yield pb.AnalyzeStreamRequest(review=pb.Review(id=str(number), text=text))


def detail_of(error: grpc.aio.AioRpcError, kind: type[M]) -> M | None:
    """The detail of this kind in a failed call's status; None where it has none."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            for packed in Status.FromString(value).details:
                message = kind()
                if packed.Unpack(message):
                    return message
    return None


def rows_computed(triton_url: str) -> dict[str, int]:
    """Rows that each model of a Triton has computed, read until they rest: it counts an answer after sending it."""

    def counted(client: triton_grpc.InferenceServerClient) -> dict[str, int]:
        statistics = client.get_inference_statistics(client_timeout=5)
        return {model.name: model.inference_count for model in statistics.model_stats}

    with triton_grpc.InferenceServerClient(triton_url, channel_args=CHANNEL_ARGUMENTS) as client:
        rows: dict[str, int] = {}
        while rows != (rows := counted(client)):
            time.sleep(0.1)
        return rows


def raw_call(channel: grpc.aio.Channel, method: str) -> grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]:
    """A unary method that takes and gives bytes."""
    return channel.unary_unary(f"/reviewlens.v1.ReviewAnalysisService/{method}")


def raw_stream(channel: grpc.aio.Channel) -> grpc.aio.StreamStreamCall[bytes, bytes]:
    """A stream of bytes to AnalyzeStream and back."""
    method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
        "/reviewlens.v1.ReviewAnalysisService/AnalyzeStream"
    )
    return method()


def calls_under_way(door: FrontDoor, method: str = "Analyze") -> int:
    """Calls of a method that the door has begun and not ended."""
    labels = {"method": f"reviewlens.v1.ReviewAnalysisService/{method}"}
    return int(door.metrics.registry.get_sample_value("reviewlens_requests_in_flight", labels) or 0)


async def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.01)
