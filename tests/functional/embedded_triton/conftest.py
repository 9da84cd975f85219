"""One server for the whole folder, and what a process started and left behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tritonclient.grpc as triton_grpc

from server.embedded import CHANNEL_ARGUMENTS, EmbeddedTriton
from tests.functional.embedded_triton.tiny_models import write_repository


@pytest.fixture(scope="session")
def shared_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound repository that no test changes."""
    return write_repository(tmp_path_factory.mktemp("repository"))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A sound repository of the test's own, to break."""
    return write_repository(tmp_path / "repository")


@pytest.fixture(scope="session")
def triton(shared_repository: Path) -> Iterator[EmbeddedTriton]:
    with EmbeddedTriton(shared_repository) as server:
        yield server


@pytest.fixture
def client(triton: EmbeddedTriton) -> Iterator[triton_grpc.InferenceServerClient]:
    with triton_grpc.InferenceServerClient(triton.grpc_url, channel_args=CHANNEL_ARGUMENTS) as connection:
        yield connection


def becomes_true(condition: Callable[[], bool], timeout_s: float = 15) -> bool:
    """Whether a condition holds within a time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
