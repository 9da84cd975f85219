"""Front doors with settings that a test chooses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from server.front_door.server import FrontDoor
from tests.functional.front_door.conftest import door_settings

OpenDoor = Callable[..., Awaitable[FrontDoor]]


@asynccontextmanager
async def front_doors(repository: Path, triton_url: str) -> AsyncIterator[OpenDoor]:
    """What opens front doors, ready for calls, with settings by section; they are closed at the end."""
    doors: list[FrontDoor] = []

    async def open_door(**sections: Any) -> FrontDoor:
        door = FrontDoor(door_settings(repository, sections.pop("triton_url", triton_url), **sections))
        doors.append(door)
        await door.start()
        await door.ready()
        return door

    yield open_door
    for door in doors:
        await door.drain(1)
