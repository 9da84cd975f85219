"""Front doors to put to the test, and the figures that the tests measure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from server.embedded import EmbeddedTriton
from tests.functional.reliability.door_process import DoorProcess

StartDoor = Callable[..., DoorProcess]
Figure = Callable[[str], None]

FIGURES = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def door(
    tiny_repository: Path, tiny_triton: EmbeddedTriton, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DoorProcess]:
    """A front door that no test ends or changes, with models that only work for calls: it probes them once."""
    settings = {"triton-url": tiny_triton.grpc_url, "health.probe-every-s": 3600}
    with DoorProcess(tiny_repository, tmp_path_factory.mktemp("door"), settings) as running:
        yield running


@pytest.fixture
def start_door(tiny_repository: Path, tmp_path: Path) -> Iterator[StartDoor]:
    """Starts front doors with settings of the test's own."""
    with ExitStack() as doors:

        def start(settings: dict[str, Any] | None = None, repository: Path = tiny_repository) -> DoorProcess:
            return doors.enter_context(DoorProcess(repository, tmp_path, settings))

        yield start


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Figure:
    """Tells a measured figure in the summary, for docs/reliability.md."""
    figures = request.config.stash.setdefault(FIGURES, [])
    return lambda text: figures.append(f"{request.node.name}: {text}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show the figures, also when every test passed."""
    if figures := config.stash.get(FIGURES, []):
        terminalreporter.section("figures")
        terminalreporter.write_line("\n".join(figures))
