"""The network between the front door and Triton is slow, stalls, breaks, or goes silent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from server.embedded import EmbeddedTriton
from tests.functional.command_line import wait_until
from tests.functional.reliability.calls import analyze, distinct_texts, request_of
from tests.functional.reliability.conftest import Figure, StartDoor
from tests.functional.reliability.door_process import DoorProcess
from tests.functional.reliability.faulty_proxy import Faults, FaultyProxy

OK, DEADLINE_EXCEEDED = grpc.StatusCode.OK, grpc.StatusCode.DEADLINE_EXCEEDED
LATENCY_S = 0.1
TEXTS = distinct_texts(64)


@pytest.fixture
def proxy(tiny_triton: EmbeddedTriton) -> Iterator[FaultyProxy]:
    """A proxy before Triton without faults yet."""
    with FaultyProxy(tiny_triton.grpc_url) as running:
        yield running


@pytest.fixture
def slow_door(proxy: FaultyProxy, start_door: StartDoor) -> DoorProcess:
    """A front door behind the proxy."""
    return start_door({"triton-url": proxy.url, "health.probe-timeout-s": 1})


def test_a_slow_network_slows_down_and_changes_nothing(slow_door: DoorProcess, proxy: FaultyProxy) -> None:
    request = request_of(*TEXTS)
    expected = slow_door.stub.Analyze(request)
    proxy.faults = Faults(latency_s=LATENCY_S, bytes_per_s=2_000_000)
    started = time.monotonic()
    assert list(slow_door.stub.Analyze(request, timeout=60).analyses) == list(expected.analyses)
    # The unmasked rows and then the masks: two round trips at least.
    assert time.monotonic() - started > 4 * LATENCY_S


def test_a_deadline_holds_in_a_stall_and_the_queue_empties(
    slow_door: DoorProcess, proxy: FaultyProxy, figure: Figure
) -> None:
    proxy.faults = Faults(stalled=True)
    requests = [request_of(*distinct_texts(8, 8 * number)) for number in range(16)]
    with ThreadPoolExecutor(len(requests)) as callers:
        outcomes = list(callers.map(lambda request: analyze(slow_door.stub, request, 1.0), requests))
    assert {outcome.code for outcome in outcomes} == {DEADLINE_EXCEEDED}
    wait_until(lambda: not slow_door.serving())
    wait_until(slow_door.idle)
    proxy.faults = Faults()
    healed = time.monotonic()
    wait_until(slow_door.serving)
    figure(f"SERVING {time.monotonic() - healed:.1f} s after the stall")
    assert analyze(slow_door.stub, requests[0]).code is OK


def test_connections_that_break_are_made_again(slow_door: DoorProcess, proxy: FaultyProxy, figure: Figure) -> None:
    """Requests to Triton change nothing, so those that were under way are sent again: callers do not notice."""
    before = proxy.connections
    requests = [request_of(*distinct_texts(16, 16 * number)) for number in range(60)]
    with ThreadPoolExecutor(4) as callers:
        calls = [callers.submit(analyze, slow_door.stub, request) for request in requests]
        for number in range(0, len(calls), 6):
            calls[number].result()
            proxy.reset()
        outcomes = [call.result() for call in calls]
    assert {outcome.code for outcome in outcomes} == {OK}
    assert {code for outcome in outcomes for code in outcome.reviews} == {""}
    wait_until(lambda: proxy.connections > before)
    figure(f"{len(outcomes)} calls over {proxy.connections - before} broken connections, all answered")


def test_a_black_hole_is_left_for_a_new_connection(slow_door: DoorProcess, proxy: FaultyProxy, figure: Figure) -> None:
    """The connection stays open and nothing comes back, as when a machine or a NAT entry is gone."""
    assert analyze(slow_door.stub, request_of(TEXTS[0])).code is OK
    proxy.swallow()
    started = time.monotonic()
    assert analyze(slow_door.stub, request_of(TEXTS[1]), 1.0).code is DEADLINE_EXCEEDED
    wait_until(lambda: not slow_door.serving())
    wait_until(slow_door.serving, 60)
    figure(f"SERVING over a new connection {time.monotonic() - started:.0f} s after the old one went silent")
    assert analyze(slow_door.stub, request_of(TEXTS[1])).code is OK
