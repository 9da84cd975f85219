"""What is seen of a call from outside: its request id, its log line and its metrics."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from prometheus_client import generate_latest
from reviewlens.v1 import review_analysis_service_pb2 as pb
from reviewlens.v1.review_analysis_service_pb2_grpc import ReviewAnalysisServiceStub

from server.front_door.logs import REVIEW_LOGGER
from server.front_door.server import FrontDoor
from tests.functional.security.doors import OpenDoor

SERVICE = "reviewlens.v1.ReviewAnalysisService"
REVIEW = "어깨가 끼지만 원단은 도톰하고 좋네요"
REQUEST = pb.AnalyzeRequest(reviews=[pb.Review(id="1", text=REVIEW), pb.Review(id="2", text="")])
STAGES = ("tokenization", "queue", "keyword", "sentiment", "highlight")


@pytest.fixture
async def door(open_door: OpenDoor, caplog: pytest.LogCaptureFixture) -> FrontDoor:
    caplog.set_level(logging.DEBUG)
    return await open_door()


@pytest.fixture
async def channel(door: FrontDoor) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(door.address) as channel:
        yield channel


def call_lines(caplog: pytest.LogCaptureFixture, method: str) -> list[dict[str, Any]]:
    """Fields of the log lines of a method's calls."""
    lines = [record.__dict__["fields"] for record in caplog.records if record.getMessage() == "call"]
    return [line for line in lines if line["method"] == method]


def metric(door: FrontDoor, name: str, **labels: str) -> float:
    return door.metrics.registry.get_sample_value(name, labels) or 0


async def until(door: FrontDoor, name: str, value: float, **labels: str) -> None:
    """Wait until a metric has a value: the server may be a moment behind the client."""
    for _ in range(500):
        if metric(door, name, **labels) == value:
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"{name} {labels} is {metric(door, name, **labels)}, not {value}")


def request_id(metadata: grpc.aio.Metadata) -> str:
    (value,) = metadata.get_all("x-request-id")
    return str(value)


async def test_a_call_is_counted_and_logged_without_its_texts(
    door: FrontDoor, channel: grpc.aio.Channel, caplog: pytest.LogCaptureFixture
) -> None:
    call = ReviewAnalysisServiceStub(channel).Analyze(REQUEST, metadata=(("x-request-id", "order-7"),))
    answer = await call
    assert request_id(await call.trailing_metadata()) == "order-7"

    (line,) = call_lines(caplog, f"{SERVICE}/Analyze")
    seconds = line.pop("seconds")
    stages = [line.pop(f"{stage}_s") for stage in STAGES]
    assert line == {
        "method": f"{SERVICE}/Analyze",
        "code": "OK",
        "client": "address:127.0.0.1",
        "reviews": 2,
        "failed_reviews": 1,
        "model_version": answer.model_version,
    }
    assert 0 < sum(stages) <= seconds * 1.01
    for record in caplog.records:
        for word in REVIEW.split():
            assert word not in str(record.__dict__)

    assert metric(door, "reviewlens_requests_total", method=f"{SERVICE}/Analyze", code="OK") == 1
    assert metric(door, "reviewlens_request_seconds_sum", method=f"{SERVICE}/Analyze") == pytest.approx(
        seconds, abs=1e-5
    )
    assert metric(door, "reviewlens_reviews_total", code="OK") == 1
    assert metric(door, "reviewlens_reviews_total", code="INVALID_ARGUMENT") == 1
    for stage, spent in zip(STAGES, stages, strict=True):
        assert metric(door, "reviewlens_stage_seconds_sum", stage=stage) == pytest.approx(spent, abs=1e-5)
    assert metric(door, "reviewlens_tokens_total", model="keywords") > 0
    assert metric(door, "reviewlens_ready") == 1
    assert 'reviewlens_model_info{labels_sha256="' in generate_latest(door.metrics.registry).decode()


async def test_texts_are_logged_when_the_operator_asks_for_it(
    door: FrontDoor, channel: grpc.aio.Channel, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(REVIEW_LOGGER, "disabled", False)
    await ReviewAnalysisServiceStub(channel).Analyze(REQUEST)
    fields = [record.__dict__["fields"] for record in caplog.records if record.getMessage() == "review"]
    assert [(field["review_id"], field["text"], field["code"]) for field in fields] == [
        ("1", REVIEW, "OK"),
        ("2", "", "INVALID_ARGUMENT"),
    ]


@pytest.mark.parametrize("sent", ["", "x" * 65, "two words"])
async def test_an_unusable_request_id_is_replaced(channel: grpc.aio.Channel, sent: str) -> None:
    call = ReviewAnalysisServiceStub(channel).GetInfo(pb.GetInfoRequest(), metadata=(("x-request-id", sent),))
    await call
    assert len(request_id(await call.trailing_metadata())) == 32


async def test_every_way_to_end_has_its_code(
    door: FrontDoor, channel: grpc.aio.Channel, caplog: pytest.LogCaptureFixture
) -> None:
    service = ReviewAnalysisServiceStub(channel)
    method, stream_method = f"{SERVICE}/Analyze", f"{SERVICE}/AnalyzeStream"

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.Analyze(pb.AnalyzeRequest(), metadata=(("x-request-id", "wrong-1"),))
    assert request_id(refused.value.trailing_metadata()) == "wrong-1"
    await until(door, "reviewlens_requests_total", 1, method=method, code="INVALID_ARGUMENT")

    stream = service.AnalyzeStream()
    await stream.write(pb.AnalyzeStreamRequest(review=pb.Review(id="1", text=REVIEW)))
    await stream.read()
    await until(door, "reviewlens_requests_in_flight", 1, method=stream_method)
    stream.cancel()
    await until(door, "reviewlens_requests_total", 1, method=stream_method, code="CANCELLED")
    await until(door, "reviewlens_requests_in_flight", 0, method=stream_method)
    (line,) = call_lines(caplog, stream_method)
    assert (line["code"], line["reviews"]) == ("CANCELLED", 1)

    # A call that reaches a busy server more than 0.1 s late looks as if it had been cancelled; not every one does.
    for _ in range(10):
        assert await service.AnalyzeStream(timeout=0.5).code() == grpc.StatusCode.DEADLINE_EXCEEDED
        await until(door, "reviewlens_requests_in_flight", 0, method=stream_method)
        if metric(door, "reviewlens_requests_total", method=stream_method, code="DEADLINE_EXCEEDED"):
            break
    assert metric(door, "reviewlens_requests_total", method=stream_method, code="DEADLINE_EXCEEDED") == 1

    unknown: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{SERVICE}/{'x' * 100}")
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await unknown(b"")
    assert missing.value.code() == grpc.StatusCode.UNIMPLEMENTED
    await until(door, "reviewlens_requests_total", 1, method="unknown", code="UNIMPLEMENTED")
    assert "xxx" not in generate_latest(door.metrics.registry).decode()
