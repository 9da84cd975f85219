"""Servers that are absent, differ, are late or die, and programs that are stopped."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from client.analyzer import Progress, ReviewAnalyzer
from client.artifact import LABELS_FILE, Artifact, Labels, sha256_of
from client.errors import (
    DeadlineExceededError,
    InferenceError,
    ServerUnavailableError,
)
from client.options import AnalysisOptions, BatchingOptions
from client.results import ReviewInput
from client.transport import TritonTransport
from server.embedded import EmbeddedTriton
from tests.functional.command_line import command, json_lines, marked_processes, wait_until
from tests.functional.conftest import RunAnalyze
from tests.functional.reviews import REVIEWS

TEXTS = [f"{REVIEWS[number % len(REVIEWS)]} {number}번" for number in range(300)]


@pytest.fixture
def unused_url() -> str:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{holder.getsockname()[1]}"


def test_no_server_at_the_url_exits_2_soon(analyze: RunAnalyze, unused_url: str, tmp_path: Path) -> None:
    started = time.monotonic()
    run = analyze(REVIEWS[0], "--url", unused_url, "--output", tmp_path / "a.json", "--format", "json")
    assert (run.returncode, run.stdout) == (2, "")
    assert f"error: no Triton answers at {unused_url}" in run.stderr
    assert list(tmp_path.iterdir()) == []
    assert time.monotonic() - started < 15


def test_a_server_that_accepts_and_never_answers_is_given_up(
    tiny_artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.transport.CONNECT_TIMEOUT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ServerUnavailableError, match=url):
            asyncio.run(ReviewAnalyzer.connect(url, tiny_artifact))


def changed_copy(repository: Path, target: Path, **changes: object) -> Path:
    """A repository whose labels differ from the server's."""
    shutil.copytree(repository, target)
    file = target / "review_analysis" / "1" / LABELS_FILE
    labels = replace(Labels.from_json(file.read_text(encoding="utf-8")), **changes)  # type: ignore[arg-type]
    file.write_text(labels.to_json(), encoding="utf-8")
    return target


def test_other_labels_are_refused_with_both_hashes(
    analyze: RunAnalyze, tiny_repository: Path, tiny_artifact: Artifact, tmp_path: Path
) -> None:
    other = changed_copy(tiny_repository, tmp_path / "other", thresholds=(0.9,) * 5)
    run = analyze(REVIEWS[0], "--model-repository", other)
    assert (run.returncode, run.stdout) == (2, "")
    assert "labels_sha256" in run.stderr
    assert tiny_artifact.labels_sha256 in run.stderr
    assert Artifact.load(other / "review_analysis" / "1").labels_sha256 in run.stderr


def test_another_tokenizer_is_refused_with_both_hashes(
    analyze: RunAnalyze, tiny_repository: Path, tiny_artifact: Artifact, tmp_path: Path
) -> None:
    shutil.copytree(tiny_repository, tmp_path / "other")
    folder = tmp_path / "other" / "review_analysis" / "1"
    tokenizer = folder / "tokenizer.json"
    tokenizer.write_bytes(tokenizer.read_bytes() + b"\n")
    # Consistent in itself, as an export of another training is.
    labels = tiny_artifact.labels.to_json().replace(
        tiny_artifact.labels.tokenizer_sha256, sha256_of(tokenizer.read_bytes())
    )
    (folder / LABELS_FILE).write_text(labels, encoding="utf-8")
    run = analyze(REVIEWS[0], "--model-repository", tmp_path / "other")
    assert (run.returncode, run.stdout) == (2, "")
    assert "tokenizer_sha256" in run.stderr
    assert tiny_artifact.labels.tokenizer_sha256 in run.stderr
    assert sha256_of(tokenizer.read_bytes()) in run.stderr


def test_a_version_that_is_not_served_is_refused(analyze: RunAnalyze, tiny_repository: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_repository, tmp_path / "newer")
    ensemble = tmp_path / "newer" / "review_analysis"
    (ensemble / "1").rename(ensemble / "2")
    config = ensemble / "config.pbtxt"
    config.write_text(config.read_text(encoding="utf-8").replace("versions: [1]", "versions: [2]"), encoding="utf-8")
    run = analyze(REVIEWS[0], "--model-repository", tmp_path / "newer")
    assert (run.returncode, run.stdout) == (2, "")
    assert "does not serve review_analysis version 2" in run.stderr
    assert "review_analysis/1 READY" in run.stderr


async def test_answers_are_checked_for_shape(tiny_triton: EmbeddedTriton, tiny_artifact: Artifact) -> None:
    """The transport of a client that believes in one keyword less, and did not ask the server first."""
    labels = tiny_artifact.labels
    fewer = replace(labels, keywords=labels.keywords[:-1], thresholds=labels.thresholds[:-1])
    transport = TritonTransport(tiny_triton.grpc_url, replace(tiny_artifact, labels=fewer))
    row = np.array([[0, 7, 2]])
    try:
        with pytest.raises(InferenceError, match=r"keyword_probs: float32 \(1, 5\), expected float32 \(1, 4\)"):
            await transport.infer_keywords(row, np.ones_like(row))
    finally:
        await transport.close()


def test_a_deadline_fails_the_reviews_and_not_the_program(analyze: RunAnalyze) -> None:
    run = analyze(*REVIEWS[:3], "--deadline", "0.00001", "--format", "jsonl")
    analyses = json_lines(run.stdout)
    assert run.returncode == 1
    assert [a["error"]["code"] for a in analyses] == ["DEADLINE_EXCEEDED"] * 3
    assert run.stderr.count("DEADLINE_EXCEEDED") == 3


async def test_a_server_that_hangs_is_cut_off_at_the_deadline_and_used_again(
    own_triton: EmbeddedTriton, tiny_artifact: Artifact
) -> None:
    async with await ReviewAnalyzer.connect(
        own_triton.grpc_url, tiny_artifact, batching=BatchingOptions(request_timeout_s=0.5)
    ) as analyzer:
        _signal_tree(own_triton.pid, signal.SIGSTOP)
        started = time.monotonic()
        (late,) = await analyzer.analyze(REVIEWS[:1])
        waited = time.monotonic() - started
        _signal_tree(own_triton.pid, signal.SIGCONT)
        assert late.error.code == DeadlineExceededError.code
        assert 0.4 < waited < 5
        (after,) = await analyzer.analyze(REVIEWS[:1])
        assert after.keywords


async def test_the_callers_deadline_bounds_a_whole_call(own_triton: EmbeddedTriton, tiny_artifact: Artifact) -> None:
    async with await ReviewAnalyzer.connect(own_triton.grpc_url, tiny_artifact) as analyzer:
        _signal_tree(own_triton.pid, signal.SIGSTOP)
        started = time.monotonic()
        analyses = await analyzer.analyze(TEXTS, deadline_s=0.5)
        waited = time.monotonic() - started
        _signal_tree(own_triton.pid, signal.SIGCONT)
    assert {a.error.code for a in analyses} == {"DEADLINE_EXCEEDED"}
    assert waited < 5


async def test_the_probe_fails_while_triton_hangs_and_when_it_is_gone(
    own_triton: EmbeddedTriton, tiny_artifact: Artifact
) -> None:
    async with await ReviewAnalyzer.connect(own_triton.grpc_url, tiny_artifact) as analyzer:
        _signal_tree(own_triton.pid, signal.SIGSTOP)
        with pytest.raises(DeadlineExceededError):
            await analyzer.probe(0.2)
        _signal_tree(own_triton.pid, signal.SIGCONT)
        await analyzer.probe(10)
        _signal_tree(own_triton.pid, signal.SIGKILL)
        with pytest.raises(ServerUnavailableError):
            await analyzer.probe(0.5)


def _signal_tree(pid: int, number: int) -> None:
    """Signal a process and its descendants."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        _signal_tree(int(child), number)
    os.kill(pid, number)


async def test_triton_killed_between_batches_fails_only_the_reviews_behind(
    own_triton: EmbeddedTriton, tiny_triton: EmbeddedTriton, tiny_artifact: Artifact
) -> None:
    options, batching = AnalysisOptions(highlight="off"), BatchingOptions(token_budget=256, concurrency=1)

    def kill(progress: Progress) -> None:
        if progress.rows > 60 and not killed:
            killed.append(progress.rows)
            _signal_tree(own_triton.pid, signal.SIGKILL)

    killed: list[int] = []
    rows = [ReviewInput(text, str(number), number) for number, text in enumerate(TEXTS, 1)]
    async with await ReviewAnalyzer.connect(own_triton.grpc_url, tiny_artifact, options, batching) as analyzer:
        analyses = [analysis async for analysis in analyzer.analyze_stream(rows, progress=kill)]
    async with await ReviewAnalyzer.connect(tiny_triton.grpc_url, tiny_artifact, options, batching) as analyzer:
        expected = await analyzer.analyze(rows)

    delivered = [(ours, theirs) for ours, theirs in zip(analyses, expected, strict=True) if not ours.HasField("error")]
    failed = [analysis for analysis in analyses if analysis.HasField("error")]
    assert len(delivered) >= 60
    assert all(ours == theirs for ours, theirs in delivered)
    assert len(failed) > 100
    assert {analysis.error.code for analysis in failed} == {"UNAVAILABLE"}
    assert [a.id for a in analyses] == [row.id for row in rows]


def test_triton_killed_during_a_run_of_the_program(
    own_triton: EmbeddedTriton, tiny_repository: Path, tmp_path: Path
) -> None:
    """Standard input stays open while the first chunks are delivered: Triton dies for sure between two chunks."""
    options: list[str | Path] = [
        "--model-repository",
        tiny_repository,
        "--url",
        own_triton.grpc_url,
        "--format",
        "jsonl",
        "--input",
        "-",
    ]
    texts = [f"{text} 또 {number}" for number in range(3) for text in TEXTS]
    log = tmp_path / "stderr.txt"
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            command(*options), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, encoding="utf-8"
        ) as program,
    ):
        assert program.stdin
        assert program.stdout
        program.stdin.write("\n".join(texts[:512]) + "\n")
        program.stdin.flush()
        delivered = [program.stdout.readline() for _ in range(256)]
        _signal_tree(own_triton.pid, signal.SIGKILL)
        program.stdin.write("\n".join(texts[512:]))
        program.stdin.close()
        rest = program.stdout.read()
    errors = log.read_text(encoding="utf-8")
    analyses = json_lines("".join(delivered) + rest)
    assert program.returncode == 1
    assert [a["text"] for a in analyses] == texts
    assert not any("error" in a for a in analyses[:256])
    assert {a["error"]["code"] for a in analyses[512:]} == {"UNAVAILABLE"}
    failed = sum("error" in a for a in analyses)
    assert errors.count(", line ") == failed
    assert errors.endswith(f"{failed} of 900 reviews failed\n")


def test_a_killed_triton_is_found_again_when_it_is_back(
    tiny_repository: Path, tiny_artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retries bridge a restart: the request is sent while nothing listens."""
    monkeypatch.setattr("client.transport.ATTEMPTS", 9)  # a start on a busy machine takes its time
    with EmbeddedTriton(tiny_repository, threads=1) as triton:
        port = int(triton.grpc_url.split(":")[1])

        async def run() -> list[str]:
            async with await ReviewAnalyzer.connect(triton.grpc_url, tiny_artifact) as analyzer:
                await asyncio.to_thread(triton.stop)
                analyzing = asyncio.create_task(analyzer.analyze(REVIEWS[:1]))
                await asyncio.to_thread(successor.start)
                return [analysis.error.message for analysis in await analyzing]

        successor = EmbeddedTriton(tiny_repository, threads=1, grpc_port=port)
        try:
            assert asyncio.run(run()) == [""]
        finally:
            successor.stop()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_program_takes_its_triton_with_it(
    tiny_repository: Path, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    mark = f"reviewlens-test-{uuid.uuid4()}"
    with subprocess.Popen(
        command("--model-repository", tiny_repository, "--input", "-", "--output", tmp_path / "a.json"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=os.environ | {"REVIEWLENS_TEST_MARK": mark},
    ) as program:
        assert program.stdin
        assert program.stderr
        # The program reads the first line before it starts a server.
        program.stdin.write(f"{REVIEWS[0]}\n")
        program.stdin.flush()
        wait_until(lambda: any("tritonserver" in line for line in marked_processes(mark)))
        program.send_signal(number)
        errors = program.stderr.read()
    assert (program.returncode, errors) == (status, "")
    wait_until(lambda: marked_processes(mark) == [])
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_has_enough_ends_the_program_quietly(tiny_triton: EmbeddedTriton, tiny_repository: Path) -> None:
    options: list[str | Path] = [
        "--model-repository",
        tiny_repository,
        "--url",
        tiny_triton.grpc_url,
        "--format",
        "jsonl",
    ]
    with subprocess.Popen(
        command(*options, "--highlight", "off", *TEXTS),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as program:
        assert program.stdout
        assert program.stderr
        assert program.stdout.readline()
        program.stdout.close()
        errors = program.stderr.read()
    assert (program.returncode, errors) == (141, "")
