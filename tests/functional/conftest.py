"""One Triton with tiny models for all tests, and another one for tests that end it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from client.artifact import Artifact, newest_artifact_folder
from server.embedded import EmbeddedTriton
from tests.functional.command_line import ROOT, command
from tests.functional.tiny_repository import write_repository

RunAnalyze = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def tiny_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete model repository of random weights."""
    return write_repository(tmp_path_factory.mktemp("tiny") / "model_repository")


@pytest.fixture(scope="session")
def starter_repository() -> Path:
    """The repository that comes with the project."""
    return ROOT / "model_repository"


@pytest.fixture(scope="session")
def tiny_artifact(tiny_repository: Path) -> Artifact:
    return Artifact.load(newest_artifact_folder(tiny_repository))


@pytest.fixture(scope="session")
def tiny_triton(tiny_repository: Path) -> Iterator[EmbeddedTriton]:
    """A running Triton that no test stops."""
    with EmbeddedTriton(tiny_repository, threads=1) as triton:
        yield triton


@pytest.fixture
def own_triton(tiny_repository: Path) -> Iterator[EmbeddedTriton]:
    """A running Triton to end in a test."""
    with EmbeddedTriton(tiny_repository, threads=1) as triton:
        yield triton


@pytest.fixture(scope="session")
def analyze(tiny_repository: Path, tiny_triton: EmbeddedTriton) -> RunAnalyze:
    """Runs the command line against ``tiny_triton``, or as the arguments say."""

    def run(*arguments: str | Path, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        defaults: list[str | Path] = ["--model-repository", tiny_repository, "--url", tiny_triton.grpc_url]
        return subprocess.run(
            command(*defaults, *arguments),
            input=stdin,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=60,
            env=os.environ | environment,
        )

    return run
