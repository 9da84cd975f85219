"""Versions come beside one another, and an interrupted export leaves a whole repository."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from client.artifact import Artifact, newest_artifact_folder, sha256_of
from client.errors import ArtifactError, InvalidInputError
from export.checkpoint import Pair, load_pair
from export.install import install, stage, write_configs
from export.versions import new_version
from tests.functional.export.tiny_checkpoints import write_checkpoints

# What is in the files does not matter to how they are moved.
GRAPHS = (onnx.ModelProto(producer_name="keywords"), onnx.ModelProto(producer_name="sentiments"))


@pytest.fixture(scope="module")
def pair(artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return load_pair(*write_checkpoints(tmp_path_factory.mktemp("checkpoints"), artifact))


@pytest.fixture
def repository(tmp_path: Path, pair: Pair) -> Path:
    """A repository with version 1 and a file of its owner."""
    folder = tmp_path / "model_repository"
    _add(folder, pair, 1)
    (folder / "README.md").write_text("mine")
    return folder


def _add(repository: Path, pair: Pair, version: int, *, prune: bool = False) -> None:
    staged = repository.parent / f"staging-{version}" / "repository"
    install(staged, repository, stage(staged, pair, GRAPHS, version), prune=prune)


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_first_version(repository: Path) -> None:
    assert set(_contents(repository)) == {
        "README.md",
        "keyword_classifier/config.pbtxt",
        "keyword_classifier/1/model.onnx",
        "sentiment_classifier/config.pbtxt",
        "sentiment_classifier/1/model.onnx",
        "review_analysis/config.pbtxt",
        "review_analysis/1/labels.json",
        "review_analysis/1/tokenizer.json",
    }


def test_artifact_belongs_to_the_graphs(repository: Path) -> None:
    artifact = Artifact.load(newest_artifact_folder(repository))
    both = b"".join(
        (repository / model / "1" / "model.onnx").read_bytes()
        for model in ("keyword_classifier", "sentiment_classifier")
    )
    assert artifact.labels.model_version == f"1-{sha256_of(both)[:8]}"
    config = (repository / "review_analysis" / "config.pbtxt").read_text(encoding="utf-8")
    assert artifact.labels_sha256 in config
    assert artifact.labels.model_version in config


def test_next_version_stands_beside_the_old_one(repository: Path, pair: Pair) -> None:
    before = _contents(repository)
    _add(repository, pair, new_version(repository, None))
    after = _contents(repository)
    assert {name for name in after if "/2/" in name} == {name.replace("/1/", "/2/") for name in before if "/1/" in name}
    for name, data in before.items():
        if name.endswith("config.pbtxt"):
            assert b"versions: [2]" in after[name]
        else:
            assert after[name] == data


def test_pruning_leaves_the_new_version_only(repository: Path, pair: Pair) -> None:
    _add(repository, pair, 2, prune=True)
    names = set(_contents(repository))
    assert "README.md" in names
    assert not {name for name in names if "/1/" in name}
    assert len({name for name in names if "/2/" in name}) == 4


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(16, "Device or resource busy")])
def test_interrupted_installation_changes_nothing(
    repository: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch, at: int, failure: BaseException
) -> None:
    before = _contents(repository)
    staged = repository.parent / "staging" / "repository"
    serving = stage(staged, pair, GRAPHS, 2)
    calls = 0
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        nonlocal calls
        calls += 1
        if calls == at:
            raise failure
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    expected = InvalidInputError if isinstance(failure, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        install(staged, repository, serving, prune=True)
    assert _contents(repository) == before


def test_versions_count_over_all_models(repository: Path) -> None:
    (repository / "sentiment_classifier" / "9").mkdir()
    assert new_version(repository, None) == 10
    assert new_version(repository, 4) == 4


def test_versions_that_cannot_be_written(repository: Path) -> None:
    with pytest.raises(ArtifactError, match="version 1 is there already"):
        new_version(repository, 1)
    with pytest.raises(InvalidInputError, match="from 1"):
        new_version(repository, 0)


def test_configurations_can_be_written_alone(repository: Path) -> None:
    before = _contents(repository)
    assert write_configs(repository) == 1
    assert _contents(repository) == before
    write_configs(repository, target="gpu")
    changed = {name for name, data in _contents(repository).items() if data != before[name]}
    assert changed == {"keyword_classifier/config.pbtxt", "sentiment_classifier/config.pbtxt"}


def test_configurations_need_a_version(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no version folder"):
        write_configs(tmp_path)
