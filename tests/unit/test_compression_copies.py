"""Checkpoints of a variant replace those that are there, or leave them as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.errors import InvalidInputError
from export.compression.workshop import copy_checkpoints
from tests.unit.test_loop_promotion import full_disk
from training.trainer import Task

TASKS: tuple[Task, ...] = ("keyword", "sentiment")


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def made(tmp_path: Path) -> dict[Task, Path]:
    """Two checkpoints, of which the second is the larger one."""
    folders: dict[Task, Path] = {task: tmp_path / "made" / task for task in TASKS}
    for size, folder in zip((100, 9000), folders.values(), strict=True):
        folder.mkdir(parents=True)
        for name in ("config.json", "model.safetensors", "labels.json"):
            (folder / name).write_text("new" * size)
    return folders


def test_a_full_disk_leaves_what_was_there(made: dict[Task, Path], tmp_path: Path) -> None:
    target = tmp_path / "target"
    for task in TASKS:
        (target / task).mkdir(parents=True)
        (target / task / "model.safetensors").write_text("old")
        (target / task / "adapter_model.safetensors").write_text("of another training")
        (target / task / "notes.txt").write_text("mine")
    before = contents(target)
    with full_disk(1000), pytest.raises(InvalidInputError, match=r"target: cannot be written: .*make room"):
        copy_checkpoints(made, target)
    assert contents(target) == before
    copy_checkpoints(made, target)
    notes = {f"{task}/notes.txt": "mine" for task in TASKS}
    assert contents(target) == contents(tmp_path / "made") | notes, "no weights of another model beside the new ones"
    assert sorted(path.name for path in target.iterdir()) == [*TASKS]


def test_a_folder_that_cannot_be_made_is_told(made: dict[Task, Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match=r"--checkpoints .*file/new: cannot be written"):
        copy_checkpoints(made, tmp_path / "file" / "new")
