"""A finished checkpoint takes the place of an old one whole, says what it is for, and takes no review to the hub."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.utils._paths import filter_repo_objects

from client.errors import ArtifactError
from export.checkpoint import load_pair
from training import checkpoint
from training.checkpoint import CONFIG_FILES, begin_checkpoint, finish_checkpoint, load_backbone, push_to_hub
from training.data import LabelSet
from training.tuning import Tune, prepare

# As many keywords as sentiments: counting tells nothing.
LABELS = LabelSet(("배송", "핏", "색상"), "만족도", ("부정", "중립", "긍정"), (-1, 0, 1))


def finish(backbone: Path, out: Path, *, task: str = "keyword", tune: Tune = "all", seed: int = 1) -> None:
    """Write a checkpoint with a random head into ``out``, by way of a folder beside it."""
    work = out.with_name(f"{out.name}-work")
    artifact = begin_checkpoint(work, str(backbone), LABELS, name=f"seed {seed}", max_length=32, prompt="{keyword}")
    torch.manual_seed(seed)
    model = prepare(load_backbone(str(backbone), 3, 0.0, "eager"), tune).finish()
    finish_checkpoint(work, out, model, artifact.labels, {"task": task, "seed": seed}, f"seed {seed}\n")


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize(("before", "after"), [("all", "all"), ("all", "p-tuning"), ("p-tuning", "all")])
def test_a_kill_while_files_are_moved_leaves_no_mixture(
    before: Tune, after: Tune, backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, tune, seed in (("old", before, 1), ("new", after, 2)):
        (tmp_path / folder).mkdir()
        finish(backbone, tmp_path / folder, tune=tune, seed=seed)
    old, new = contents(tmp_path / "old"), contents(tmp_path / "new")
    out = tmp_path / "out"
    left = 0

    def cut_short(whole: Callable[..., Any]) -> Callable[..., Any]:
        def move(self: Path, *args: Any, **kwargs: Any) -> Any:
            nonlocal left
            if out in (self.parent, *(Path(target).parent for target in args)):
                if not left:
                    raise KeyboardInterrupt
                left -= 1
            return whole(self, *args, **kwargs)

        return move

    found = []
    for moves in range(100):
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(tmp_path / "old", out)
        left = moves
        with monkeypatch.context() as context:
            for name in ("replace", "unlink", "rename"):
                context.setattr(Path, name, cut_short(getattr(Path, name)))
            try:
                finish(backbone, out, tune=after, seed=2)
            except KeyboardInterrupt:
                pass
            else:
                break
        if any((out / name).exists() for name in CONFIG_FILES):
            found.append("old" if contents(out) == old else "new")
            assert contents(out) == (old if found[-1] == "old" else new)
            continue
        found.append("none")
        with pytest.raises(ArtifactError, match=r"config\.json"):
            load_backbone(str(out), 3, 0.0, "eager")
        with pytest.raises(ArtifactError, match=r"config\.json"):
            load_pair(out, out)
    assert contents(out) == new, "the same again, also in a work folder where it was cut short"
    assert len(found) > len(new)
    assert found[0] == "old"


def test_what_a_killed_run_had_finished_is_not_mixed_in(backbone: Path, tmp_path: Path) -> None:
    left = tmp_path / "out-work" / "finished"
    left.mkdir(parents=True)
    (left / "adapter_config.json").write_text("{}")
    out = tmp_path / "out"
    out.mkdir()
    finish(backbone, out)
    assert "adapter_config.json" not in contents(out)


def test_swapped_checkpoints_with_as_many_keywords_as_sentiments(backbone: Path, tmp_path: Path) -> None:
    folders = keyword, sentiment = tmp_path / "keyword", tmp_path / "sentiment"
    for folder in folders:
        folder.mkdir()
        finish(backbone, folder, task=folder.name)
    assert load_pair(keyword, sentiment).labels.keywords == LABELS.keywords
    with pytest.raises(ArtifactError, match=r"id2label: the outputs are the sentiments .* swapped"):
        load_pair(sentiment, sentiment)
    with pytest.raises(ArtifactError, match=r"id2label: the outputs are the keywords .* swapped"):
        load_pair(keyword, keyword)
    with pytest.raises(ArtifactError, match="swapped"):
        load_pair(sentiment, keyword)


def test_the_hub_gets_the_checkpoint_and_no_reviews(
    backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploaded: list[str] = []

    class Hub:
        def create_repo(self, _name: str, *, private: bool, exist_ok: bool) -> None:
            assert private
            assert exist_ok

        def upload_folder(self, *, repo_id: str, folder_path: Path, allow_patterns: list[str]) -> None:
            assert repo_id == "shop/keywords"
            names = [str(file.relative_to(folder_path)) for file in folder_path.rglob("*") if file.is_file()]
            uploaded.extend(filter_repo_objects(names, allow_patterns=allow_patterns))

    monkeypatch.setattr(checkpoint, "HfApi", Hub)
    out = tmp_path / "out"
    out.mkdir()
    finish(backbone, out)
    written = set(contents(out))
    (out / checkpoint.CONTRADICTIONS_FILE).write_text("a customer's review")
    (out / "notes.txt").write_text("not the checkpoint's")
    push_to_hub(out, "shop/keywords")
    assert set(uploaded) == written >= {"config.json", "model.safetensors", "labels.json", "tokenizer.json"}
