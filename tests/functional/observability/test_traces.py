"""A caller's trace goes through the front door and on through Triton; review texts stay out of it."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from reviewlens.v1 import review_analysis_service_pb2 as pb
from reviewlens.v1.review_analysis_service_pb2_grpc import ReviewAnalysisServiceStub

from server.embedded import EmbeddedTriton
from server.front_door.observer import ANSWERS_TRACED
from tests.functional.command_line import wait_until
from tests.functional.observability.conftest import GrpcCollector, HttpCollector
from tests.functional.security.doors import OpenDoor

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CALLERS = (("traceparent", f"00-{TRACE}-{PARENT}-01"),)
METHOD = "reviewlens.v1.ReviewAnalysisService/Analyze"
STAGES = {"tokenization", "queue", "keyword", "sentiment", "highlight"}
REVIEW = "단추가 금방 떨어졌지만 색은 사진과 같아요"


@dataclass(frozen=True)
class TritonSpan:
    """What Triton says of a span."""

    name: str
    trace: str
    parent: str


def spans_of(collector: GrpcCollector) -> list[Span]:
    resources = [resource for request in collector.requests for resource in request.resource_spans]
    return [span for resource in resources for scope in resource.scope_spans for span in scope.spans]


def triton_spans(collector: HttpCollector) -> list[TritonSpan]:
    resources = [resource for body in collector.bodies for resource in json.loads(body)["resourceSpans"]]
    spans = [span for resource in resources for scope in resource["scopeSpans"] for span in scope["spans"]]
    return [TritonSpan(span["name"], span["traceId"], span.get("parentSpanId", "")) for span in spans]


async def test_a_trace_goes_from_the_caller_through_to_triton(
    open_door: OpenDoor, tiny_repository: Path, grpc_collector: GrpcCollector, http_collector: HttpCollector
) -> None:
    with EmbeddedTriton(tiny_repository, threads=1, trace_url=http_collector.url) as triton:
        tracing = {"otlp_endpoint": grpc_collector.url, "sample_ratio": 0.0}
        door = await open_door(triton_url=triton.grpc_url, tracing=tracing)
        async with grpc.aio.insecure_channel(door.address) as channel:
            service = ReviewAnalysisServiceStub(channel)
            request = pb.AnalyzeRequest(reviews=[pb.Review(id="1", text=REVIEW), pb.Review(id="2", text="")])
            await service.Analyze(request)  # begins here, so it is recorded by chance: never, with a ratio of 0
            await service.Analyze(request, metadata=(("traceparent", f"00-{'7' * 32}-{PARENT}-00"),))
            await service.Analyze(request, metadata=(*CALLERS, ("x-request-id", "order-7")))
        await door.drain(1)  # sends the last spans
        wanted = {"InferRequest", "review_analysis", "keyword_classifier", "sentiment_classifier"}
        await asyncio.to_thread(wait_until, lambda: wanted <= {span.name for span in triton_spans(http_collector)})

    spans = {span.name: span for span in spans_of(grpc_collector)}
    assert set(spans) == {METHOD} | STAGES
    assert len(spans_of(grpc_collector)) == len(spans), "neither an unsampled call nor a probe was recorded"
    call = spans[METHOD]
    assert {span.trace_id.hex() for span in spans.values()} == {TRACE}
    assert call.parent_span_id.hex() == PARENT
    assert call.kind == Span.SPAN_KIND_SERVER
    attributes = {attribute.key: attribute.value for attribute in call.attributes}
    assert attributes["reviewlens.request_id"].string_value == "order-7"
    assert attributes["reviewlens.reviews"].int_value == 2
    assert attributes["reviewlens.failed_reviews"].int_value == 1
    assert attributes["rpc.grpc.status_code"].int_value == 0
    for stage in STAGES:
        span = spans[stage]
        assert span.parent_span_id == call.span_id
        assert span.start_time_unix_nano <= span.end_time_unix_nano <= call.end_time_unix_nano
    assert spans["keyword"].end_time_unix_nano > spans["keyword"].start_time_unix_nano

    from_triton = triton_spans(http_collector)
    assert {span.trace for span in from_triton} == {TRACE}, "Triton traces only what the front door records"
    inferences = [span for span in from_triton if span.name == "InferRequest"]
    assert {span.parent for span in inferences} == {call.span_id.hex()}

    exported = b"".join(request.SerializeToString() for request in grpc_collector.requests)
    for word in REVIEW.split():
        assert word.encode() not in exported
        assert word.encode() not in b"".join(http_collector.bodies)


async def test_failures_are_marked_and_long_streams_stay_small(
    open_door: OpenDoor, grpc_collector: GrpcCollector
) -> None:
    door = await open_door(tracing={"otlp_endpoint": grpc_collector.url, "sample_ratio": 1.0})
    # Neighbours that want something else are not answered together.
    reviews = [
        pb.AnalyzeStreamRequest(
            review=pb.Review(id=str(n), text=f"{REVIEW} {n}번"),
            options=pb.AnalysisOptions(highlights_per_keyword=1 + n % 2),
        )
        for n in range(24)
    ]
    async with grpc.aio.insecure_channel(door.address) as channel:
        service = ReviewAnalysisServiceStub(channel)
        assert len([answer async for answer in service.AnalyzeStream(iter(reviews))]) == len(reviews)
        with pytest.raises(grpc.aio.AioRpcError):
            await service.Analyze(pb.AnalyzeRequest())
    await door.drain(1)
    spans = spans_of(grpc_collector)
    stream, refused = (next(s for s in spans if s.name.endswith(name)) for name in ("/AnalyzeStream", "/Analyze"))
    attributes = {attribute.key: attribute.value.int_value for attribute in stream.attributes}
    assert attributes["reviewlens.reviews"] == len(reviews)
    assert len([span for span in spans if span.parent_span_id == stream.span_id]) == ANSWERS_TRACED * len(STAGES)
    codes = {attribute.key: attribute.value.int_value for attribute in refused.attributes}
    assert codes["rpc.grpc.status_code"] == grpc.StatusCode.INVALID_ARGUMENT.value[0]


async def test_a_collector_that_is_gone_costs_no_call(open_door: OpenDoor, grpc_collector: GrpcCollector) -> None:
    grpc_collector.stop()
    door = await open_door(tracing={"otlp_endpoint": grpc_collector.url, "sample_ratio": 1.0})
    async with grpc.aio.insecure_channel(door.address) as channel:
        request = pb.AnalyzeRequest(reviews=[pb.Review(id="1", text=REVIEW)])
        answer = await ReviewAnalysisServiceStub(channel).Analyze(request)
    assert answer.analyses[0].keywords
    started = time.monotonic()
    await door.drain(1)
    assert time.monotonic() - started < 8
