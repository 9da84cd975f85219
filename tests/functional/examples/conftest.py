"""Front doors on the tiny models, and the examples run against them as a user runs them."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from server.embedded import EmbeddedTriton
from server.front_door.server import FrontDoor
from server.front_door.settings import Metrics, Settings
from tests.functional.command_line import ROOT

OpenDoor = Callable[..., Awaitable[FrontDoor]]


@dataclass(frozen=True)
class Finished:
    """How a program ended."""

    status: int
    output: str
    errors: str


RunExample = Callable[..., Awaitable[Finished]]
StartExample = Callable[..., Awaitable[asyncio.subprocess.Process]]


@pytest.fixture
async def open_door(tiny_repository: Path, tiny_triton: EmbeddedTriton) -> AsyncIterator[OpenDoor]:
    """Opens front doors with the given settings; they are closed after the test."""
    doors: list[FrontDoor] = []

    async def start(**settings: object) -> FrontDoor:
        common = {"listen": "127.0.0.1:0", "triton_url": tiny_triton.grpc_url, "model_repository": tiny_repository}
        door = FrontDoor(Settings.model_validate(common | {"metrics": Metrics(listen="")} | settings))
        doors.append(door)
        await door.start()
        await door.ready()
        return door

    yield start
    for door in doors:
        await door.drain(1)


@pytest.fixture
def start_example() -> StartExample:
    """Starts a program of ``examples/`` with the arguments and a token; its standard streams are pipes."""

    async def start(name: str, *arguments: str | Path, token: str = "") -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", str(ROOT / "examples" / name), *map(str, arguments)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | {"REVIEWLENS_TOKEN": token},
        )

    return start


@pytest.fixture
def run_example(start_example: StartExample) -> RunExample:
    """Runs a program of ``examples/`` with the arguments, the lines on its standard input, and a token."""

    async def run(name: str, *arguments: str | Path, lines: str = "", token: str = "") -> Finished:
        program = await start_example(name, *arguments, token=token)
        output, errors = await asyncio.wait_for(program.communicate(lines.encode()), 60)
        return Finished(program.returncode or 0, output.decode(), errors.decode())

    return run
