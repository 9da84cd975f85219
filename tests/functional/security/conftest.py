"""Front doors on the tiny models, with certificates and tokens made for the test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.embedded import EmbeddedTriton
from tests.functional.security.authority import Authority
from tests.functional.security.doors import OpenDoor, front_doors


@pytest.fixture(scope="session")
def authority() -> Authority:
    """The one that both sides trust."""
    return Authority("authority")


@pytest.fixture(scope="session")
def stranger() -> Authority:
    """One that nobody trusts."""
    return Authority("stranger")


@pytest.fixture
async def open_door(tiny_repository: Path, tiny_triton: EmbeddedTriton) -> AsyncIterator[OpenDoor]:
    """Opens front doors on the tiny models; they are closed after the test."""
    async with front_doors(tiny_repository, tiny_triton.grpc_url) as open_door:
        yield open_door
