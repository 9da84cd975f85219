"""The images of the front door, built once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from server.embedded import LOOPBACK
from tests.functional.command_line import ROOT
from tests.functional.docker.dockerfile import Builder, Stage
from tests.functional.reliability.door_process import free_port


@dataclass(frozen=True)
class Image:
    """An image, and the names and versions of the packages in it."""

    builder: Builder
    stage: Stage
    packages: dict[str, str]


@pytest.fixture(scope="session")
def builder(tiny_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Builder:
    root = tmp_path_factory.mktemp("image")
    return Builder(ROOT / "docker" / "front_door.Dockerfile", ROOT, root, {"models": tiny_repository})


@pytest.fixture(scope="session")
def front_door_image(builder: Builder) -> Image:
    stage = builder.build("front-door")
    return Image(builder, stage, installed(builder))


@pytest.fixture(scope="session")
def cpu_image(front_door_image: Image) -> Image:
    """Shares its folder with the front door's image, so it comes after."""
    stage = front_door_image.builder.build("cpu")
    return Image(front_door_image.builder, stage, installed(front_door_image.builder))


def installed(builder: Builder) -> dict[str, str]:
    """Names, as the index spells them, and versions of what is installed in the image."""
    found = {}
    for folder in builder.path("/opt/reviewlens").glob("lib/python*/site-packages/*.dist-info"):
        name, version = folder.name.removesuffix(".dist-info").rsplit("-", 1)
        found[name.lower().replace("_", "-").replace(".", "-")] = version
    return found


@pytest.fixture
def addresses() -> dict[str, str]:
    """Free ports on loopback in place of the image's own, which listen to everybody."""
    return {
        "REVIEWLENS_LISTEN": f"{LOOPBACK}:{free_port()}",
        "REVIEWLENS_METRICS__LISTEN": f"{LOOPBACK}:{free_port()}",
        "REVIEWLENS_HEALTH__PROBE_EVERY_S": "0.5",
    }
