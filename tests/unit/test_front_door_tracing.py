"""Spans, and what Triton is told of the trace."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from client.errors import InvalidInputError
from client.timings import Timings
from server.front_door.settings import Tracing
from server.front_door.tracing import caller_context, configure_tracing, record_stages, trace_id, triton_metadata

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def exported() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exported: InMemorySpanExporter) -> Iterator[trace.Tracer]:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exported))
    yield provider.get_tracer("test")
    provider.shutdown()


def test_nothing_is_set_up_without_a_collector() -> None:
    assert configure_tracing(Tracing()) is None
    assert triton_metadata() == {}


@pytest.mark.parametrize("endpoint", ["collector:4317", "grpc://collector:4317", "http://", "4317"])
def test_a_collector_needs_an_address(endpoint: str) -> None:
    with pytest.raises(InvalidInputError, match=r"tracing.otlp_endpoint: .*http://HOST:PORT"):
        configure_tracing(Tracing(otlp_endpoint=endpoint))


def test_a_callers_trace_goes_on_to_triton(tracer: trace.Tracer) -> None:
    context = caller_context({"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "shop=1"})
    with tracer.start_as_current_span("call", context) as span:
        identifier = trace.format_span_id(span.get_span_context().span_id)
        assert triton_metadata() == {"traceparent": f"00-{TRACE}-{identifier}-01", "tracestate": "shop=1"}
        assert trace_id(span) == TRACE
    assert triton_metadata() == {}


def test_triton_is_not_told_of_a_trace_that_nobody_records() -> None:
    with TracerProvider(sampler=ALWAYS_OFF).get_tracer("test").start_as_current_span("call"):
        assert triton_metadata() == {}


@pytest.mark.parametrize(
    "sent", ["", "00-x-y-01", f"00-{'0' * 32}-{PARENT}-01", f"ff-{TRACE}-{PARENT}-01", "\x00" * 70]
)
def test_a_wrong_traceparent_starts_a_new_trace(tracer: trace.Tracer, sent: str) -> None:
    with tracer.start_as_current_span("call", caller_context({"traceparent": sent})) as span:
        assert trace_id(span) not in ("", TRACE)


def test_stages_follow_one_another_and_end_now(tracer: trace.Tracer, exported: InMemorySpanExporter) -> None:
    timings = Timings(tokenization_s=0.001, queue_s=0.25, keyword_s=0.01, sentiment_s=0.02, highlight_s=0.4)
    before = time.time_ns()
    with tracer.start_as_current_span("call") as call:
        record_stages(tracer, timings, {"reviewlens.reviews": 3})
    after = time.time_ns()
    *stages, _ = exported.get_finished_spans()
    assert [span.name for span in stages] == ["tokenization", "queue", "keyword", "sentiment", "highlight"]
    durations = [(span.end_time or 0) - (span.start_time or 0) for span in stages]
    assert durations == [1_000_000, 250_000_000, 10_000_000, 20_000_000, 400_000_000]
    for former, latter in itertools.pairwise(stages):
        assert former.end_time == latter.start_time
    assert before <= (stages[-1].end_time or 0) <= after
    for span in stages:
        assert span.parent == call.get_span_context()
        assert span.attributes == {"reviewlens.reviews": 3}
