"""Connections: an old one is replaced and an idle one closed, and no call notices."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from reviewlens.v1 import review_analysis_service_pb2 as pb
from reviewlens.v1.review_analysis_service_pb2_grpc import ReviewAnalysisServiceStub

from server.front_door.server import FrontDoor
from tests.functional.front_door.calls import request_of, until
from tests.functional.reliability.faulty_proxy import FaultyProxy
from tests.functional.reviews import REVIEWS


@pytest.mark.parametrize("sections", [{"connections": {"max_age_s": 0.5}}])
async def test_clients_connect_anew_after_a_while_and_lose_no_call(door: FrontDoor) -> None:
    with FaultyProxy(door.address) as proxy:
        async with grpc.aio.insecure_channel(proxy.url) as channel:
            stub: Any = ReviewAnalysisServiceStub(channel)
            stream = stub.AnalyzeStream()
            await stream.write(pb.AnalyzeStreamRequest(review=pb.Review(id="0", text=REVIEWS[0])))
            assert (await stream.read()).analysis.id == "0"
            answered = 0
            while proxy.connections < 4:
                reply = await stub.Analyze(request_of(REVIEWS[0]))
                assert not reply.analyses[0].HasField("error")
                answered += 1
                await asyncio.sleep(0.01)
            assert answered > 20
            await stream.write(pb.AnalyzeStreamRequest(review=pb.Review(id="1", text=REVIEWS[1])))
            assert (await stream.read()).analysis.id == "1", "a stream keeps its connection as long as it lasts"
            await stream.done_writing()


@pytest.mark.parametrize("sections", [{"connections": {"max_idle_s": 0.3}}])
async def test_a_connection_without_calls_is_closed(door: FrontDoor) -> None:
    with FaultyProxy(door.address) as proxy:
        async with grpc.aio.insecure_channel(proxy.url) as channel:
            stub: Any = ReviewAnalysisServiceStub(channel)
            await stub.Analyze(request_of(REVIEWS[0]))
            assert channel.get_state() == grpc.ChannelConnectivity.READY
            await until(lambda: channel.get_state() == grpc.ChannelConnectivity.IDLE)
            assert (await stub.Analyze(request_of(REVIEWS[0]))).analyses[0].keywords
        assert proxy.connections == 2
