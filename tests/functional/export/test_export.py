"""Checkpoints to a repository that the embedded Triton serves, with torch's answers."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from client.artifact import LABELS_FILE, Artifact, newest_artifact_folder
from client.errors import InvalidInputError
from export.checkpoint import Pair, load_pair
from export.config import Serving
from export.install import stage
from export.parity import ParityError, ensemble_difference
from export.repository import Report, export_repository
from export.runners import TorchRunner, TritonRunner
from export.samples import random_batches
from server.embedded import EmbeddedTriton
from tests.functional.export.tiny_checkpoints import write_checkpoints
from tests.unit.test_loop_promotion import full_disk

ROOT = Path(__file__).resolve().parent.parent.parent.parent
VOCABULARY = 1000


@pytest.fixture(scope="module")
def checkpoints(tiny_artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_checkpoints(tmp_path_factory.mktemp("checkpoints"), tiny_artifact)


@pytest.fixture(scope="module")
def pair(checkpoints: tuple[Path, Path]) -> Pair:
    return load_pair(*checkpoints)


@pytest.fixture(scope="module")
def exported(checkpoints: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    repository = tmp_path_factory.mktemp("exported") / "new" / "model_repository"
    return repository, export_repository(*checkpoints, repository, precision="fp32")


def test_checks_of_an_export(exported: tuple[Path, Report], pair: Pair) -> None:
    repository, report = exported
    assert report.torch.largest < 1e-4
    assert report.triton is not None
    assert report.triton.largest < 1e-4
    assert report.loss is None
    labels = Artifact.load(newest_artifact_folder(repository)).labels
    assert labels.model_version == report.model_version
    assert (labels.keyword_temperature, labels.sentiment_temperature) == (1.5, 0.8)
    assert list(repository.parent.iterdir()) == [repository]


def test_ensemble_answers_as_torch(exported: tuple[Path, Report], pair: Pair) -> None:
    batches = random_batches(pair.encoder, VOCABULARY, seed=7)
    with EmbeddedTriton(exported[0], threads=1) as server, TritonRunner(server.grpc_url) as triton:
        assert ensemble_difference(TorchRunner(pair), triton, batches) < 1e-4
        # The comparison means something only where some keywords are asked and some are not.
        asked = triton.analysis(batches[-1])[1].any(2)
    assert asked[:, -1].all()
    assert 0 < asked[:, :-1].mean() < 1


def test_int8_becomes_the_next_version_and_is_served(
    checkpoints: tuple[Path, Path], exported: tuple[Path, Report], pair: Pair, tmp_path: Path
) -> None:
    reviews = tmp_path / "reviews.jsonl"
    reviews.write_text('{"text": "배송은 빠른데 핏이 아쉬워요"}\n{"text": "그냥 그래요"}\n', encoding="utf-8")
    repository = tmp_path / "model_repository"
    shutil.copytree(exported[0], repository)
    report = export_repository(*checkpoints, repository, evaluation=reviews, max_loss=0.2, skip_triton=True)
    assert report.version == 2
    assert report.loss is not None
    assert report.loss.decisions == 2 * len(pair.labels.keywords)
    assert 0 < report.loss.largest < 0.2
    batches = random_batches(pair.encoder, VOCABULARY)
    with EmbeddedTriton(repository, threads=1) as server, TritonRunner(server.grpc_url) as triton:
        keywords = np.concatenate([triton.keywords(batch) for batch in batches])
    expected = np.concatenate([TorchRunner(pair).keywords(batch) for batch in batches])
    # Not the float graphs of version 1.
    assert 1e-4 < np.abs(keywords - expected).max() < 0.2


def test_gpu_target(checkpoints: tuple[Path, Path], tmp_path: Path) -> None:
    report = export_repository(*checkpoints, tmp_path / "repository", target="gpu", max_loss=0.02)
    assert report.loss is not None
    assert report.triton is not None
    text = (tmp_path / "repository" / "keyword_classifier" / "config.pbtxt").read_text(encoding="utf-8")
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    assert config.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_GPU


def test_too_large_a_loss_writes_nothing(checkpoints: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ParityError, match=r"int8 against fp32 .* above 1e-07"):
        export_repository(*checkpoints, tmp_path / "repository", max_loss=1e-7)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("target", "precision"), [("cpu", "fp16"), ("gpu", "int8")])
def test_precision_must_suit_the_target(
    checkpoints: tuple[Path, Path], tmp_path: Path, target: object, precision: object
) -> None:
    with pytest.raises(InvalidInputError, match=f"precision {precision}: a {target} target takes"):
        export_repository(*checkpoints, tmp_path, target=target, precision=precision)  # type: ignore[arg-type]


def _export(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "export", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
    )


def test_command_exports(checkpoints: tuple[Path, Path], tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    keyword, sentiment = checkpoints
    options = ["--precision", "fp32", "--skip-triton", "--threads", "2"]
    done = _export("--keyword", keyword, "--sentiment", sentiment, "--repository", repository, *options)
    assert done.returncode == 0, done.stderr
    assert "onnxruntime against torch, fp32: keyword_probs max" in done.stderr
    assert "not checked in Triton" in done.stderr
    config = repository / "keyword_classifier" / "config.pbtxt"
    before = config.read_text(encoding="utf-8")
    config.write_text("broken", encoding="utf-8")
    done = _export("--configs-only", "--repository", repository, "--threads", "2")
    assert done.returncode == 0, done.stderr
    assert config.read_text(encoding="utf-8") == before


def test_command_reports_what_is_wrong(checkpoints: tuple[Path, Path], tmp_path: Path) -> None:
    keyword, sentiment = checkpoints
    done = _export("--keyword", tmp_path, "--sentiment", sentiment, "--repository", tmp_path / "repository")
    assert done.returncode == 1
    assert f"{tmp_path / LABELS_FILE}: no such file" in done.stderr
    assert "Traceback" not in done.stderr
    assert _export("--keyword", keyword, "--repository", tmp_path).returncode == 2
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_full_or_read_only_is_told(
    checkpoints: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match="file/model_repository: cannot be written"):
        export_repository(*checkpoints, tmp_path / "file" / "model_repository", precision="fp32", skip_triton=True)

    def on_a_full_disk(*given: Any) -> Serving:
        with full_disk(1000):
            return stage(*given)

    monkeypatch.setattr("export.repository.stage", on_a_full_disk)
    with pytest.raises(InvalidInputError, match=r"model_repository: cannot be written: .*File too large"):
        export_repository(*checkpoints, tmp_path / "model_repository", precision="fp32", skip_triton=True)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
