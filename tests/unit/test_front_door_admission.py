"""Calls of one client at a time."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from client.errors import OverloadedError
from server.front_door.admission import ClientCalls


def test_client_gets_as_many_calls_as_allowed_and_another_is_not_affected() -> None:
    calls = ClientCalls(2)
    with ExitStack() as under_way:
        under_way.enter_context(calls.admit("a"))
        under_way.enter_context(calls.admit("a"))
        under_way.enter_context(calls.admit("b"))
        with pytest.raises(OverloadedError, match="this client has 2 calls under way") as refusal, calls.admit("a"):
            pass
        assert refusal.value.retry_after_s > 0
    with calls.admit("a"), calls.admit("a"):
        pass


def test_failed_call_gives_its_place_back() -> None:
    calls = ClientCalls(1)
    with pytest.raises(ValueError, match="call"), calls.admit("a"):
        raise ValueError("call")
    with calls.admit("a"):
        pass


async def test_idle_waits_for_the_last_call() -> None:
    calls = ClientCalls(2)
    await asyncio.wait_for(calls.idle(), 1)
    with calls.admit("a"):
        with calls.admit("b"):
            waiting = asyncio.create_task(calls.idle())
        await asyncio.sleep(0)
        assert not waiting.done()
    await asyncio.wait_for(waiting, 1)
