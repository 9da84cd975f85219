"""The command: signals and drain, configuration check, help."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from reviewlens.v1 import review_analysis_service_pb2 as pb
from reviewlens.v1 import review_analysis_service_pb2_grpc as rpc

from server.embedded import EmbeddedTriton
from server.front_door.__main__ import main
from server.front_door.server import FrontDoor
from tests.functional.command_line import ROOT
from tests.functional.front_door.calls import calls_under_way, request_of, until
from tests.functional.front_door.conftest import door_settings
from tests.functional.front_door.gate import Gate
from tests.functional.reviews import LONG_REVIEW, REVIEWS


@asynccontextmanager
async def running(repository: Path, url: str) -> AsyncIterator[tuple[Process, grpc.aio.Channel]]:
    """The server as a process of its own, ready to answer."""
    arguments = ["--listen", "127.0.0.1:0", "--model-repository", str(repository), "--triton-url", url]
    arguments += ["--metrics.listen", "", "--logging.level", "warning", "--health.probe-every-s", "0.5"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "server.front_door", *arguments, cwd=ROOT, stdout=PIPE, stderr=PIPE, env=dict(os.environ)
    )
    assert process.stdout is not None
    try:
        address = (await asyncio.wait_for(process.stdout.readline(), 20)).decode().split()[-1]
        async with grpc.aio.insecure_channel(address) as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            while (await asyncio.wait_for(watch.read(), 20)).status != health_pb2.HealthCheckResponse.SERVING:
                pass
            yield process, channel
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_sigterm_loses_no_accepted_call(tiny_repository: Path, gate: Gate) -> None:
    async with running(tiny_repository, gate.url) as (process, channel):
        stub = rpc.ReviewAnalysisServiceStub(channel)
        health = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        gate.shut()
        call = asyncio.ensure_future(stub.Analyze(request_of(*REVIEWS, LONG_REVIEW)))
        stream = stub.AnalyzeStream()
        for number in range(5):
            await stream.write(pb.AnalyzeStreamRequest(review=pb.Review(id=str(number), text=REVIEWS[number])))
        await asyncio.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        assert (await asyncio.wait_for(watch.read(), 5)).status == health_pb2.HealthCheckResponse.NOT_SERVING
        await asyncio.sleep(0.3)
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await stub.Analyze(request_of(REVIEWS[0]), timeout=5)
        assert refusal.value.code() == grpc.StatusCode.UNAVAILABLE
        gate.open()
        assert not any(analysis.HasField("error") for analysis in (await call).analyses)
        answers = [await stream.read() for _ in range(5)]
        answered = {answer.analysis.id for answer in answers if isinstance(answer, pb.AnalyzeStreamResponse)}
        assert answered == {"0", "1", "2", "3", "4"}
        assert await stream.code() == grpc.StatusCode.UNAVAILABLE, "the client must know that it is to send elsewhere"
        assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_sigterm_under_load_answers_or_refuses_every_call(tiny_repository: Path, gate: Gate) -> None:
    outcomes: Counter[str] = Counter()

    async def keep_calling(channel: grpc.aio.Channel, client: int) -> None:
        stub = rpc.ReviewAnalysisServiceStub(channel)
        for number in itertools.count():
            text = f"{REVIEWS[client]} {number}번"
            try:
                answer = await stub.Analyze(request_of(text))
            except grpc.aio.AioRpcError as error:
                outcomes[error.code().name] += 1
                await asyncio.sleep(0.01)
            else:
                (analysis,) = answer.analyses
                assert analysis.text == text
                outcomes[analysis.error.code or "OK"] += 1

    async with running(tiny_repository, gate.url) as (process, channel):
        clients = [asyncio.create_task(keep_calling(channel, client)) for client in range(8)]
        await asyncio.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 10) == 0
        for task in clients:
            task.cancel()
        assert {type(end) for end in await asyncio.gather(*clients, return_exceptions=True)} == {asyncio.CancelledError}
    assert set(outcomes) == {"OK", "UNAVAILABLE"}, outcomes


async def test_drain_ends_in_time(tiny_repository: Path, gate: Gate) -> None:
    async with FrontDoor(door_settings(tiny_repository, gate.url, drain_s=0.2)) as door:
        channel = grpc.aio.insecure_channel(door.address)
        gate.shut()
        call = asyncio.ensure_future(rpc.ReviewAnalysisServiceStub(channel).Analyze(request_of(*REVIEWS)))
        await until(lambda: calls_under_way(door) == 1)
        started = time.monotonic()
    assert time.monotonic() - started < 3
    with pytest.raises(grpc.aio.AioRpcError):
        await call
    await channel.close()


async def test_second_signal_ends_at_once(tiny_repository: Path, gate: Gate) -> None:
    async with running(tiny_repository, gate.url) as (process, channel):
        gate.shut()
        call = asyncio.ensure_future(rpc.ReviewAnalysisServiceStub(channel).Analyze(request_of(*REVIEWS)))
        await asyncio.sleep(0.3)
        process.send_signal(signal.SIGINT)
        await asyncio.sleep(0.3)
        assert process.returncode is None
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 5) == 128 + signal.SIGINT
        with pytest.raises(grpc.aio.AioRpcError):
            await call


def test_good_configuration(tiny_repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check-config", "--model-repository", str(tiny_repository), "--limits.max-reviews", "7"]) == 0
    assert "max_reviews = 7\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--model-repository", "/nowhere"], "/nowhere"),
        (["--listen", "0.0.0.0:8500"], "TLS is off"),
        (["--listen", "127.0.0.1:9500"], "metrics.listen: 127.0.0.1:9500 is listen's, too"),
        (["--tls.certificate-file", "/no.pem", "--tls.key-file", "/no.pem"], "/no.pem: cannot be read"),
        (["--auth.tokens-file", "/no.txt"], "auth.tokens_file /no.txt: cannot be read"),
        (["--tracing.otlp-endpoint", "collector"], "tracing.otlp_endpoint: 'collector'"),
        (["--triton-url", "no-such-host.invalid:8001"], "triton_url: no-such-host.invalid:8001"),
        (["--rollout.file", "/no.toml"], "rollout.file"),
    ],
)
def test_wrong_configuration_is_told_apart(
    tiny_repository: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str
) -> None:
    assert main(["--check-config", "--model-repository", str(tiny_repository), *arguments]) == 2
    assert problem in capsys.readouterr().err


def test_every_problem_is_reported_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check-config", "--model-repository", "/nowhere", "--auth.tokens-file", "/no.txt"]) == 2
    errors = capsys.readouterr().err
    assert "/nowhere" in errors
    assert "/no.txt" in errors


def test_address_in_use_is_an_error(tiny_repository: Path, tiny_triton: EmbeddedTriton) -> None:
    taken = tiny_triton.grpc_url
    arguments = ["--listen", taken, "--model-repository", str(tiny_repository), "--triton-url", taken]
    process = subprocess.run(
        [sys.executable, "-m", "server.front_door", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=20
    )
    assert process.returncode == 2
    assert f"error: listen: {taken}: the address is in use" in process.stderr


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = capsys.readouterr().out
    for part in (
        "--limits.max-reviews",
        "REVIEWLENS_LIMITS__MAX_REVIEWS=64",
        "--check-config",
        "SIGTERM",
        "exit status",
    ):
        assert part in text
