"""The served version changes under load: no call is lost, and no reply mixes versions."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from client.errors import EmbeddedTritonError
from export.versions import add_version, serve_version
from server.embedded import EmbeddedTriton
from server.front_door.rollout.__main__ import main
from server.front_door.triton import OwnTriton
from tests.functional.front_door.calls import request_of, until
from tests.functional.reviews import REVIEWS
from tests.functional.rollout.doors import Callers, counted, open_door, shares, until_served
from tests.functional.rollout.doors import write_plan as write
from tests.functional.tiny_repository import LABELS


async def test_promotion_in_the_repository_starts_a_second_triton_and_stops_the_first(
    own_repository: Path, next_repository: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_door(own_repository) as (door, stub):
        caplog.clear()
        callers = Callers(stub)
        await callers.learn()
        former = door.models.route.champion
        version = add_version(next_repository, own_repository)
        async with callers.calling():
            serve_version(own_repository, version)
            await until_served(stub, {"2-2": 1.0})
            await callers.learn()
            before = callers.versions["2-2"]
            await until(lambda: callers.versions["2-2"] > before + 20)
            serve_version(own_repository, 1)
            await until_served(stub, {LABELS.model_version: 1.0})
        callers.check()
        print(f"{callers.versions.total()} answers while two versions were switched to, all of one version each")
        assert callers.versions.keys() == {LABELS.model_version, "2-2"}
        assert "not ready" not in caplog.text
        assert callers.expected[LABELS.model_version] != callers.expected["2-2"]
        assert counted(door, "reviewlens_rollout_switches_total") == 2
        assert isinstance(former.triton, OwnTriton)
        with pytest.raises(EmbeddedTritonError, match="not running"):
            _ = former.triton.pid


async def test_broken_promotion_changes_nothing_and_the_served_version_is_started_again(
    own_repository: Path, next_repository: Path
) -> None:
    async with open_door(own_repository) as (door, stub):
        version = add_version(next_repository, own_repository)
        (own_repository / "sentiment_classifier" / str(version) / "model.onnx").write_bytes(b"no graph")
        serve_version(own_repository, version)
        await until(lambda: counted(door, "reviewlens_rollout_problem") == 1, 20)
        assert await shares(stub) == {LABELS.model_version: 1.0}
        triton = door.models.route.champion.triton
        assert isinstance(triton, OwnTriton)
        os.kill(triton.pid, signal.SIGKILL)
        connected = door.models.route.champion.url
        await until(lambda: door.models.route.champion.url != connected, 20)
        answer = await stub.Analyze(request_of(*REVIEWS))
        assert answer.model_version == LABELS.model_version
        serve_version(own_repository, 1)
        await until(lambda: counted(door, "reviewlens_rollout_problem") == 0)


async def test_same_triton_with_another_version_is_verified_before_the_switch(
    own_repository: Path, next_repository: Path
) -> None:
    """A Triton that somebody else runs: until it serves what the repository says, the old version stays."""
    version = add_version(next_repository, own_repository)
    with EmbeddedTriton(own_repository, threads=1) as triton:
        async with open_door(own_repository, triton.grpc_url) as (door, stub):
            serve_version(own_repository, version)
            await until(lambda: counted(door, "reviewlens_rollout_problem") == 1)
            assert "does not serve review_analysis version 2" in str(door.rollout_problem)
            assert await shares(stub) == {LABELS.model_version: 1.0}
            assert (await stub.Analyze(request_of(*REVIEWS))).model_version == LABELS.model_version


async def test_challenger_is_promoted_and_rolled_back_by_the_commands(
    rollout_file: Path, tiny_repository: Path, challenger: dict[str, str]
) -> None:
    at = ["--file", str(rollout_file)]
    from_next = ["--model-repository", challenger["model_repository"], "--triton-url", challenger["triton_url"]]
    async with open_door(tiny_repository, rollout={"file": str(rollout_file)}) as (_, stub):
        callers = Callers(stub)
        await callers.learn()
        async with callers.calling():
            assert main(["start", *at, *from_next, "--mode", "split", "--share", "0.25"]) == 0
            await until_served(stub, {"tiny-1": 0.75, "tiny-2": 0.25})
            assert main(["share", "0.5", *at]) == 0
            await until_served(stub, {"tiny-1": 0.5, "tiny-2": 0.5})
            assert main(["promote", *at]) == 0
            await until_served(stub, {"tiny-2": 1.0})
            await callers.learn()
            assert main(["rollback", *at]) == 0
            await until_served(stub, {"tiny-1": 1.0})
        callers.check()
        assert min(callers.versions["tiny-1"], callers.versions["tiny-2"]) > 0


async def test_front_door_starts_with_a_challenger_and_looks_when_told_to(
    rollout_file: Path, tiny_repository: Path, champion: dict[str, object], challenger: dict[str, object]
) -> None:
    write(rollout_file, champion=champion, challenger={**challenger, "mode": "split", "share": 0.4})
    settings = {"file": str(rollout_file), "check_every_s": 3600}
    async with open_door(tiny_repository, rollout=settings) as (door, stub):
        await until_served(stub, {"tiny-1": 0.6, "tiny-2": 0.4})
        write(rollout_file, champion=challenger)
        door.reload()
        await until_served(stub, {"tiny-2": 1.0})
