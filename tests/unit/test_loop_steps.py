"""A training that was interrupted is gone on with only where everything that it reads is as it was."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from client.errors import InvalidInputError
from training.finetune import DEFAULT_LABEL_SET
from training.loop.settings import Run, Settings
from training.loop.steps import train


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run whose labels are taken; fine-tuning is pretended."""
    folder, backbone = tmp_path / "run", tmp_path / "backbone"
    folder.mkdir()
    backbone.mkdir()
    for file in (tmp_path / "train.jsonl", tmp_path / "decisions.jsonl", backbone / "model.safetensors"):
        file.write_text("before")
    (folder / "labelled.jsonl").write_text("before")
    shutil.copyfile(DEFAULT_LABEL_SET, tmp_path / "labels.json")

    def finetune(settings: Any) -> dict[str, Any]:
        settings.output.mkdir(exist_ok=True)
        (settings.output / "unfinished").touch()
        return {"test": {}}

    monkeypatch.setattr("training.finetune.finetune", finetune)
    options = f"--decisions {tmp_path / 'decisions.jsonl'} --backbone={backbone}"
    train_files, label_set = (f"{tmp_path / 'train.jsonl'}:2",), str(tmp_path / "labels.json")
    return Run.begin(folder, Settings("/repository", "/pool", train_files, (), label_set=label_set, training=options))


def went_on(run: Run) -> bool:
    """Whether a training finds what the one before it left."""
    mark = run.folder / "keyword" / "mark"
    mark.touch()
    train(run, "keyword")
    return mark.exists()


@pytest.mark.parametrize(
    "changed", ["train.jsonl", "run/labelled.jsonl", "decisions.jsonl", "labels.json", "backbone/model.safetensors"]
)
def test_other_contents_are_another_training(run: Run, tmp_path: Path, changed: str) -> None:
    train(run, "keyword")
    assert went_on(run)
    text = (tmp_path / changed).read_text(encoding="utf-8")
    (tmp_path / changed).write_text(f"{text} ", encoding="utf-8")
    assert not went_on(run)
    assert went_on(run)


def test_a_file_that_is_not_there_ends_no_training(run: Run, tmp_path: Path) -> None:
    train(run, "keyword")
    (tmp_path / "decisions.jsonl").rename(tmp_path / "elsewhere.jsonl")
    with pytest.raises(InvalidInputError, match=r"decisions\.jsonl: cannot be read"):
        train(run, "keyword")
    (tmp_path / "elsewhere.jsonl").rename(tmp_path / "decisions.jsonl")
    assert went_on(run)
