"""Two versions of the tiny models, each in a repository of its own, with a Triton each that no test stops."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.embedded import EmbeddedTriton
from tests.functional.rollout.doors import write_plan
from tests.functional.tiny_repository import write_repository


@pytest.fixture(scope="session")
def next_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Other random weights than ``tiny_repository``'s, as model version tiny-2."""
    return write_repository(tmp_path_factory.mktemp("next") / "model_repository", seed=6, model_version="tiny-2")


@pytest.fixture(scope="session")
def next_triton(next_repository: Path) -> Iterator[EmbeddedTriton]:
    with EmbeddedTriton(next_repository, threads=1) as triton:
        yield triton


@pytest.fixture
def own_repository(tiny_repository: Path, tmp_path: Path) -> Path:
    """A copy of ``tiny_repository`` to change."""
    return shutil.copytree(tiny_repository, tmp_path / "model_repository")


@pytest.fixture
def champion(tiny_repository: Path, tiny_triton: EmbeddedTriton) -> dict[str, object]:
    """Where tiny-1 is."""
    return {"triton_url": tiny_triton.grpc_url, "model_repository": str(tiny_repository)}


@pytest.fixture
def challenger(next_repository: Path, next_triton: EmbeddedTriton) -> dict[str, object]:
    """Where tiny-2 is."""
    return {"triton_url": next_triton.grpc_url, "model_repository": str(next_repository)}


@pytest.fixture
def rollout_file(tmp_path: Path, champion: dict[str, object]) -> Path:
    """A rollout file with the champion alone."""
    file = tmp_path / "rollout.toml"
    write_plan(file, champion=champion)
    return file


@pytest.fixture
def unused_tcp_address() -> str:
    """HOST:PORT at which nothing listens."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{holder.getsockname()[1]}"
