"""Errors as statuses."""

from __future__ import annotations

import logging
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import code_pb2
from google.rpc.error_details_pb2 import BadRequest, RequestInfo, RetryInfo
from google.rpc.status_pb2 import Status

from client import errors
from client.errors import InvalidInputError, OverloadedError, ReviewLensError, ServerUnavailableError
from server.front_door.logs import current_request_id
from server.front_door.status import Context, failures_as_status, status_of, unexpected


def details_of(status: Status) -> list[Message]:
    found: list[Message] = []
    for packed in status.details:
        for kind in (RetryInfo, BadRequest, RequestInfo):
            message = kind()
            if packed.Unpack(message):
                found.append(message)
    return found


KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ReviewLensError)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_has_a_code_of_grpc(kind: type[ReviewLensError]) -> None:
    error = OverloadedError("why", 1.0) if kind is OverloadedError else kind("why")
    status = status_of(error)
    assert (code_pb2.Code.Name(status.code), status.message) == (kind.code, "why")


def test_overload_says_when_to_come_back() -> None:
    (retry,) = details_of(status_of(OverloadedError("full", 1.25)))
    assert isinstance(retry, RetryInfo)
    assert retry.retry_delay.ToTimedelta().total_seconds() == 1.25


def test_unavailable_says_when_to_come_back() -> None:
    (retry,) = details_of(status_of(ServerUnavailableError("gone")))
    assert isinstance(retry, RetryInfo)


def test_invalid_input_names_its_field_and_the_request() -> None:
    bad, request = details_of(status_of(InvalidInputError("options.keywords[2]: 'x': unknown"), "r-1"))
    assert isinstance(bad, BadRequest)
    (violation,) = bad.field_violations
    assert (violation.field, violation.description) == ("options.keywords[2]", "'x': unknown")
    assert isinstance(request, RequestInfo)
    assert request.request_id == "r-1"


async def test_whatever_a_handler_raises_is_a_status() -> None:
    text = "리뷰 " * 3
    raised: list[Exception] = [KeyError(text), OverloadedError("full", 0.2), InvalidInputError("reviews: none")]

    async def fail(_: bytes, context: Context) -> None:
        current_request_id.set("r-9")
        context.set_trailing_metadata((("x-request-id", "r-9"),))
        async with failures_as_status(context):
            raise raised.pop(0)

    server = grpc.aio.server()
    handlers: dict[str, Any] = {"Fail": grpc.unary_unary_rpc_method_handler(fail)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/test.Test/Fail")
        for code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INVALID_ARGUMENT):
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                await method(b"")
            assert failure.value.code() == code
            assert text not in str(failure.value.details())
            assert ("x-request-id", "r-9") in tuple(failure.value.trailing_metadata() or ())
    await server.stop(None)


def test_unexpected_error_is_logged_with_its_place_and_without_its_message(caplog: pytest.LogCaptureFixture) -> None:
    text = "리뷰 " * 2  # the line of source that raises is in the log, the value is not
    try:
        raise KeyError(text)
    except KeyError as error:
        with caplog.at_level(logging.ERROR):
            answer = unexpected(error)
    assert answer.code == "INTERNAL"
    assert "test_front_door_status.py" in caplog.text
    assert "KeyError" in caplog.text
    assert text not in caplog.text + str(answer)
