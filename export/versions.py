"""Versions of a model repository: which there are, adding one, and choosing the one that is served.

Version folders come first and configurations after them, each file replaced whole, in an order in which a Triton that
starts between any two writes serves one whole version:

1. the folders of the new version, which no configuration names yet;
2. both classifiers' configurations, naming the old version and the new one;
3. the ensemble's configuration, whose steps name the new version: from here on it is the one that is served;
4. both classifiers' configurations, naming the new version alone.

Nothing here imports torch: a rollback runs wherever the client does.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as triton

from client.artifact import LABELS_FILE, Artifact
from client.errors import ArtifactError, InvalidInputError
from client.served import CONFIG_FILE, read_config, served_artifact_folder, served_version
from export.config import ENSEMBLE, HEADER, KEYWORD_MODEL, MODELS, SENTIMENT_MODEL, Target

# A folder that is not a number is no version to Triton.
INCOMING = ".incoming"
# What the configurations of one repository say of a label set, and so all of its versions must share.
SHARED_FIELDS = ("keywords", "overall", "sentiments", "sentiment_scores")


def whole_versions(repository: Path) -> list[int]:
    """The versions that all three models have, ascending."""
    found = [{int(f.name) for f in (repository / model).glob("*") if f.name.isdigit()} for model in MODELS]
    return sorted(set.intersection(*found))


def new_version(repository: Path, wanted: int | None = None) -> int:
    """``wanted``, or the number after the highest version of any model.

    Raises:
        ArtifactError: the repository has that version.
        InvalidInputError: it is below 1.
    """
    folders = (folder for model in MODELS for folder in (repository / model).glob("*"))
    taken = {int(folder.name) for folder in folders if folder.name.isdigit()}
    version = max(taken, default=0) + 1 if wanted is None else wanted
    if version < 1:
        raise InvalidInputError(f"version {version}: Triton counts versions from 1")
    if version in taken:
        raise ArtifactError(f"{repository}: version {version} is there already; leave the version out for the next one")
    return version


def model_version(repository: Path, version: int) -> str:
    """The ``model_version`` that replies of this version carry, as ``3-8a435bfd``: the number and a hash of the graphs.

    Raises:
        ArtifactError: the version is missing or broken.
    """
    return Artifact.load(repository / ENSEMBLE / str(version)).labels.model_version


def graphs_hash(version: str) -> str:
    """The part of a ``model_version`` that tells the graphs, and so is the same under every number."""
    return version.partition("-")[2]


def serving_target(repository: Path) -> Target:
    """What the repository's configurations are for."""
    group = read_config(repository / KEYWORD_MODEL / CONFIG_FILE).instance_group
    return "gpu" if any(entry.kind == triton.ModelInstanceGroup.KIND_GPU for entry in group) else "cpu"


def is_settled(repository: Path) -> bool:
    """Whether all three configurations name the served version alone: no ``serve_version`` was interrupted."""
    served = [served_version(repository)]
    configs = [read_config(repository / model / CONFIG_FILE) for model in MODELS]
    return all(list(config.version_policy.specific.versions) == served for config in configs)


def add_version(source: Path, repository: Path) -> int:
    """Copy the version that ``source`` serves into ``repository`` as its next one, not served yet; its number.

    A version of the very same graphs that is there already is taken instead: doing it again adds nothing. When a write
    fails, the repository is left as it was.

    Raises:
        ArtifactError: ``source`` or ``repository`` is broken, or their label sets differ.
        InvalidInputError: a file cannot be written.
    """
    origin = served_artifact_folder(source)
    labels = Artifact.load(origin).labels
    _require_same_labels(origin, served_artifact_folder(repository))
    graphs = graphs_hash(labels.model_version)
    for version in whole_versions(repository):
        if graphs_hash(model_version(repository, version)) == graphs:
            return version
    version = new_version(repository)
    incoming = [repository / model / INCOMING for model in MODELS]
    try:
        for model, folder in zip(MODELS, incoming, strict=True):
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(source / model / origin.name, folder)
        numbered = replace(labels, model_version=f"{version}-{graphs}")
        (repository / ENSEMBLE / INCOMING / LABELS_FILE).write_text(numbered.to_json(), encoding="utf-8")
        # The ensemble's folder comes last: with it the version is whole.
        for folder in incoming:
            folder.rename(folder.with_name(str(version)))
    except BaseException as error:
        for folder in incoming:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(folder.with_name(str(version)), ignore_errors=True)
        if isinstance(error, OSError):
            raise InvalidInputError(f"{repository}: version {version} cannot be written: {error}") from error
        raise
    return version


def serve_version(repository: Path, version: int) -> None:
    """Let the configurations name ``version``, in the order that the module tells; other settings stay as they are.

    Raises:
        ArtifactError: the version or a configuration is missing or broken, or the label sets differ.
        InvalidInputError: a file cannot be written; one whole version is served, and doing it again goes on.
    """
    if version not in whole_versions(repository):
        there = ", ".join(map(str, whole_versions(repository))) or "none"
        raise ArtifactError(f"{repository}: no whole version {version}; there is {there}")
    folder = repository / ENSEMBLE / str(version)
    artifact = Artifact.load(folder)
    _require_same_labels(folder, served_artifact_folder(repository))
    ensemble = _pinned(read_config(repository / ENSEMBLE / CONFIG_FILE), [version])
    for step in ensemble.ensemble_scheduling.step:
        step.model_version = version
    for key, value in {
        "tokenizer_sha256": artifact.labels.tokenizer_sha256,
        "labels_sha256": artifact.labels_sha256,
        "model_version": artifact.labels.model_version,
    }.items():
        ensemble.parameters[key].string_value = value
    classifiers = [read_config(repository / model / CONFIG_FILE) for model in (KEYWORD_MODEL, SENTIMENT_MODEL)]
    both = sorted({served_version(repository), version})
    for config in (
        *(_pinned(c, both) for c in classifiers),
        ensemble,
        *(_pinned(c, [version]) for c in classifiers),
    ):
        _write_config(repository / config.name / CONFIG_FILE, config)


def _pinned(config: Any, versions: Sequence[int]) -> Any:
    """A copy of a configuration that names these versions."""
    copy = triton.ModelConfig()
    copy.CopyFrom(config)
    copy.version_policy.Clear()
    copy.version_policy.specific.versions.extend(versions)
    return copy


def _write_config(path: Path, config: Any) -> None:
    text = text_format.MessageToString(config, as_utf8=True, use_short_repeated_primitives=True)
    temporary = path.with_suffix(".tmp")
    try:
        temporary.write_text(HEADER + text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InvalidInputError(f"{path}: cannot be written: {error}") from error


def _require_same_labels(folder: Path, other: Path) -> None:
    ours, theirs = Artifact.load(folder).labels, Artifact.load(other).labels
    for name in SHARED_FIELDS:
        if getattr(ours, name) != getattr(theirs, name):
            raise ArtifactError(
                f"{folder / LABELS_FILE}: {name} differ from {other}'s, and one repository's configurations hold one "
                "label set; export to a repository of its own"
            )
