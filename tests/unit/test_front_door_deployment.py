"""What becomes of a version's connections when its Triton changes or it ends; no Triton runs here."""

from __future__ import annotations

import asyncio
import gc
import weakref
from pathlib import Path

import pytest

from client.analyzer import ReviewAnalyzer
from server.front_door.deployment import Deployment
from server.front_door.metrics import Metrics
from server.front_door.rollout.plan import Source
from server.front_door.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


class Analyzer:
    """Stands in for an analyzer that is connected."""

    def __init__(self) -> None:
        self.closed = False

    async def close(self) -> None:
        self.closed = True


class MovingTriton:
    """Is at another address each time that it is started."""

    def __init__(self) -> None:
        self.starts = 0

    async def url(self) -> str:
        return f"127.0.0.1:{self.starts}"

    async def ended(self, within_s: float) -> bool:
        return False

    async def stop(self) -> None:
        pass


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[Analyzer]]:
    """The analyzers that deployments connected, first to last."""
    made: list[weakref.ref[Analyzer]] = []

    async def connect(*_: object, **__: object) -> Analyzer:
        analyzer = Analyzer()
        made.append(weakref.ref(analyzer))
        return analyzer

    monkeypatch.setattr(ReviewAnalyzer, "connect", connect)
    return made


@pytest.fixture
def deployment(made: list[weakref.ref[Analyzer]]) -> Deployment:
    source = Source(triton_url="127.0.0.1:9", model_repository=ROOT / "model_repository").pinned()
    deployment = Deployment(source, Settings(), Metrics())
    deployment.triton = MovingTriton()
    return deployment


async def test_nothing_is_kept_of_the_tritons_before(deployment: Deployment, made: list[weakref.ref[Analyzer]]) -> None:
    assert isinstance(deployment.triton, MovingTriton)
    for _ in range(3):
        await deployment.connect()
        deployment.triton.starts += 1
    for _ in range(3):
        await asyncio.sleep(0)
    gc.collect()
    assert [analyzer() is None for analyzer in made] == [True, True, False]
    await deployment.close()


async def test_the_end_closes_what_calls_still_use(deployment: Deployment, made: list[weakref.ref[Analyzer]]) -> None:
    assert isinstance(deployment.triton, MovingTriton)
    await deployment.connect()
    async with deployment.use() as former:
        deployment.triton.starts += 1
        await deployment.connect()
        async with deployment.use() as current:
            await deployment.close()
            assert isinstance(former, Analyzer)
            assert isinstance(current, Analyzer)
            assert former.closed
            assert current.closed
