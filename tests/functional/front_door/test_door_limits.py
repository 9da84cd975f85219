"""Limits, deadlines and wrong requests: refused at once, with a status that says why and what to do."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, RequestInfo, RetryInfo
from reviewlens.v1 import review_analysis_service_pb2 as pb

from server.front_door.server import FrontDoor
from tests.functional.front_door.calls import calls_under_way, detail_of, raw_call, request_of, until
from tests.functional.front_door.conftest import Stub
from tests.functional.front_door.gate import Gate
from tests.functional.reviews import REVIEWS


async def failure_of(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await call
    return failure.value


@pytest.mark.parametrize("sections", [{"limits": {"max_reviews": 2, "max_message_bytes": 10_000}}])
async def test_requests_over_the_limits(stub: Stub) -> None:
    too_many = await failure_of(stub.Analyze(request_of("가", "나", "다")))
    assert too_many.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "3 of them, over the server's limit of 2" in str(too_many.details())

    too_large = await failure_of(stub.Analyze(request_of("가" * 4000)))
    assert too_large.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "over the server's limit of 10,000" in str(too_large.details())
    assert detail_of(too_large, RetryInfo) is None

    far_too_large = await failure_of(stub.Analyze(request_of("가" * 40_000)))
    assert far_too_large.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.AnalyzeRequest(), "reviews"),
        (request_of("가", options=pb.AnalysisOptions(keywords=["핏", "없는것"])), "options.keywords[1]"),
        (request_of("가", options=pb.AnalysisOptions(thresholds={"핏": 2})), "options.thresholds['핏']"),
        (request_of("가", options=pb.AnalysisOptions(thresholds={"만족도": 0.5})), "options.thresholds['만족도']"),
        (request_of("가", options=pb.AnalysisOptions(highlights_per_keyword=-1)), "options.highlights_per_keyword"),
        (request_of("가", options=pb.AnalysisOptions(highlights_per_keyword=21)), "options.highlights_per_keyword"),
        (request_of("가", options=pb.AnalysisOptions(keywords=["핏", "핏"])), "options.keywords[1]"),
    ],
)
async def test_wrong_request_names_its_field(stub: Stub, request_: pb.AnalyzeRequest, field: str) -> None:
    error = await failure_of(stub.Analyze(request_, metadata=(("x-request-id", "r-7"),)))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    bad = detail_of(error, BadRequest)
    assert bad is not None
    assert [violation.field for violation in bad.field_violations] == [field]
    assert detail_of(error, RequestInfo) == RequestInfo(request_id="r-7")
    assert ("x-request-id", "r-7") in tuple(error.trailing_metadata() or ())


@pytest.mark.parametrize("method", ["Analyze", "GetInfo"])
async def test_bytes_that_are_no_message(door: FrontDoor, method: str) -> None:
    async with grpc.aio.insecure_channel(door.address) as channel:
        error = await failure_of(raw_call(channel, method)(b"\xff\xff\xff"))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("sections", [{"limits": {"max_calls_per_client": 2}}])
async def test_calls_of_one_client(gated_door: FrontDoor, gated_stub: Stub, gate: Gate) -> None:
    gate.shut()
    admitted = [asyncio.ensure_future(gated_stub.Analyze(request_of(REVIEWS[0]))) for _ in range(2)]
    await until(lambda: calls_under_way(gated_door) == 2)
    error = await failure_of(gated_stub.Analyze(request_of(REVIEWS[0])))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "2 calls under way" in str(error.details())
    assert detail_of(error, RetryInfo) is not None
    gate.open()
    await asyncio.gather(*admitted)
    await gated_stub.Analyze(request_of(REVIEWS[0]))


@pytest.mark.parametrize("sections", [{"limits": {"max_queued_tokens": 100}}])
async def test_full_queue_says_when_to_come_back(gated_door: FrontDoor, gated_stub: Stub, gate: Gate) -> None:
    gate.shut()
    error = await failure_of(gated_stub.Analyze(request_of(*REVIEWS)))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, "no waiting makes room for all of them at once"
    bad = detail_of(error, BadRequest)
    assert bad is not None
    assert [violation.field for violation in bad.field_violations] == ["reviews"]
    admitted = asyncio.ensure_future(gated_stub.Analyze(request_of(" ".join(REVIEWS))))
    await until(lambda: calls_under_way(gated_door) == 1)
    error = await failure_of(gated_stub.Analyze(request_of(REVIEWS[0])))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    retry = detail_of(error, RetryInfo)
    assert retry is not None
    milliseconds = retry.retry_delay.ToMilliseconds()
    assert milliseconds > 0
    trailing = dict(error.trailing_metadata() or ())
    assert abs(int(trailing["retry-after-ms"]) - milliseconds) <= 1
    assert trailing["grpc-retry-pushback-ms"] == trailing["retry-after-ms"]
    gate.open()
    assert not any(analysis.HasField("error") for analysis in (await admitted).analyses)


@pytest.mark.parametrize("seconds", [0.001, 0.005, 0.2])
async def test_callers_deadline(gated_door: FrontDoor, gated_stub: Stub, gate: Gate, seconds: float) -> None:
    gate.shut()
    started = time.monotonic()
    error = await failure_of(gated_stub.Analyze(request_of(REVIEWS[0]), timeout=seconds))
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - started < seconds + 1
    await until(lambda: calls_under_way(gated_door) == 0, timeout_s=2)


@pytest.mark.parametrize("sections", [{"limits": {"max_deadline_s": 0.3, "default_deadline_s": 0.2}}])
@pytest.mark.parametrize("wanted_s", [None, 60.0])
async def test_servers_deadline(gated_door: FrontDoor, gated_stub: Stub, gate: Gate, wanted_s: float | None) -> None:
    gate.shut()
    started = time.monotonic()
    error = await failure_of(gated_stub.Analyze(request_of(REVIEWS[0], "  "), timeout=wanted_s))
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - started < 2


async def test_cancelled_call_leaves_nothing_in_the_queue(gated_door: FrontDoor, gated_stub: Stub, gate: Gate) -> None:
    gate.shut()
    call = gated_stub.Analyze(request_of(*REVIEWS))
    values = gated_door.metrics.registry
    await until(lambda: (values.get_sample_value("reviewlens_admitted_tokens") or 0) > 0)
    await until(lambda: (values.get_sample_value("reviewlens_batches_in_flight") or 0) > 0)
    call.cancel()
    await until(lambda: values.get_sample_value("reviewlens_admitted_tokens") == 0)
    assert values.get_sample_value("reviewlens_queue_tokens") == 0
    assert values.get_sample_value("reviewlens_batches_in_flight") == 0
