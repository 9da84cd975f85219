"""A front door in this process, before the tests' tiny Triton, or before a gate that can hold back its answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import pytest
from reviewlens.v1 import review_analysis_service_pb2_grpc as rpc

from server.embedded import EmbeddedTriton
from server.front_door.server import FrontDoor
from server.front_door.settings import Settings
from tests.functional.front_door.gate import Gate

Stub: TypeAlias = "rpc.ReviewAnalysisServiceAsyncStub"


def door_settings(repository: Path, triton_url: str, **sections: Any) -> Settings:
    """Settings for tests: a free port, no metrics server, short intervals."""
    return Settings.model_validate(
        {
            "listen": "127.0.0.1:0",
            "triton_url": triton_url,
            "model_repository": repository,
            "drain_s": 5,
            "metrics": {"listen": ""},
            "health": {"probe_every_s": 0.2, "probe_timeout_s": 2},
            **sections,
        }
    )


@pytest.fixture
def sections() -> dict[str, Any]:
    """Settings that a test wants different; override with parametrize."""
    return {}


@pytest.fixture
async def gate(tiny_triton: EmbeddedTriton) -> AsyncIterator[Gate]:
    async with Gate(tiny_triton.grpc_url) as gate:
        yield gate


@pytest.fixture
async def door(
    tiny_repository: Path, tiny_triton: EmbeddedTriton, sections: dict[str, Any]
) -> AsyncIterator[FrontDoor]:
    async with FrontDoor(door_settings(tiny_repository, tiny_triton.grpc_url, **sections)) as door:
        yield door


@pytest.fixture
async def gated_door(tiny_repository: Path, gate: Gate, sections: dict[str, Any]) -> AsyncIterator[FrontDoor]:
    async with FrontDoor(door_settings(tiny_repository, gate.url, **sections)) as door:
        yield door
        gate.open()


@pytest.fixture
async def stub(door: FrontDoor) -> AsyncIterator[Stub]:
    async with grpc.aio.insecure_channel(door.address) as channel:
        yield rpc.ReviewAnalysisServiceStub(channel)


@pytest.fixture
async def gated_stub(gated_door: FrontDoor) -> AsyncIterator[Stub]:
    async with grpc.aio.insecure_channel(gated_door.address) as channel:
        yield rpc.ReviewAnalysisServiceStub(channel)
