"""Promotion and rollback: whatever interrupts them, one whole version is served, and doing it again finishes it."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

from client.artifact import Artifact
from client.errors import ArtifactError, InvalidInputError
from client.served import read_config, served_artifact_folder, served_version
from export.checkpoint import Pair, load_pair
from export.install import install, stage, write_configs
from export.versions import model_version, new_version, serving_target, whole_versions
from tests.functional.export.tiny_checkpoints import write_checkpoints
from training.loop.__main__ import main
from training.loop.bootstrap import Difference
from training.loop.comparison import Comparison
from training.loop.files import locked
from training.loop.promotion import history, promote, rollback

CLASSIFIERS = ("keyword_classifier", "sentiment_classifier")
MODELS = (*CLASSIFIERS, "review_analysis")


@pytest.fixture(scope="module")
def pair(artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return load_pair(*write_checkpoints(tmp_path_factory.mktemp("checkpoints"), artifact))


def export(repository: Path, pair: Pair, graphs: str, version: int = 1, **serving: Any) -> Path:
    """A version as export writes it; what is in the graphs does not matter to how they are moved."""
    models = (onnx.ModelProto(producer_name=graphs), onnx.ModelProto(producer_name=f"{graphs} sentiments"))
    staged = repository.parent / f"staging-{graphs}-{version}" / "repository"
    install(staged, repository, replace(stage(staged, pair, models, version), **serving), prune=False)
    return repository


@pytest.fixture
def repository(tmp_path: Path, pair: Pair) -> Path:
    return export(tmp_path / "model_repository", pair, "old", threads=3)


@pytest.fixture
def challenger(tmp_path: Path, pair: Pair) -> Path:
    return export(tmp_path / "challenger", pair, "new", version=7)


def served_whole(repository: Path) -> int:
    """The served version, after checking that a Triton that starts now would serve it whole."""
    ensemble = read_config(repository / "review_analysis" / "config.pbtxt")
    (version,) = ensemble.version_policy.specific.versions
    artifact = Artifact.load(repository / "review_analysis" / str(version))
    assert ensemble.parameters["labels_sha256"].string_value == artifact.labels_sha256
    assert ensemble.parameters["model_version"].string_value == artifact.labels.model_version
    for step in ensemble.ensemble_scheduling.step:
        assert step.model_version == version
        loaded = read_config(repository / step.model_name / "config.pbtxt").version_policy.specific.versions
        assert version in loaded
        for other in loaded:
            assert (repository / step.model_name / str(other) / "model.onnx").is_file()
    return int(version)


def settled(repository: Path) -> dict[str, bytes]:
    """All files but the history, whose times differ."""
    return {
        str(path.relative_to(repository)): path.read_bytes()
        for path in repository.rglob("*")
        if path.is_file() and path.name not in (".lock", "promotions.jsonl")
    }


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Files end at ``size`` bytes: the operating system refuses the rest, as a full disk does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_promotion_serves_the_challenger_as_the_next_version(repository: Path, challenger: Path) -> None:
    before = settled(repository)
    champion = model_version(repository, 1)
    change = promote(challenger, repository, "better", champion=champion)
    assert served_whole(repository) == 2
    assert change.model_version == f"2-{model_version(challenger, 7).removeprefix('7-')}"
    assert model_version(repository, 2) == change.model_version
    after = settled(repository)
    assert {name: after[name] for name in before if "config" not in name} == {
        name: data for name, data in before.items() if "config" not in name
    }
    graph = "keyword_classifier/{}/model.onnx"
    assert after[graph.format(2)] == (challenger / graph.format(7)).read_bytes()
    config = read_config(repository / "keyword_classifier" / "config.pbtxt")
    assert config.parameters["intra_op_thread_count"].string_value == "3", "how it is served is the repository's"
    assert serving_target(repository) == "cpu"


def test_rollback_serves_the_version_before_and_removes_nothing(repository: Path, challenger: Path) -> None:
    as_it_was = settled(repository)
    promote(challenger, repository, "better")
    promoted = settled(repository)
    change = rollback(repository, "complaints")
    assert (change.before, change.after, change.why) == (2, 1, "complaints")
    assert served_whole(repository) == 1
    now = settled(repository)
    assert {name: now[name] for name in as_it_was} == as_it_was
    assert set(now) == set(promoted)
    assert new_version(repository) == 3, "a number is never used again"
    assert write_configs(repository, threads=3) == 1
    assert settled(repository) == now
    rollback(repository, "it was not the model", to=2)
    assert settled(repository) == promoted


def test_rollback_goes_back_to_what_was_served_not_to_the_number_below(
    repository: Path, challenger: Path, tmp_path: Path, pair: Pair
) -> None:
    promote(challenger, repository, "better")
    rollback(repository, "complaints")
    promote(export(tmp_path / "another", pair, "newer"), repository, "better")
    assert served_whole(repository) == 3
    assert rollback(repository, "complaints").after == 1
    with pytest.raises(ArtifactError, match="no version before 1"):
        rollback(repository, "again")
    assert [(c.action, c.before, c.after) for c in history(repository)] == [
        ("promote", 1, 2),
        ("rollback", 2, 1),
        ("promote", 1, 3),
        ("rollback", 3, 1),
    ]


def test_rollback_without_a_history_takes_the_number_below(repository: Path, pair: Pair) -> None:
    for version in (2, 5):
        export(repository, pair, f"graphs {version}", version)
    assert rollback(repository, "complaints").after == 2
    assert served_whole(repository) == 2


def test_promoting_the_same_graphs_again_adds_nothing(repository: Path, challenger: Path) -> None:
    promote(challenger, repository, "better")
    promote(challenger, repository, "better")
    assert whole_versions(repository) == [1, 2]
    rollback(repository, "complaints")
    assert promote(challenger, repository, "it was not the model").after == 2


@pytest.mark.parametrize("action", ["promote", "rollback"])
def test_interrupted_anywhere_one_whole_version_is_served(
    action: str, repository: Path, challenger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def act(folder: Path) -> None:
        promote(challenger, folder, "better") if action == "promote" else rollback(folder, "complaints")

    if action == "rollback":
        promote(challenger, repository, "better")
    finished = shutil.copytree(repository, tmp_path / "finished")
    act(finished)
    whole = {name: getattr(Path, name) for name in ("replace", "rename")}
    calls = 0
    for interrupted_at in range(1, 100):
        folder = shutil.copytree(repository, tmp_path / f"at-{interrupted_at}")
        calls = 0

        def moved(self: Path, target: Path, name: str, at: int = interrupted_at) -> Path:
            nonlocal calls
            calls += 1
            if calls == at:
                raise KeyboardInterrupt
            path: Path = whole[name](self, target)
            return path

        for name in whole:
            monkeypatch.setattr(Path, name, lambda self, target, name=name: moved(self, target, name))
        try:
            act(folder)
        except KeyboardInterrupt:
            interrupted = True
        else:
            interrupted = False
        for name, method in whole.items():
            monkeypatch.setattr(Path, name, method)
        assert served_whole(folder) in (1, 2)
        if not interrupted:
            break
        act(folder)
        assert settled(folder) == settled(finished)
        assert len(history(folder)) == len(history(finished))
    assert calls == (9 if action == "promote" else 6), "three folders, the history and five configurations"


@pytest.mark.parametrize("room", [0, 5, 300, 1000])
def test_full_disk_changes_nothing_that_is_served(repository: Path, challenger: Path, room: int) -> None:
    with full_disk(room), pytest.raises(InvalidInputError, match="cannot be written"):
        promote(challenger, repository, "better")
    assert served_whole(repository) == 1
    promote(challenger, repository, "better")
    assert served_whole(repository) == 2
    assert not list(repository.glob("*/.incoming"))


def test_leftovers_of_a_kill_do_no_harm(repository: Path, challenger: Path) -> None:
    shutil.copytree(challenger / "keyword_classifier" / "7", repository / "keyword_classifier" / ".incoming")
    (repository / "sentiment_classifier" / "2").mkdir()
    assert whole_versions(repository) == [1]
    with pytest.raises(ArtifactError, match="no whole version 2; there is"):
        rollback(repository, "typo", to=2)
    assert promote(challenger, repository, "better").after == 3
    assert served_whole(repository) == 3


def test_challenger_of_another_label_set_is_refused(
    repository: Path, tmp_path: Path, pair: Pair, artifact: Artifact
) -> None:
    labels = replace(pair.labels, keywords=(*pair.labels.keywords[:-1], "향"))
    other = export(tmp_path / "other", replace(pair, labels=labels), "new")
    before = settled(repository)
    with pytest.raises(ArtifactError, match="keywords differ"):
        promote(other, repository, "better")
    assert settled(repository) == before


def test_challenger_compared_with_another_champion_is_refused(repository: Path, challenger: Path) -> None:
    with pytest.raises(ArtifactError, match="was compared with 1-other; compare again"):
        promote(challenger, repository, "better", champion="1-other")
    assert served_whole(repository) == 1


def test_one_change_at_a_time(repository: Path, challenger: Path) -> None:
    with locked(repository), pytest.raises(InvalidInputError, match="another process works on it"):
        promote(challenger, repository, "better")
    promote(challenger, repository, "better")


def test_changes_that_are_none(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="version 1 is served already"):
        rollback(repository, "typo", to=1)
    with pytest.raises(InvalidInputError, match="no such model repository"):
        rollback(tmp_path / "nothing", "typo")
    (repository / "promotions.jsonl").write_text('{"time": 1}\n')
    with pytest.raises(InvalidInputError, match=r"promotions\.jsonl"):
        rollback(repository, "complaints")


def test_served_version_is_the_pinned_one(repository: Path, challenger: Path) -> None:
    promote(challenger, repository, "better")
    config = repository / "review_analysis" / "config.pbtxt"
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("versions: [2]", "versions: [1]"), encoding="utf-8")
    assert served_artifact_folder(repository) == repository / "review_analysis" / "1"
    config.write_text(text.replace("versions: [2]", "versions: [4]"), encoding="utf-8")
    with pytest.raises(ArtifactError, match="pins version 4"):
        served_version(repository)
    config.write_text("version_policy {", encoding="utf-8")
    with pytest.raises(ArtifactError, match="no model configuration"):
        served_version(repository)
    config.write_text("version_policy { latest { num_versions: 1 } }", encoding="utf-8")
    assert served_version(repository) == 2
    config.unlink()
    assert served_version(repository) == 2


def test_a_champion_that_changes_while_it_is_compared_is_not_overwritten(
    repository: Path,
    challenger: Path,
    tmp_path: Path,
    pair: Pair,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    champion, better = model_version(repository, 1), Difference(0.8, 0.9, 0.05, 0.15, 1.0)
    other = export(tmp_path / "other", pair, "other")

    def compare(*_: Any, **__: Any) -> Comparison:
        promote(other, repository, "somebody else was faster")
        return Comparison(champion, "7-new", ("a.jsonl",), 50, 50, "", 2000, 1, {"keyword micro F1": better}, {})

    monkeypatch.setattr("training.loop.comparison.compare", compare)
    given = ["promote", "--repository", str(repository), "--challenger", str(challenger), "--data", "a.jsonl"]
    assert main(given) == 2
    assert f"the challenger was compared with {champion}; compare again" in capsys.readouterr().err
    assert [change.why for change in history(repository)] == ["somebody else was faster"]
