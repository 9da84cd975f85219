"""What docker/front_door.Dockerfile installs and starts works, with nothing else installed."""

from __future__ import annotations

import subprocess
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from reviewlens.v1 import review_analysis_service_pb2 as pb
from reviewlens.v1.review_analysis_service_pb2_grpc import ReviewAnalysisServiceStub

from server.embedded import LOOPBACK, EmbeddedTriton
from server.front_door.tokens import new_token
from tests.functional.command_line import ROOT
from tests.functional.docker.conftest import Image
from tests.functional.reliability.door_process import free_port
from tests.functional.security.authority import Authority

REVIEW = "두께감은 적당한데 어깨가 조금 넓게 나왔어요"
DIRECT = [("grpc.enable_http_proxy", 0)]


@contextmanager
def running(image: Image, log: Path, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A container of the image, so to say: healthy when the block begins, stopped as an engine stops it at its end."""
    process = image.builder.start(image.stage, log, **environment)
    try:
        deadline = time.monotonic() + 40
        while (health := image.builder.check_health(image.stage, **environment)).returncode != 0:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, health.stderr + log.read_text()
        yield process
        process.terminate()
        assert process.wait(30) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


def analyze(channel: grpc.Channel, token: str = "") -> pb.AnalyzeResponse:
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    request = pb.AnalyzeRequest(reviews=[pb.Review(id="1", text=REVIEW)])
    answer: pb.AnalyzeResponse = ReviewAnalysisServiceStub(channel).Analyze(request, timeout=20, metadata=metadata)
    return answer


@pytest.fixture
def secrets(tmp_path: Path) -> tuple[dict[str, str], bytes, str]:
    """The environment that names an operator's files, the authority that a client trusts, and its token."""
    authority = Authority("operator")
    certificate, key = authority.issue("reviewlens").write(tmp_path, "server")
    token, line = new_token("shop")
    (tmp_path / "tokens").write_text(line)
    environment = {
        "REVIEWLENS_TLS__CERTIFICATE_FILE": str(certificate),
        "REVIEWLENS_TLS__KEY_FILE": str(key),
        "REVIEWLENS_AUTH__TOKENS_FILE": str(tmp_path / "tokens"),
    }
    return environment, authority.certificate, token


def test_image_has_the_pinned_versions_and_no_model_runtime(front_door_image: Image) -> None:
    lines = (ROOT / "docker" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    pinned = {name.lower().replace("_", "-").replace(".", "-"): version for name, version in pinned.items()}
    others = {name: version for name, version in front_door_image.packages.items() if name != "reviewlens"}
    assert others.items() <= pinned.items()
    assert not front_door_image.packages.keys() & {"torch", "transformers", "onnxruntime", "nvidia-pytriton", "pip"}


def test_image_is_not_open_by_mistake(front_door_image: Image, secrets: tuple[dict[str, str], bytes, str]) -> None:
    """It listens to everybody, so it wants TLS."""
    builder, stage = front_door_image.builder, front_door_image.stage
    refused = builder.run(stage, "--check-config")
    assert refused.returncode == 2
    assert "tls.certificate_file" in refused.stderr
    assert 'listen = "0.0.0.0:8500"' in refused.stdout
    assert 'triton_url = "triton:8001"' in refused.stdout
    accepted = builder.run(stage, "--check-config", REVIEWLENS_TRITON_URL=f"{LOOPBACK}:8001", **secrets[0])
    assert accepted.returncode == 0, accepted.stderr


def test_file_of_an_operator_takes_the_place_of_the_images(front_door_image: Image) -> None:
    """As a mount does; nothing that the image sets may go before it."""
    own = front_door_image.builder.path("/etc/reviewlens/reviewlens.toml")
    before = own.read_text(encoding="utf-8")
    mounted = {
        "listen": f"{LOOPBACK}:8600",
        "triton_url": f"{LOOPBACK}:8601",
        "model_repository": "/srv/models",
        "metrics": f"{LOOPBACK}:9600",
    }
    lines = [f'{name} = "{value}"' for name, value in mounted.items() if name != "metrics"]
    try:
        own.write_text("\n".join([*lines, "[metrics]", f'listen = "{mounted["metrics"]}"']), encoding="utf-8")
        printed = front_door_image.builder.run(front_door_image.stage, "--check-config").stdout
    finally:
        own.write_text(before, encoding="utf-8")
    in_force = tomllib.loads(printed)
    assert {name: in_force[name] for name in mounted} == mounted | {"metrics": {"listen": mounted["metrics"]}}


def test_front_door_serves_over_tls_and_is_healthy(
    front_door_image: Image,
    tiny_triton: EmbeddedTriton,
    addresses: dict[str, str],
    secrets: tuple[dict[str, str], bytes, str],
    tmp_path: Path,
) -> None:
    files, authority, token = secrets
    environment = addresses | files | {"REVIEWLENS_TRITON_URL": tiny_triton.grpc_url}
    with running(front_door_image, tmp_path / "log", environment):
        credentials = grpc.ssl_channel_credentials(authority)
        with grpc.secure_channel(addresses["REVIEWLENS_LISTEN"], credentials, DIRECT) as channel:
            assert analyze(channel, token).analyses[0].text == REVIEW
            with pytest.raises(grpc.RpcError, match="UNAUTHENTICATED"):
                analyze(channel)
    stopped = front_door_image.builder.check_health(front_door_image.stage, **environment)
    assert stopped.returncode == 1
    assert "not ready" in stopped.stderr


def test_front_door_without_its_triton_is_not_healthy(
    front_door_image: Image, addresses: dict[str, str], tmp_path: Path
) -> None:
    environment = addresses | {"REVIEWLENS_TRITON_URL": f"{LOOPBACK}:{free_port()}"}
    process = front_door_image.builder.start(front_door_image.stage, tmp_path / "log", **environment)
    try:
        with grpc.insecure_channel(addresses["REVIEWLENS_LISTEN"], DIRECT) as channel:
            grpc.channel_ready_future(channel).result(30)
        health = front_door_image.builder.check_health(front_door_image.stage, **environment)
        assert health.returncode == 1
        assert "NOT_SERVING" in health.stderr
    finally:
        process.terminate()
        assert process.wait(30) == 0


def test_cpu_image_brings_its_triton(cpu_image: Image, addresses: dict[str, str], tmp_path: Path) -> None:
    assert {"onnxruntime", "nvidia-pytriton"} <= cpu_image.packages.keys()
    assert "torch" not in cpu_image.packages
    with (
        running(cpu_image, tmp_path / "log", addresses | {"REVIEWLENS_EMBEDDED_THREADS": "1"}),
        grpc.insecure_channel(addresses["REVIEWLENS_LISTEN"], DIRECT) as channel,
    ):
        assert analyze(channel).analyses[0].text == REVIEW
