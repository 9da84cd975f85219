"""Writing model repositories."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import onnx

from client.artifact import LABELS_FILE, TOKENIZER_FILE, Artifact, sha256_of
from client.errors import InvalidInputError
from client.served import CONFIG_FILE, served_artifact_folder
from export.checkpoint import Pair
from export.config import ENSEMBLE, KEYWORD_MODEL, MODELS, SENTIMENT_MODEL, Accelerator, Serving, Target

MODEL_FILE = "model.onnx"

Graphs = tuple[onnx.ModelProto, onnx.ModelProto]


def stage(staged: Path, pair: Pair, graphs: Graphs, version: int) -> Serving:
    """Write a complete repository of the one version, for a CPU; what its configurations say."""
    files = [graph.SerializeToString(deterministic=True) for graph in graphs]
    labels = replace(pair.labels, model_version=f"{version}-{sha256_of(b''.join(files))[:8]}")
    for model in MODELS:
        (staged / model / str(version)).mkdir(parents=True)
    for model, data in zip((KEYWORD_MODEL, SENTIMENT_MODEL), files, strict=True):
        (staged / model / str(version) / MODEL_FILE).write_bytes(data)
    artifact = staged / ENSEMBLE / str(version)
    (artifact / LABELS_FILE).write_text(labels.to_json(), encoding="utf-8")
    shutil.copyfile(pair.keyword.artifact.tokenizer_file, artifact / TOKENIZER_FILE)
    serving = Serving(labels, Artifact.load(artifact).labels_sha256, version)
    _write_configs(staged, serving)
    return serving


def install(staged: Path, repository: Path, serving: Serving, *, prune: bool) -> None:
    """Complete ``staged`` with what else is in the repository, without its versions for ``prune``, and replace it.

    Interrupted at any point, the repository is whole: what it was or what it becomes.

    Raises:
        InvalidInputError: the file system does not let the folder be renamed.
    """
    versions = {str(repository / model) for model in MODELS}

    def left_out(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if prune and folder in versions and name.isdigit()]

    if repository.is_dir():
        shutil.copytree(repository, staged, dirs_exist_ok=True, ignore=left_out)
    _write_configs(staged, serving)
    before = staged.with_name("before")
    try:
        if repository.is_dir():
            repository.rename(before)
        staged.rename(repository)
    except BaseException as error:
        if before.is_dir() and not repository.exists():
            before.rename(repository)
        if isinstance(error, OSError):
            raise InvalidInputError(
                f"{repository}: cannot be replaced: {error}; give a folder that may be renamed, not a mount point"
            ) from error
        raise


def _write_configs(repository: Path, serving: Serving) -> None:
    for model, text in serving.render().items():
        config = repository / model / CONFIG_FILE
        temporary = config.with_suffix(".tmp")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(config)


def write_configs(
    repository: Path, *, target: Target = "cpu", threads: int = 0, accelerator: Accelerator = "cuda"
) -> int:
    """Write the configurations of a repository's served version anew; the version.

    Raises:
        ArtifactError: the repository has no version, or a broken one.
    """
    folder = served_artifact_folder(repository)
    artifact = Artifact.load(folder)
    serving = Serving(artifact.labels, artifact.labels_sha256, int(folder.name), target, threads, accelerator)
    _write_configs(repository, serving)
    return serving.version
