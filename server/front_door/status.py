"""Errors as gRPC statuses, with google.rpc details for machines.

The codes and details are those of https://google.aip.dev/193: RetryInfo says when to come back, BadRequest which
field is wrong, RequestInfo which log lines belong to the call.
"""

from __future__ import annotations

import asyncio
import logging
import math
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import code_pb2
from google.rpc.error_details_pb2 import BadRequest, RequestInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from client.errors import InvalidInputError, OverloadedError, ReviewLensError
from server.front_door.logs import current_request_id

# The first is for people's own code, the second is minded by gRPC's clients that have a retry policy
# (https://github.com/grpc/proposal/blob/master/A6-client-retries.md#pushback).
RETRY_AFTER_KEYS = ("retry-after-ms", "grpc-retry-pushback-ms")
# A model that went away is back after seconds, or after much longer: callers need not hurry.
UNAVAILABLE_RETRY_S = 1.0

Context = grpc.aio.ServicerContext[Any, Any]

_log = logging.getLogger(__name__)


class UnexpectedError(ReviewLensError):
    """A fault of the server that no other error describes."""


def retry_after_s(error: ReviewLensError) -> float | None:
    """Seconds after which the same call may well succeed; None where trying again does not help."""
    if isinstance(error, OverloadedError):
        return error.retry_after_s
    return UNAVAILABLE_RETRY_S if error.code == "UNAVAILABLE" else None


def status_of(error: ReviewLensError, request_id: str = "") -> Status:
    """The status that a call answers with when it fails with this error."""
    details: list[Message] = []
    if (seconds := retry_after_s(error)) is not None:
        delay = Duration()
        delay.FromNanoseconds(round(seconds * 1e9))
        details.append(RetryInfo(retry_delay=delay))
    if isinstance(error, InvalidInputError):
        field, _, description = str(error).partition(": ")
        violation = BadRequest.FieldViolation(field=field, description=description)
        details.append(BadRequest(field_violations=[violation]))
    if request_id:
        details.append(RequestInfo(request_id=request_id))
    status = Status(code=code_pb2.Code.Value(error.code), message=str(error))
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return status


async def abort(context: Context, error: ReviewLensError) -> NoReturn:
    """End the call with the error's status; trailing metadata that was set before goes with it."""
    status = rpc_status.to_status(status_of(error, current_request_id.get()))
    trailing = [*(context.trailing_metadata() or ()), *(status.trailing_metadata or ())]
    if (seconds := retry_after_s(error)) is not None:
        trailing += [(key, str(math.ceil(seconds * 1000))) for key in RETRY_AFTER_KEYS]
    try:
        await context.abort(status.code, status.details or "", tuple(trailing))
    except grpc.aio.InternalError:
        raise asyncio.CancelledError from None  # the call ended meanwhile: its deadline passed, or its caller went away
    raise AssertionError("abort raises")


@asynccontextmanager
async def failures_as_status(context: Context) -> AsyncIterator[None]:
    """Turn whatever the block raises into a status. Only cancellation goes through: nobody is there to be answered."""
    try:
        yield
    except grpc.aio.AbortError:
        raise
    except ReviewLensError as error:
        await abort(context, error)
    except Exception as error:  # noqa: BLE001  (the last place where it can be caught)
        if _call_has_ended(error):
            raise asyncio.CancelledError from None
        await abort(context, unexpected(error))


def _call_has_ended(error: BaseException) -> bool:
    """Whether an error comes of nothing but reading from, or writing to, a call that ended meanwhile."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_call_has_ended, error.exceptions))
    return isinstance(error, grpc.aio.InternalError)


def unexpected(error: BaseException) -> UnexpectedError:
    """Log where an unforeseen error came from; what to tell the caller.

    The error's own message stays out of both, because it may quote a review.
    """
    frames = "".join(traceback.format_tb(error.__traceback__))
    _log.error("unexpected %s\n%s", type(error).__qualname__, frames)
    return UnexpectedError(
        f"the server failed unexpectedly; its log has the cause under request id {current_request_id.get() or '?'}"
    )
