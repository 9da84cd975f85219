"""Bearer tokens: every method asks for one, health checks do not, and tokens change while the server runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client import generate_latest
from pydantic import SecretStr
from reviewlens.v1 import review_analysis_service_pb2 as pb
from reviewlens.v1.review_analysis_service_pb2_grpc import ReviewAnalysisServiceStub

from server.front_door import tokens
from server.front_door.tokens import new_token
from tests.functional.command_line import ROOT
from tests.functional.security.authority import Authority
from tests.functional.security.calls import REVIEW, analyze, channel_to, check_health
from tests.functional.security.doors import OpenDoor

TOKEN, LINE = new_token("shop")


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


async def test_no_method_but_health_answers_without_a_token(open_door: OpenDoor) -> None:
    door = await open_door(auth={"tokens": SecretStr(LINE)})

    async def codes(metadata: tuple[tuple[str, str], ...]) -> list[str]:
        async with channel_to(door) as channel:
            service = ReviewAnalysisServiceStub(channel)
            reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
            unknown: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/reviewlens.v1.Unknown/Do")
            calls = [
                service.Analyze(pb.AnalyzeRequest(reviews=[pb.Review(id="1", text=REVIEW)]), metadata=metadata),
                service.GetInfo(pb.GetInfoRequest(), metadata=metadata),
                unknown(b"", metadata=metadata),
            ]
            # These send nothing: they must be refused without waiting for a message.
            streams: list[Any] = [service.AnalyzeStream(metadata=metadata, timeout=10)]
            streams.append(reflection.ServerReflectionInfo(metadata=metadata, timeout=10))
            if metadata == bearer(TOKEN):
                await streams[1].write(reflection_pb2.ServerReflectionRequest(list_services=""))
                for stream in streams:
                    await stream.done_writing()
            for stream in streams:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    async for _ in stream:
                        pass
            return [(await asyncio.wait_for(call.code(), 5)).name for call in (*calls, *streams)]

    assert await codes(()) == ["UNAUTHENTICATED"] * 5
    assert await codes(bearer(new_token("shop")[0])) == ["UNAUTHENTICATED"] * 5
    assert await codes(bearer(TOKEN)) == ["OK", "OK", "UNIMPLEMENTED", "OK", "OK"]
    async with channel_to(door) as channel:
        assert await check_health(channel) == "SERVING"


@pytest.mark.parametrize(
    ("metadata", "details"),
    [
        ((), "authorization: Bearer TOKEN"),
        ((("authorization", TOKEN),), "authorization: Bearer TOKEN"),
        ((("authorization", f"Basic {TOKEN}"),), "authorization: Bearer TOKEN"),
        ((("authorization", "Bearer "),), "authorization: Bearer TOKEN"),
        (bearer(TOKEN) + bearer(TOKEN), "authorization: Bearer TOKEN"),
        (bearer(TOKEN[:-1]), "not a token of this server"),
        (bearer(LINE.split()[1]), "not a token of this server"),
        (bearer(LINE.partition(":")[2]), "not a token of this server"),
    ],
)
async def test_a_refusal_says_what_to_send(
    open_door: OpenDoor, metadata: tuple[tuple[str, str], ...], details: str
) -> None:
    door = await open_door(auth={"tokens": SecretStr(LINE)})
    async with channel_to(door) as channel:
        outcome = await analyze(channel, metadata)
    assert outcome.code == "UNAUTHENTICATED"
    assert details in outcome.details
    assert TOKEN[:-1] not in outcome.details


async def test_tokens_are_replaced_without_a_restart(
    open_door: OpenDoor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "LOOK_EVERY_S", 0.0)
    file = tmp_path / "tokens"
    file.write_text(LINE)
    door = await open_door(auth={"tokens_file": file})
    other, other_line = new_token("shop")

    async def codes() -> list[str]:
        async with channel_to(door) as channel:
            return [(await analyze(channel, bearer(token))).code for token in (TOKEN, other)]

    assert await codes() == ["OK", "UNAUTHENTICATED"]
    file.write_text(f"{LINE}\n{other_line}\n")
    assert await codes() == ["OK", "OK"]
    file.write_text(f"{other_line}\n")
    assert await codes() == ["UNAUTHENTICATED", "OK"]
    file.write_text("half a li")
    assert await codes() == ["UNAUTHENTICATED", "OK"], "the last good tokens stay"


async def test_clients_are_told_apart_and_tokens_never_shown(
    open_door: OpenDoor, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    certificate, key = authority.issue("server").write(tmp_path, "server")
    tls = {"certificate_file": certificate, "key_file": key}
    door = await open_door(tls=tls, auth={"tokens": SecretStr(LINE)})
    async with channel_to(door, authority) as channel:
        assert (await analyze(channel, bearer(TOKEN))).code == "OK"
        assert (await analyze(channel)).code == "UNAUTHENTICATED"
        assert await check_health(channel) == "SERVING"
    calls = [record.__dict__["fields"] for record in caplog.records if record.getMessage() == "call"]
    assert [(call["client"], call["code"]) for call in calls] == [
        ("token:shop", "OK"),
        ("address:127.0.0.1", "UNAUTHENTICATED"),
        ("address:127.0.0.1", "OK"),
    ]
    shown = [caplog.text, str([record.__dict__ for record in caplog.records])]
    shown.append(generate_latest(door.metrics.registry).decode())
    for text in shown:
        assert TOKEN not in text
        assert LINE.partition(":")[2] not in text


def run_server(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The server's command, which must end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "server.front_door", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_command_shows_no_secret_and_refuses_to_listen_in_the_open(tiny_repository: Path) -> None:
    arguments = ("--model-repository", str(tiny_repository), "--listen", "0.0.0.0:0")
    checked = run_server(*arguments, "--check-config", REVIEWLENS_AUTH__TOKENS=LINE)
    assert checked.returncode == 2
    assert "tls.allow_plaintext = true" in checked.stderr
    refused = run_server(*arguments, "--auth.tokens", LINE)
    assert refused.returncode == 2
    assert "REVIEWLENS_AUTH__TOKENS" in refused.stderr
    for output in (checked.stdout, checked.stderr, refused.stdout, refused.stderr):
        assert LINE.partition(":")[2] not in output


async def test_plain_text_can_be_allowed(open_door: OpenDoor) -> None:
    door = await open_door(listen="0.0.0.0:0", tls={"allow_plaintext": True})
    async with channel_to(door) as channel:
        assert (await analyze(channel)).code == "OK"
