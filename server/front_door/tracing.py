"""OpenTelemetry traces: a caller's trace goes on here and in Triton. Off unless a collector is set.

Spans carry numbers, never the text of a review.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from importlib.metadata import version
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from client.errors import InvalidInputError
from client.timings import Timings
from server.front_door.metrics import STAGES
from server.front_door.settings import Tracing

# For one export, retries included. A collector that is gone holds up the end of the process for about as long.
EXPORT_TIMEOUT_S = 2
_W3C = TraceContextTextMapPropagator()  # https://www.w3.org/TR/trace-context/


def configure_tracing(settings: Tracing) -> TracerProvider | None:
    """What makes tracers and exports their spans; None when no collector is set. Its ``shutdown`` sends the last spans.

    A trace that began at a caller is recorded when the caller records it, one that begins here with the probability
    ``sample_ratio``. The environment's OTEL_RESOURCE_ATTRIBUTES and OTEL_EXPORTER_OTLP_HEADERS (secrets) are minded.

    Raises:
        InvalidInputError: the collector's address is no http:// or https:// URL.
    """
    endpoint = settings.otlp_endpoint
    if not endpoint:
        return None
    url = urlsplit(endpoint)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise InvalidInputError(
            f"tracing.otlp_endpoint: {endpoint!r} is not http://HOST:PORT or, with TLS, https://HOST:PORT of an "
            "OTLP gRPC collector, usually port 4317"
        )
    # Its import takes a third of a second, which only those pay who trace.
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(settings.sample_ratio)),
        resource=Resource.create({SERVICE_NAME: "reviewlens", SERVICE_VERSION: version("reviewlens")}),
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_TIMEOUT_S)))
    return provider


def caller_context(metadata: Mapping[str, str]) -> Context:
    """The trace that a call's metadata names in ``traceparent``; an empty context when it names none."""
    return _W3C.extract(metadata)


def triton_metadata() -> dict[str, str]:
    """``traceparent`` (and ``tracestate``) of the current span for the metadata of requests to Triton.

    Empty when the trace is not recorded: Triton 2.51 traces each request that has a ``traceparent``, even if that says
    that the trace is not sampled.
    """
    carrier: dict[str, str] = {}
    if trace.get_current_span().get_span_context().trace_flags.sampled:
        _W3C.inject(carrier)
    return carrier


def trace_id(span: Span) -> str:
    """The trace's identifier as collectors show it; "" without a trace."""
    context = span.get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else ""


def record_stages(tracer: Tracer, timings: Timings, attributes: Mapping[str, str | int]) -> None:
    """A span for each stage of an answer that is finished now, below the current span.

    The stages follow one another, so they are laid one behind the other, and end now. What waited in several places is
    one span, ``queue``.
    """
    start = time.time_ns() - round(sum(getattr(timings, f"{stage}_s") for stage in STAGES) * 1e9)
    for stage in STAGES:
        end = start + round(getattr(timings, f"{stage}_s") * 1e9)
        tracer.start_span(stage, start_time=start, attributes=attributes).end(end)
        start = end
