"""What docker/triton.Dockerfile starts, with the tritonserver of the wheel in place of NVIDIA's image."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from client.analyzer import ReviewAnalyzer
from client.artifact import Artifact
from server.embedded import CHANNEL_ARGUMENTS, LOOPBACK, RESTRICTED_PROTOCOLS
from server.wheel import TritonWheel
from tests.functional.command_line import ROOT, wait_until
from tests.functional.docker.dockerfile import instructions
from tests.functional.reliability.door_process import free_port

REVIEW = "세탁 후에도 줄어들지 않아서 만족합니다"
START = ROOT / "docker" / "triton" / "start.sh"
STEPS = instructions((ROOT / "docker" / "triton.Dockerfile").read_text(encoding="utf-8"))
# Triton's own metrics on a machine without a GPU; the dashboard's others are of the GPU.
GPU_METRICS = {"nv_gpu_utilization", "nv_gpu_memory_used_bytes", "nv_gpu_memory_total_bytes"}


class StartedTriton:
    """Ports of a Triton that the script started."""

    def __init__(self) -> None:
        self.grpc, self.metrics = free_port(), free_port()

    @property
    def url(self) -> str:
        """HOST:PORT of its gRPC."""
        return f"{LOOPBACK}:{self.grpc}"


@pytest.fixture(scope="module")
def triton(tiny_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartedTriton]:
    folder = tmp_path_factory.mktemp("triton")
    wheel = TritonWheel.find()
    for name, source in wheel.backend_files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, folder / name)
    (folder / "bin").mkdir()
    (folder / "bin" / "tritonserver").symlink_to(wheel.binary)
    started = StartedTriton()
    environment = wheel.environment(threads=1)
    environment |= {
        "PATH": f"{folder / 'bin'}:{environment['PATH']}",
        "MODEL_REPOSITORY": str(tiny_repository),
        "GRPC_PORT": str(started.grpc),
        "METRICS_PORT": str(started.metrics),
        "DRAIN_S": "5",
    }
    # What NVIDIA's image needs no flag for, and loopback for a test.
    options = [
        f"--backend-directory={folder}",
        f"--backend-config=python,shm-region-prefix-name=reviewlens-{os.getpid()}",
        f"--grpc-address={LOOPBACK}",
        f"--metrics-address={LOOPBACK}",
        "--pinned-memory-pool-byte-size=0",
        "--allow-gpu-metrics=false",
    ]
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["/bin/sh", START, *options],
            env=environment,
            cwd=folder / "onnxruntime",
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(lambda: health_check(started) == 0 or process.poll() is not None, 40)
        assert process.poll() is None, log.read_text(errors="replace")
        yield started
        process.terminate()
        assert process.wait(20) == 0, log.read_text(errors="replace")
    finally:
        process.kill()
        process.wait()


def health_check(triton: StartedTriton) -> int:
    """Exit status of the image's health check."""
    (rest,) = [rest for keyword, rest in STEPS if keyword == "HEALTHCHECK"]
    command = re.findall(r'"([^"]*)"', rest.partition("CMD")[2])
    assert command[0] == "python3"
    command = [sys.executable, *(word.replace("8002", str(triton.metrics)) for word in command[1:])]
    return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode


@pytest.fixture
def client(triton: StartedTriton) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(triton.url, channel_args=CHANNEL_ARGUMENTS) as client:
        yield client


def test_image_starts_the_script() -> None:
    copied = [rest.split()[-2:] for keyword, rest in STEPS if keyword == "COPY" and rest.endswith("start-triton")]
    assert copied == [[str(START.relative_to(ROOT)), "/usr/local/bin/start-triton"]]
    assert [rest for keyword, rest in STEPS if keyword == "CMD"] == ['["start-triton"]']
    assert os.access(START, os.X_OK)


async def test_analyzer_works_with_what_is_open(triton: StartedTriton, tiny_artifact: Artifact) -> None:
    analyzer = await ReviewAnalyzer.connect(triton.url, tiny_artifact)
    try:
        (analysis,) = await analyzer.analyze([REVIEW])
    finally:
        await analyzer.close()
    assert analysis.keywords


def test_what_nobody_needs_is_closed(client: InferenceServerClient) -> None:
    for call in (client.get_system_shared_memory_status, client.get_trace_settings, client.get_log_settings):
        with pytest.raises(InferenceServerException, match="restricted"):
            call()
    with pytest.raises(InferenceServerException, match="not allowed"):
        client.load_model("review_analysis")


def test_the_embedded_triton_closes_the_same() -> None:
    match = re.search(r"^closed=(\S+)$", START.read_text(encoding="utf-8"), re.MULTILINE)
    assert match is not None
    assert match[1] == RESTRICTED_PROTOCOLS


def test_dashboard_asks_for_metrics_that_triton_has(triton: StartedTriton) -> None:
    with urllib.request.urlopen(f"http://{LOOPBACK}:{triton.metrics}/metrics", timeout=10) as answer:
        served = set(re.findall(r"^# TYPE (\w+)", answer.read().decode(), re.MULTILINE))
    dashboard = (ROOT / "docker/grafana/dashboards/reviewlens.json").read_text(encoding="utf-8")
    asked = set(re.findall(r"\bnv_\w+", dashboard))
    assert asked - GPU_METRICS <= served
    assert asked & served
