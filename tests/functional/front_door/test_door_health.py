"""Health says what a real inference says; reflection lists the services."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from server.embedded import EmbeddedTriton
from server.front_door.server import FrontDoor
from server.front_door.triton import OwnTriton
from tests.functional.front_door.calls import raw_call, request_of, until
from tests.functional.front_door.conftest import Stub, door_settings
from tests.functional.front_door.gate import Gate
from tests.functional.reviews import REVIEWS

SERVICE = "reviewlens.v1.ReviewAnalysisService"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def status_of(door: FrontDoor, service: str) -> int:
    async with grpc.aio.insecure_channel(door.address) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service))
    status: int = answer.status
    return status


async def wait_for(door: FrontDoor, status: int) -> None:
    """Watch the health until it has the status."""
    async with grpc.aio.insecure_channel(door.address) as channel, asyncio.timeout(30):
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        while (await watch.read()).status != status:
            pass


@pytest.mark.parametrize("sections", [{"health": {"probe_every_s": 0.1, "probe_timeout_s": 0.2}}])
async def test_ready_means_that_the_models_answer(gated_door: FrontDoor, gate: Gate) -> None:
    assert [await status_of(gated_door, name) for name in ("", SERVICE, "liveness")] == [SERVING] * 3
    gate.shut()
    await wait_for(gated_door, NOT_SERVING)
    assert [await status_of(gated_door, name) for name in ("", "liveness")] == [NOT_SERVING, SERVING]
    gate.open()
    await wait_for(gated_door, SERVING)


@pytest.mark.parametrize("sections", [{"health": {"probe_every_s": 0.1, "probe_timeout_s": 0.2}}])
async def test_metrics_do_not_call_a_door_ready_whose_event_loop_is_stuck(door: FrontDoor) -> None:
    def ready() -> float | None:
        return door.metrics.registry.get_sample_value("reviewlens_ready")

    assert ready() == 1
    time.sleep(1)  # noqa: ASYNC251  (the metrics are asked from a thread of their own, which goes on)
    assert ready() == 0
    await until(lambda: ready() == 1)
    await door.drain(0)
    assert ready() == 0


async def test_before_triton_is_there(tiny_repository: Path) -> None:
    door = FrontDoor(door_settings(tiny_repository, "127.0.0.1:9"))
    await door.start()
    try:
        assert await status_of(door, "") == NOT_SERVING
        async with grpc.aio.insecure_channel(door.address) as channel:
            for method in ("Analyze", "GetInfo"):
                call = raw_call(channel, method)
                with pytest.raises(grpc.aio.AioRpcError, match="no model is ready yet") as failure:
                    await call(request_of("가").SerializeToString() if method == "Analyze" else b"")
                assert failure.value.code() == grpc.StatusCode.UNAVAILABLE
    finally:
        await door.drain(0)


def child_of(process: int) -> int:
    """The one child of a process."""
    (child,) = map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split())
    return child


async def test_embedded_triton_is_started_again(tiny_repository: Path) -> None:
    async with FrontDoor(door_settings(tiny_repository, "")) as door:
        assert isinstance(door.models.route.champion.triton, OwnTriton)
        os.kill(child_of(door.models.route.champion.triton.pid), signal.SIGKILL)
        await wait_for(door, NOT_SERVING)
        await wait_for(door, SERVING)


async def test_triton_that_ended_makes_calls_unavailable(own_triton: EmbeddedTriton, tiny_repository: Path) -> None:
    async with FrontDoor(door_settings(tiny_repository, own_triton.grpc_url)) as door:
        await asyncio.to_thread(own_triton.stop)
        async with grpc.aio.insecure_channel(door.address) as channel:
            call = raw_call(channel, "Analyze")
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                await call(request_of(REVIEWS[0], "  ").SerializeToString())
        assert failure.value.code() == grpc.StatusCode.UNAVAILABLE
        await wait_for(door, NOT_SERVING)


@pytest.mark.parametrize("sections", [{"reflection": True}, {"reflection": False}])
async def test_reflection_lists_the_service(door: FrontDoor, stub: Stub, sections: dict[str, bool]) -> None:
    async with grpc.aio.insecure_channel(door.address) as channel:
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        await call.done_writing()
        if sections["reflection"]:
            answer = await call.read()
            names = {service.name for service in answer.list_services_response.service}
            assert names == {SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
        else:
            assert await call.code() == grpc.StatusCode.UNIMPLEMENTED
