"""Connections that are opened and silent, garbled or gone without a word: they hold up nobody else."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from reviewlens.v1.review_analysis_service_pb2_grpc import ReviewAnalysisServiceStub

from tests.functional.command_line import wait_until
from tests.functional.reliability.calls import analyze, request_of
from tests.functional.reliability.conftest import Figure
from tests.functional.reliability.door_process import DoorProcess

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
