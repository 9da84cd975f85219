"""A front door with a rollout file, callers of it, and what each version says about a review."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import grpc
from reviewlens.v1 import review_analysis_service_pb2 as pb
from reviewlens.v1 import review_analysis_service_pb2_grpc as rpc
from reviewlens.v1.review_analysis_pb2 import ReviewAnalysis

from server.front_door.rollout import plan
from server.front_door.server import FrontDoor
from tests.functional.front_door.calls import request_of
from tests.functional.front_door.conftest import door_settings
from tests.functional.reviews import REVIEWS

Stub: TypeAlias = "rpc.ReviewAnalysisServiceAsyncStub"
PAUSE_S = 0.02
NO_HIGHLIGHTS = pb.AnalysisOptions(highlight_mode=pb.HIGHLIGHT_MODE_OFF)


def write_plan(file: Path, **tables: dict[str, object]) -> None:
    """Write a rollout file."""
    plan.write_plan(file, plan.checked_plan(tables))


@asynccontextmanager
async def open_door(repository: Path, url: str = "", **sections: Any) -> AsyncIterator[tuple[FrontDoor, Stub]]:
    """A front door that looks for changes every 50 ms."""
    sections["rollout"] = {"check_every_s": 0.05, "report_every_s": 0.1, **sections.get("rollout", {})}
    async with (
        FrontDoor(door_settings(repository, url, **sections)) as door,
        grpc.aio.insecure_channel(door.address) as channel,
    ):
        yield door, rpc.ReviewAnalysisServiceStub(channel)


async def shares(stub: Stub) -> dict[str, float]:
    """What GetInfo says about the versions."""
    info = await stub.GetInfo(pb.GetInfoRequest())
    return {model.model_version: model.traffic_share for model in info.models}


async def until_served(stub: Stub, wanted: dict[str, float], timeout_s: float = 20.0) -> None:
    """Wait until these versions have these shares."""
    for _ in range(round(timeout_s / PAUSE_S)):
        if await shares(stub) == wanted:
            return
        await asyncio.sleep(PAUSE_S)
    raise AssertionError(f"served is {await shares(stub)}, not {wanted}")


def counted(door: FrontDoor, name: str, **labels: str) -> float:
    """The value of a metric; 0 where it has not been counted."""
    return door.metrics.registry.get_sample_value(name, labels) or 0.0


def found(analysis: ReviewAnalysis) -> list[tuple[object, ...]]:
    """What an analysis says: keywords with sentiments, probabilities rounded, highlights."""
    return [
        (
            keyword.keyword,
            keyword.sentiment,
            round(keyword.probability, 3),
            *((highlight.start, highlight.end) for highlight in keyword.highlights),
        )
        for keyword in analysis.keywords
    ]


Findings = dict[str, list[tuple[object, ...]]]


@dataclass
class Callers:
    """Clients that call without a pause. What they saw is for the test to judge."""

    stub: Stub
    versions: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    mixed: int = 0
    crossed: int = 0
    expected: dict[str, Findings] = field(default_factory=dict)

    async def learn(self) -> None:
        """Take what is served now for what its version says about each review."""
        answer = await self.stub.Analyze(request_of(*REVIEWS))
        self.expected[answer.model_version] = {analysis.text: found(analysis) for analysis in answer.analyses}

    @asynccontextmanager
    async def calling(self, clients: int = 4) -> AsyncIterator[None]:
        """Call with several clients, and in a stream, until the block ends."""
        stop = asyncio.Event()
        tasks = [asyncio.create_task(self._call(stop, number)) for number in range(clients)]
        tasks.append(asyncio.create_task(self._stream(stop)))
        try:
            yield
        finally:
            stop.set()
            await asyncio.gather(*tasks)

    async def _call(self, stop: asyncio.Event, number: int) -> None:
        while not stop.is_set():
            texts = [REVIEWS[(number + step) % len(REVIEWS)] for step in range(3)]
            number += 1
            try:
                answer = await self.stub.Analyze(request_of(*texts), timeout=20)
            except grpc.aio.AioRpcError as error:
                self.failures.append(f"{error.code()}: {error.details()}")
            else:
                self._judge(texts, list(answer.analyses), answer.model_version)

    async def _stream(self, stop: asyncio.Event) -> None:
        call = self.stub.AnalyzeStream()
        number = 0
        while not stop.is_set():
            text = REVIEWS[number % len(REVIEWS)]
            number += 1
            await call.write(pb.AnalyzeStreamRequest(review=pb.Review(id=str(number), text=text)))
            response = await call.read()
            assert isinstance(response, pb.AnalyzeStreamResponse)
            self._judge([text], [response.analysis], response.analysis.model_version)
        await call.done_writing()
        if await call.code() != grpc.StatusCode.OK:
            self.failures.append(f"stream: {await call.code()}: {await call.details()}")

    def _judge(self, texts: list[str], analyses: list[ReviewAnalysis], version: str) -> None:
        self.versions[version] += 1
        self.failures += [analysis.error.message for analysis in analyses if analysis.HasField("error")]
        self.mixed += any(analysis.model_version != version for analysis in analyses)
        if version in self.expected:
            said = [self.expected[version][text] for text in texts]
            self.crossed += said != [found(analysis) for analysis in analyses]

    def check(self) -> None:
        """No call failed, and every answer is, as a whole, what its version says."""
        assert not self.failures, self.failures[:3]
        assert (self.mixed, self.crossed) == (0, 0)
