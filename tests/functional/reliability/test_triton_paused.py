"""Triton is stopped and goes on: deadlines hold meanwhile, and nothing has to be done after."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc

from server.embedded import EmbeddedTriton
from tests.functional.command_line import wait_until
from tests.functional.reliability.calls import OFF, analyze, distinct_texts, request_of
from tests.functional.reliability.conftest import Figure, StartDoor
from tests.functional.reliability.door_process import signal_triton

DEADLINE_S = 1.0


@contextmanager
def paused(triton: EmbeddedTriton) -> Iterator[None]:
    """Stop a Triton during the block."""
    signal_triton(triton.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        signal_triton(triton.pid, signal.SIGCONT)


def test_deadlines_hold_while_triton_is_paused(
    start_door: StartDoor, own_triton: EmbeddedTriton, figure: Figure
) -> None:
    door = start_door({"triton-url": own_triton.grpc_url, "health.probe-timeout-s": 1})
    requests = [request_of(*distinct_texts(8, 8 * number), options=OFF) for number in range(32)]
    with paused(own_triton), ThreadPoolExecutor(len(requests)) as callers:
        outcomes = list(callers.map(lambda request: analyze(door.stub, request, DEADLINE_S), requests))
        assert {outcome.code for outcome in outcomes} == {grpc.StatusCode.DEADLINE_EXCEEDED}
        assert min(outcome.seconds for outcome in outcomes) > 0.8 * DEADLINE_S
        wait_until(lambda: not door.serving())
        wait_until(door.idle)  # what nobody waits for has left the queue, although Triton took nothing
    resumed = time.monotonic()
    wait_until(door.serving)
    late_ms = 1000 * (max(outcome.seconds for outcome in outcomes) - DEADLINE_S)
    figure(
        f"slowest of {len(outcomes)} calls ended {late_ms:.0f} ms after its deadline; SERVING "
        f"{time.monotonic() - resumed:.1f} s after SIGCONT"
    )
    outcomes = [analyze(door.stub, request) for request in requests]
    assert {(outcome.code, outcome.details) for outcome in outcomes} == {(grpc.StatusCode.OK, "")}


def test_a_short_pause_is_only_a_delay(start_door: StartDoor, own_triton: EmbeddedTriton) -> None:
    door = start_door({"triton-url": own_triton.grpc_url})
    request = request_of(*distinct_texts(8))
    expected = door.stub.Analyze(request)
    with ThreadPoolExecutor(1) as caller:
        with paused(own_triton):
            late = caller.submit(door.stub.Analyze, request)
            wait_until(lambda: door.metric("reviewlens_batches_in_flight") > 0)
            assert not late.done()
        assert list(late.result(30).analyses) == list(expected.analyses)
