"""The observer around handlers of every kind and style."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from server.front_door.logs import JsonFormatter
from server.front_door.metrics import Metrics
from server.front_door.observer import CallObserver
from server.front_door.status import Context

SECRET = "지퍼가 고장났어요"  # noqa: S105  (stands for a review)
KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


async def one(request: Any, context: Context) -> bytes:
    """Answer with the request, or the requests in a row."""
    return request if isinstance(request, bytes) else b"".join([part async for part in request])


async def yielding(request: Any, context: Context) -> AsyncIterator[bytes]:
    """Answer with two messages, in the style of generators."""
    answer = await one(request, context)
    for number in (b"1", b"2"):
        yield answer + number


async def writing(request: Any, context: Context) -> None:
    """The same in the style of writers."""
    async for answer in yielding(request, context):
        await context.write(answer)


async def failing(request: Any, context: Context) -> None:
    raise ValueError(f"cannot read {SECRET!r}")


async def late_setting(request: Any, context: Context) -> bytes:
    """Set a status without ending the call by it."""
    context.set_code(grpc.StatusCode.NOT_FOUND)
    context.set_details("no such thing")
    return b""


def method(channel: grpc.aio.Channel, kind: str, name: str = "") -> Any:
    """What calls a method of the server below."""
    return getattr(channel, kind)(f"/test.Test/{name or kind}")


async def error_of(call: Any) -> grpc.aio.AioRpcError:
    """The error that a call ends with, whether it is awaited or read."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (call.read() if hasattr(call, "read") else call)
    return caught.value


@asynccontextmanager
async def serve(metrics: Metrics | None) -> AsyncIterator[grpc.aio.Channel]:
    """A server of the handlers above, and of gRPC's own health service; observed when there are metrics."""
    make = {kind: getattr(grpc, f"{kind}_rpc_method_handler") for kind in KINDS}
    handlers = {
        "unary_unary": make["unary_unary"](one),
        "stream_unary": make["stream_unary"](one),
        "unary_stream": make["unary_stream"](yielding),
        "stream_stream": make["stream_stream"](writing),
        "failing": make["unary_unary"](failing),
        "failing_stream": make["stream_stream"](failing),
        "late_setting": make["unary_unary"](late_setting),
    }
    server = grpc.aio.server(interceptors=[CallObserver(metrics)] if metrics else None)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", handlers),))
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(0)


async def test_every_kind_of_method_answers_as_it_would_by_itself() -> None:
    metrics = Metrics()
    async with serve(metrics) as channel:
        unary_unary, unary_stream, stream_unary, stream_stream = (method(channel, kind) for kind in KINDS)
        assert await unary_unary(b"a") == b"a"
        assert await stream_unary(iter([b"a", b"b"])) == b"ab"
        assert [answer async for answer in unary_stream(b"a")] == [b"a1", b"a2"]
        assert [answer async for answer in stream_stream(iter([b"a", b"b"]))] == [b"ab1", b"ab2"]
    for kind in KINDS:
        labels = {"method": f"test.Test/{kind}", "code": "OK"}
        assert metrics.registry.get_sample_value("reviewlens_requests_total", labels) == 1


async def test_a_status_that_a_handler_sets_is_counted() -> None:
    metrics = Metrics()
    async with serve(metrics) as channel:
        error = await error_of(method(channel, "unary_unary", "late_setting")(b""))
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "no such thing")
    labels = {"method": "test.Test/late_setting", "code": "NOT_FOUND"}
    assert metrics.registry.get_sample_value("reviewlens_requests_total", labels) == 1


@pytest.mark.parametrize(("kind", "name"), [("unary_unary", "failing"), ("stream_stream", "failing_stream")])
async def test_what_an_unforeseen_error_says_reaches_nobody(
    kind: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    metrics = Metrics()
    async with serve(metrics) as channel:
        request = b"" if kind == "unary_unary" else iter(())
        error = await error_of(method(channel, kind, name)(request, metadata=(("x-request-id", "f-1"),)))
    assert error.code() == grpc.StatusCode.INTERNAL
    assert "f-1" in (error.details() or "")
    assert ("x-request-id", "f-1") in tuple(error.trailing_metadata())
    labels = {"method": f"test.Test/{name}", "code": "INTERNAL"}
    assert metrics.registry.get_sample_value("reviewlens_requests_total", labels) == 1
    shown = [str(error), caplog.text, *(str(record.__dict__) for record in caplog.records)]
    assert not any(SECRET in text for text in shown)
    assert "ValueError" in caplog.text
    assert "in failing" in caplog.text


async def test_a_health_watch_ends_with_its_client() -> None:
    metrics = Metrics()
    method = "grpc.health.v1.Health/Watch"
    async with serve(metrics) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()
        for _ in range(500):
            if metrics.registry.get_sample_value("reviewlens_requests_total", {"method": method, "code": "CANCELLED"}):
                break
            await asyncio.sleep(0.01)
        else:
            pytest.fail("the watch goes on")


@pytest.fixture
def json_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """The lines of calls, as they are written in production."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger(CallObserver.__module__)
    monkeypatch.setattr(logger, "handlers", [handler])
    monkeypatch.setattr(logger, "propagate", False)
    logger.setLevel(logging.INFO)
    yield stream
    logger.setLevel(logging.NOTSET)
