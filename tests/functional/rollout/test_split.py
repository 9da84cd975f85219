"""A share of the calls goes to the challenger; what it fails on, the champion answers."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import tempfile
from collections import Counter
from pathlib import Path

import grpc
import pytest
from reviewlens.v1 import review_analysis_service_pb2 as pb

from client.whole_files import write_whole
from server.front_door.triton import OwnTriton
from tests.functional.front_door.calls import request_of, stream_of, until
from tests.functional.reviews import REVIEWS
from tests.functional.rollout.doors import (
    NO_HIGHLIGHTS,
    Callers,
    Stub,
    counted,
    open_door,
    shares,
    until_served,
    write_plan,
)

CALLS, SHARE = 500, 0.3
Table = dict[str, object]


async def versions_of(stub: Stub, calls: int, **metadata: str) -> Counter[str]:
    """Which versions answer so many calls, 16 at a time."""
    few = asyncio.Semaphore(16)

    async def call() -> str:
        async with few:
            request = request_of(REVIEWS[0], options=NO_HIGHLIGHTS)
            keys = tuple((name.replace("_", "-"), value) for name, value in metadata.items())
            return (await stub.Analyze(request, metadata=keys, timeout=20)).model_version

    return Counter(await asyncio.gather(*(call() for _ in range(calls))))


async def test_challenger_answers_its_share_and_the_same_keys(
    rollout_file: Path, tiny_repository: Path, champion: Table, challenger: Table
) -> None:
    write_plan(rollout_file, champion=champion, challenger={**challenger, "mode": "split", "share": SHARE})
    async with open_door(tiny_repository, rollout={"file": str(rollout_file)}) as (door, stub):
        await until_served(stub, {"tiny-1": 1 - SHARE, "tiny-2": SHARE})
        versions = await versions_of(stub, CALLS)
        # 4.5 standard deviations: missed by chance once in 150,000 runs.
        assert abs(versions["tiny-2"] - SHARE * CALLS) < 4.5 * math.sqrt(CALLS * SHARE * (1 - SHARE))
        assert versions.total() == CALLS
        answered = "reviewlens_calls_by_model_total"
        assert counted(door, answered, model_version="tiny-2", role="challenger") == versions["tiny-2"]
        assert counted(door, answered, model_version="tiny-1", role="champion") == versions["tiny-1"]
        of_keys = [await versions_of(stub, 5, x_rollout_key=f"shop-{number}") for number in range(12)]
        assert {len(versions) for versions in of_keys} == {1}
        assert {next(iter(versions)) for versions in of_keys} == {"tiny-1", "tiny-2"}


async def test_a_stream_stays_with_its_version(
    rollout_file: Path, tiny_repository: Path, champion: Table, challenger: Table
) -> None:
    write_plan(rollout_file, champion=champion, challenger={**challenger, "mode": "split", "share": 0.5})
    async with open_door(tiny_repository, rollout={"file": str(rollout_file)}) as (_, stub):
        await until_served(stub, {"tiny-1": 0.5, "tiny-2": 0.5})
        seen = set()
        for number in range(12):
            metadata = (("x-rollout-key", f"shop-{number}"),)
            call = stub.AnalyzeStream(stream_of(REVIEWS[:4]), metadata=metadata)
            versions = {response.analysis.model_version async for response in call}
            assert len(versions) == 1
            seen |= versions
        assert seen == {"tiny-1", "tiny-2"}


async def test_champion_answers_what_the_challenger_fails_on(
    rollout_file: Path,
    tiny_repository: Path,
    champion: Table,
    next_repository: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The challenger's Triton is killed under load; once it is back, it gets its share again. Nothing of it stays."""
    temporary = tmp_path_factory.mktemp("temporary")
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    embedded = {"model_repository": str(next_repository), "mode": "split", "share": 1.0}
    write_plan(rollout_file, champion=champion, challenger=embedded)
    async with open_door(tiny_repository, rollout={"file": str(rollout_file)}) as (door, stub):
        callers = Callers(stub)
        await callers.learn()
        await until_served(stub, {"tiny-2": 1.0, "tiny-1": 0.0})
        await callers.learn()
        deployment = door.models.route.challenger
        assert deployment is not None
        assert isinstance(deployment.triton, OwnTriton)
        async with callers.calling():
            await until(lambda: callers.versions["tiny-2"] > 10)
            os.kill(deployment.triton.pid, signal.SIGKILL)
            await until(lambda: callers.versions["tiny-1"] > 0)
            before = callers.versions["tiny-2"]
            await until(lambda: callers.versions["tiny-2"] > before + 10, 20)
        callers.check()
        assert counted(door, "reviewlens_challenger_fallbacks_total", code="UNAVAILABLE") > 0
        await until_served(stub, {"tiny-2": 1.0, "tiny-1": 0.0})
    # A model that computed when its server died would wait for it forever.
    await until(lambda: list(temporary.iterdir()) == [])


async def test_what_is_wrong_with_the_call_itself_stays_wrong(
    rollout_file: Path, tiny_repository: Path, champion: Table, challenger: Table
) -> None:
    write_plan(rollout_file, champion=champion, challenger={**challenger, "mode": "split", "share": 1.0})
    async with open_door(tiny_repository, rollout={"file": str(rollout_file)}) as (_, stub):
        await until_served(stub, {"tiny-2": 1.0, "tiny-1": 0.0})
        answer = await stub.Analyze(request_of(REVIEWS[0], "  "))
        assert answer.model_version == "tiny-2"
        assert answer.analyses[1].error.code == "INVALID_ARGUMENT"
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await stub.Analyze(request_of(REVIEWS[0], options=pb.AnalysisOptions(keywords=["향기"])))
        assert failure.value.code() == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[champion\n", "not TOML"),
        ('[champion]\nmodel_repository = "{tiny}"\nurl = "triton:8001"\n', "champion.url"),
        ('[champion]\nmodel_repository = "{tiny}"\ntriton_url = "{closed}"\n', "no Triton answers at {closed}"),
        ('[champion]\nmodel_repository = "missing"\n', "missing"),
        (
            '[champion]\nmodel_repository = "{tiny}"\ntriton_url = "{url}"\n'
            '[challenger]\nmodel_repository = "{next}"\ntriton_url = "{url}"\nmode = "split"\nshare = 0.5\n',
            "_sha256 is",
        ),
        (
            '[champion]\nmodel_repository = "{tiny}"\ntriton_url = "{url}"\n'
            '[challenger]\nmodel_repository = "{tiny}"\nmode = "split"\nshare = 0.5\n',
            "model version tiny-1 like the champion",
        ),
    ],
    ids=["syntax", "unknown", "unreachable", "no repository", "another model", "same version"],
)
async def test_what_cannot_be_served_changes_nothing(
    rollout_file: Path,
    tiny_repository: Path,
    next_repository: Path,
    champion: Table,
    unused_tcp_address: str,
    text: str,
    problem: str,
) -> None:
    values = {"tiny": tiny_repository, "next": next_repository, "url": champion["triton_url"]}
    values["closed"] = unused_tcp_address
    for name, value in values.items():
        text, problem = text.replace(f"{{{name}}}", str(value)), problem.replace(f"{{{name}}}", str(value))
    async with open_door(tiny_repository, rollout={"file": str(rollout_file)}) as (door, stub):
        write_whole(rollout_file, text)
        await until(lambda: door.rollout_problem is not None)
        assert problem in str(door.rollout_problem)
        assert await shares(stub) == {"tiny-1": 1.0}
        assert counted(door, "reviewlens_rollout_switches_total") == 0
        assert (await stub.Analyze(request_of(REVIEWS[0]))).model_version == "tiny-1"
        write_plan(rollout_file, champion=champion)
        await until(lambda: door.rollout_problem is None)
