"""Around every call: its request id, metrics, log line and span.

A call's request id is its `x-request-id`, when that is usable, or a new one; it comes back in the trailing metadata.
Handlers tell with ``record_analyses`` what only they know.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import grpc
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from reviewlens.v1.review_analysis_pb2 import ReviewAnalysis

from client.timings import Timings
from server.front_door.logs import FIELDS, current_request_id, log_reviews
from server.front_door.metrics import STAGES, Metrics
from server.front_door.security import client_identity
from server.front_door.status import Context, abort, unexpected
from server.front_door.tracing import caller_context, record_stages, trace_id

LOGGER = logging.getLogger(__name__)
REQUEST_ID = "x-request-id"
UNKNOWN_METHOD = "unknown"  # callers may ask for any name, and a metric must not have a series for each
# Health checks and reflection: counted, but not traced, and logged for debugging only.
BACKGROUND = ("grpc.health.", "grpc.reflection.")
# The server's fault, not the caller's, as https://opentelemetry.io/docs/specs/semconv/rpc/grpc/ has it.
SERVER_FAULTS = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
LOGGED_AS_ERROR = {"UNKNOWN", "INTERNAL", "DATA_LOSS"}
# gRPC cancels a handler when its deadline passes, just as when its caller goes away. The caller's clock began earlier,
# by the time on the way, so its cancellation comes before the deadline has passed here.
LATE_S = 0.1
# A stream may have any number of groups, a trace should not.
ANSWERS_TRACED = 16

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_CODES = {code.value[0]: code.name for code in grpc.StatusCode}
# By request_streaming, response_streaming.
_KINDS: dict[tuple[bool, bool], tuple[str, Callable[..., Handler]]] = {
    (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
    (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
    (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
    (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
}


@dataclass
class Call:
    """A call under way. ``tracer`` is set while its trace is recorded."""

    method: str
    request_id: str
    span: Span
    tracer: Tracer | None
    started: float
    reviews: int = 0
    failed_reviews: int = 0
    answers: int = 0
    timings: Timings = field(default_factory=Timings)
    model_version: str = ""
    code: str = "OK"


_current_call: ContextVar[Call | None] = ContextVar("current_call", default=None)


def record_analyses(analyses: Sequence[ReviewAnalysis], timings: Timings) -> None:
    """Tell the call's log line and trace of an answer, just finished; log its texts where that is asked for.

    A stream tells of each group of reviews by itself. Outside of a call there is nobody to tell, and nothing happens.
    """
    call = _current_call.get()
    if call is None:
        return
    failed = sum(analysis.HasField("error") for analysis in analyses)
    call.reviews += len(analyses)
    call.failed_reviews += failed
    call.timings += timings
    call.model_version = next((a.model_version for a in analyses if a.model_version), call.model_version)
    if call.tracer is not None and call.answers < ANSWERS_TRACED:
        record_stages(call.tracer, timings, {"reviewlens.reviews": len(analyses), "reviewlens.failed_reviews": failed})
    call.answers += 1
    log_reviews(analyses)


class CallObserver(grpc.aio.ServerInterceptor):
    """The server's first interceptor, so that it sees the refusals of the others, too."""

    def __init__(self, metrics: Metrics, tracer: Tracer | None = None) -> None:
        """Without a ``tracer`` there are no spans."""
        self._metrics = metrics
        self._tracer = tracer

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """The method's handler with everything around it."""
        started = time.perf_counter()
        metadata = {k: v for k, v in handler_call_details.invocation_metadata or () if isinstance(v, str)}
        request_id = usable_request_id(metadata.get(REQUEST_ID, ""))
        current_request_id.set(request_id)
        handler = await continuation(handler_call_details)
        if handler is None:
            return self._observed(Call(UNKNOWN_METHOD, request_id, trace.INVALID_SPAN, None, started), _UNKNOWN)
        method = handler_call_details.method.removeprefix("/")
        span, tracer = self._span(method, metadata)
        return self._observed(Call(method, request_id, span, tracer, started), handler)

    def _span(self, method: str, metadata: Mapping[str, str]) -> tuple[Span, Tracer | None]:
        if self._tracer is None or method.startswith(BACKGROUND):
            return trace.INVALID_SPAN, None
        service, _, name = method.rpartition("/")
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}
        span = self._tracer.start_span(method, caller_context(metadata), SpanKind.SERVER, attributes)
        return span, self._tracer if span.is_recording() else None

    def _observed(self, call: Call, handler: Handler) -> Handler:
        kind, make = _KINDS[handler.request_streaming, handler.response_streaming]
        behavior = getattr(handler, kind)

        async def observed(request: Any, context: Context) -> Any:
            context.set_trailing_metadata(((REQUEST_ID, call.request_id),))
            _current_call.set(call)
            self._metrics.call_started(call.method)
            try:
                with trace.use_span(call.span) if call.tracer else contextlib.nullcontext():
                    return await _answer(behavior, request, context)
            except asyncio.CancelledError:
                remaining: float | None = context.time_remaining()
                call.code = "CANCELLED" if remaining is None or remaining > LATE_S else "DEADLINE_EXCEEDED"
                raise
            except grpc.aio.AbortError:
                raise
            except Exception as error:  # noqa: BLE001  (gRPC would send the caller its text, which may quote a review)
                await abort(context, unexpected(error))
            finally:
                self._finish(call, context)

        return make(observed, handler.request_deserializer, handler.response_serializer)

    def _finish(self, call: Call, context: Context) -> None:
        seconds = time.perf_counter() - call.started
        if call.code == "OK":
            call.code = _CODES.get(_number(context.code()), "UNKNOWN")
        self._metrics.call_finished(call.method, call.code, seconds)
        level = logging.ERROR if call.code in LOGGED_AS_ERROR else logging.INFO
        if call.method.startswith(BACKGROUND) and level == logging.INFO:
            level = logging.DEBUG
        if LOGGER.isEnabledFor(level):
            LOGGER.log(level, "call", extra={FIELDS: _log_fields(call, context, seconds)})
        if call.tracer is not None:
            _end_span(call)


async def _answer(behavior: Callable[..., Any], request: Any, context: Context) -> Any:
    """Run a handler of either style: one that returns or writes its answers, or one that yields them."""
    answer = behavior(request, context)
    if not inspect.isasyncgen(answer):
        return await answer
    async with contextlib.aclosing(answer):
        async for message in answer:
            await context.write(message)
    return None


def _log_fields(call: Call, context: Context, seconds: float) -> dict[str, object]:
    fields: dict[str, object] = {
        "method": call.method,
        "code": call.code,
        "seconds": round(seconds, 6),
        "client": client_identity(context),
    }
    # What is wrong with a request quotes what was sent; where that is, may be a review.
    if call.code not in ("OK", "CANCELLED", "INVALID_ARGUMENT") and context.details():
        fields["details"] = context.details()
    if call.answers:
        fields["reviews"] = call.reviews
        fields["failed_reviews"] = call.failed_reviews
        fields["model_version"] = call.model_version
        fields |= {f"{stage}_s": round(getattr(call.timings, f"{stage}_s"), 6) for stage in STAGES}
    if identifier := trace_id(call.span):
        fields["trace_id"] = identifier
    return fields


def _end_span(call: Call) -> None:
    call.span.set_attribute("rpc.grpc.status_code", next(n for n, name in _CODES.items() if name == call.code))
    call.span.set_attribute("reviewlens.request_id", call.request_id)
    call.span.set_attribute("reviewlens.reviews", call.reviews)
    call.span.set_attribute("reviewlens.failed_reviews", call.failed_reviews)
    call.span.set_attribute("reviewlens.model_version", call.model_version)
    if call.code in SERVER_FAULTS:
        call.span.set_status(Status(StatusCode.ERROR, call.code))
    call.span.end()


def usable_request_id(sent: str) -> str:
    """The identifier that a caller sent if it is 1 to 64 printable ASCII characters without spaces; else a new one."""
    return sent if re.fullmatch(r"[!-~]{1,64}", sent) else secrets.token_hex(16)


def _number(code: Any) -> int:
    """A gRPC status code as its number: contexts give either that or a ``grpc.StatusCode``."""
    return code.value[0] if isinstance(code, grpc.StatusCode) else int(code or 0)


async def _unknown_method(_: object, context: Context) -> None:
    await context.abort(
        grpc.StatusCode.UNIMPLEMENTED, "this server has no such method; reviewlens.v1.ReviewAnalysisService has them"
    )


_UNKNOWN: Handler = grpc.stream_stream_rpc_method_handler(_unknown_method)
