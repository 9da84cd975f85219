"""Connections that are opened and silent, garbled or gone without a word: they hold up nobody else."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from reviewlens.v1 import review_analysis_service_pb2 as pb
from reviewlens.v1.review_analysis_service_pb2_grpc import ReviewAnalysisServiceStub

from benchmarks.load import connect
from server.embedded import EmbeddedTriton
from server.front_door.server import FrontDoor
from server.front_door.settings import Metrics, Settings
from tests.functional.command_line import wait_until
from tests.functional.reliability.calls import SERVICE, analyze, request_of
from tests.functional.reliability.conftest import Figure
from tests.functional.reliability.door_process import DoorProcess
from tests.functional.reliability.faulty_proxy import FaultyProxy

CONNECTIONS = 500
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\4\0\0\0\0\0"
# A HEADERS frame that says it has 16 KiB, of which none come.
HALF_A_FRAME = PREFACE + SETTINGS + b"\0\x40\0\1\4\0\0\0\1"
OPENINGS = {
    "silent": b"",
    "half a preface": PREFACE[:10],
    "no call": PREFACE + SETTINGS,
    "half a frame": HALF_A_FRAME,
    "HTTP/1": b"GET / HTTP/1.1\r\nHost: reviewlens\r\n\r\n",
    "garbage": bytes(range(256)) * 64,
}


@contextmanager
def connections(door: DoorProcess, opening: bytes) -> Iterator[None]:
    """Many connections during the block that say one thing, and then nothing more."""
    host, _, port = door.address.rpartition(":")
    with ExitStack() as sockets:
        for _ in range(CONNECTIONS):
            connection = sockets.enter_context(socket.create_connection((host, int(port)), timeout=30))
            connection.sendall(opening)
        yield


@pytest.mark.parametrize("opening", OPENINGS.values(), ids=OPENINGS)
def test_many_connections_that_say_nothing_hold_up_nobody(door: DoorProcess, opening: bytes, figure: Figure) -> None:
    assert analyze(door.stub, request_of("핏이 좋아요")).reviews == ("",)
    wait_until(lambda: door.descriptors() < CONNECTIONS)
    before = door.descriptors()
    with connections(door, opening):
        outcomes = [analyze(door.stub, request_of("핏이 좋아요")) for _ in range(10)]
        with door.another_channel() as channel:  # somebody new gets in, too
            outcomes.append(analyze(ReviewAnalysisServiceStub(channel), request_of("핏이 좋아요")))
        memory = door.memory()
    assert {outcome.reviews for outcome in outcomes} == {("",)}
    wait_until(lambda: door.descriptors() <= before + 1)
    figure(f"{CONNECTIONS} connections open, {memory / 2**20:.0f} MiB")


async def test_a_client_that_is_gone_without_a_word_is_noticed(
    tiny_repository: Path, tiny_triton: EmbeddedTriton, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its machine lost power: no FIN, no reset. Its stream is ended, so that it does not count for ever."""
    monkeypatch.setattr("server.front_door.server.KEEPALIVE_MS", 500)
    monkeypatch.setattr("server.front_door.server.KEEPALIVE_TIMEOUT_MS", 500)
    settings = Settings(
        listen="127.0.0.1:0",
        triton_url=tiny_triton.grpc_url,
        model_repository=tiny_repository,
        metrics=Metrics(listen=""),
    )

    def under_way() -> float:
        method = {"method": f"{SERVICE}/AnalyzeStream"}
        return door.metrics.registry.get_sample_value("reviewlens_requests_in_flight", method) or 0.0

    async with FrontDoor(settings) as door:
        with FaultyProxy(door.address) as proxy:
            async with connect(proxy.url) as channel:
                call = ReviewAnalysisServiceStub(channel).AnalyzeStream()
                await call.write(pb.AnalyzeStreamRequest(review=pb.Review(id="1", text="핏이 좋아요")))
                answer = await call.read()
                assert isinstance(answer, pb.AnalyzeStreamResponse)
                assert under_way() == 1
                proxy.swallow()
                await asyncio.to_thread(wait_until, lambda: under_way() == 0)
                call.cancel()
