"""A run that is interrupted, stops early, meets a full disk or an absent hub; averaged seeds; adapters."""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import resource
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
from safetensors.torch import load_file

from client.artifact import Artifact
from client.errors import ArtifactError
from export.checkpoint import load_pair
from tests.functional.training.runs import arguments, run
from training import finetune, review_trainer, soup, trainer
from training.examples import KeywordCollator, KeywordExample
from training.review_trainer import ReviewTrainer, last_whole_checkpoint


def hashes(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir() if p.is_file()}


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Writes beyond ``size`` bytes fail, as on a full disk: the operating system says so, not a mock."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def test_a_run_that_was_killed_in_mid_epoch_goes_on(
    corpora: Path, backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(review_trainer, "SAVE_STEPS", 2)
    steps = 0
    whole_step = ReviewTrainer.training_step

    def interrupted_step(self: ReviewTrainer, *args: Any, **kwargs: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 4:
            raise KeyboardInterrupt
        return whole_step(self, *args, **kwargs)

    monkeypatch.setattr(ReviewTrainer, "training_step", interrupted_step)
    with pytest.raises(KeyboardInterrupt):
        run("keyword", corpora, backbone, tmp_path, 1)
    monkeypatch.setattr(ReviewTrainer, "training_step", whole_step)
    work = tmp_path / finetune.WORK_FOLDER / "trainer"
    first = last_whole_checkpoint(work)
    assert first is not None
    assert first.name == "checkpoint-2"
    assert not (tmp_path / "model.safetensors").exists()

    (work / "checkpoint-3").mkdir()  # a newer one that a kill tore: its state was not written
    (work / "checkpoint-3" / "model.safetensors").write_bytes(b"torn")
    with caplog.at_level(logging.INFO, "finetune"):
        run("keyword", corpora, backbone, tmp_path, 1)
    assert f"going on from {first}" in caplog.text
    assert "checkpoint-3 is not whole" in caplog.text
    assert {p.name for p in tmp_path.iterdir()} >= {"model.safetensors", "labels.json"}
    assert not (tmp_path / finetune.WORK_FOLDER).exists()


def test_a_run_with_other_settings_or_data_does_not_go_on_with_the_old_one(
    corpora: Path, backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(review_trainer, "SAVE_STEPS", 1)
    whole_step = ReviewTrainer.training_step

    def interrupted_step(self: ReviewTrainer, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == 2:
            raise KeyboardInterrupt
        return whole_step(self, *args, **kwargs)

    shorter = tmp_path / "shorter.jsonl"
    reviews = gzip.decompress((corpora / "labelled.jsonl.gz").read_bytes()).splitlines(keepends=True)
    shorter.write_bytes(b"".join(reviews[:-40]))
    for number, other in enumerate((["--learning-rate", "0.01"], ["--loss", "focal"], ["--train", str(shorter)])):
        out = tmp_path / str(number)
        with monkeypatch.context() as context:
            context.setattr(ReviewTrainer, "training_step", interrupted_step)
            with pytest.raises(KeyboardInterrupt):
                run("keyword", corpora, backbone, out, 1)
        assert last_whole_checkpoint(out / finetune.WORK_FOLDER / "trainer") is not None
        caplog.clear()
        with caplog.at_level(logging.INFO, "finetune"):
            run("keyword", corpora, backbone, out, 1, *other)
        assert "going on from" not in caplog.text
        assert "had other settings or data; this one begins anew" in caplog.text
        fresh = tmp_path / f"{number}-fresh"
        run("keyword", corpora, backbone, fresh, 1, *other)
        assert same_weights(out, load_file(fresh / "model.safetensors"))


def test_every_epoch_has_an_order_of_its_own_also_after_an_interruption(
    corpora: Path, backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review_trainer, "SAVE_STEPS", 1)
    batches: list[list[str]] = []
    stop_after: list[int] = []
    whole_collate = KeywordCollator.__call__
    whole_step = ReviewTrainer.training_step

    def noted_collate(self: KeywordCollator, examples: Sequence[KeywordExample]) -> dict[str, Any]:
        if self.mask_words:  # those of calibration mask nothing
            batches.append([example.review.text for example in examples])
        return whole_collate(self, examples)

    def counted_step(self: ReviewTrainer, *args: Any, **kwargs: Any) -> Any:
        if stop_after and self.state.global_step == stop_after[0]:
            raise KeyboardInterrupt
        return whole_step(self, *args, **kwargs)

    monkeypatch.setattr(KeywordCollator, "__call__", noted_collate)
    monkeypatch.setattr(ReviewTrainer, "training_step", counted_step)
    small = ["--token-budget", "1024"]
    run("keyword", corpora, backbone, tmp_path / "whole", 3, *small)
    whole, batches = batches, []
    assert len(whole) % 3 == 0
    an_epoch = len(whole) // 3
    epochs = [whole[i : i + an_epoch] for i in range(0, len(whole), an_epoch)]
    assert an_epoch > 2
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    assert len({tuple(sorted(chain.from_iterable(epoch))) for epoch in epochs}) == 1, "each has every review once"

    stop_after.append(an_epoch + 2)
    with pytest.raises(KeyboardInterrupt):
        run("keyword", corpora, backbone, tmp_path / "cut", 3, *small)
    stop_after.clear()
    batches = []
    run("keyword", corpora, backbone, tmp_path / "cut", 3, *small)
    assert batches == whole[an_epoch + 2 :]


def test_a_full_disk_leaves_the_old_checkpoint_whole(
    corpora: Path, backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("keyword", corpora, backbone, tmp_path, 0.1)
    before = hashes(tmp_path)
    with file_size_limit(100_000):
        assert finetune.main(arguments("keyword", corpora, backbone, tmp_path, 0.2)) == 2
    assert "make room and run the command again" in capsys.readouterr().err
    assert hashes(tmp_path) == before
    monkeypatch.setattr(review_trainer, "SAVE_STEPS", 1)
    with file_size_limit(100_000):
        assert finetune.main(arguments("keyword", corpora, backbone, tmp_path, 0.2)) == 2
    assert "the last whole checkpoint is kept" in capsys.readouterr().err
    assert hashes(tmp_path) == before
    run("keyword", corpora, backbone, tmp_path, 0.2)
    assert hashes(tmp_path) != before


def scripted_scores(monkeypatch: pytest.MonkeyPatch, *scores: float) -> list[dict[str, Any]]:
    """Let the evaluations of all runs have these scores, one after the other; returns the weights of each."""
    seen: list[dict[str, Any]] = []

    def score(model: Any) -> float:
        seen.append({name: tensor.detach().clone().half() for name, tensor in model.state_dict().items()})
        return scores[len(seen) - 1]

    monkeypatch.setattr(trainer, "_scorer", lambda *_: score)
    return seen


def same_weights(checkpoint: Path, weights: dict[str, Any]) -> bool:
    stored = load_file(checkpoint / "model.safetensors")
    return all(bool((tensor == weights[name]).all()) for name, tensor in stored.items())


def test_early_stopping_keeps_the_best_weights(
    corpora: Path, backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = scripted_scores(monkeypatch, 0.1, 0.9, 0.5, 0.4)
    run("keyword", corpora, backbone, tmp_path, 50, "--early-stopping", "2")
    assert len(seen) == 4, "the second evaluation without a gain ends a run of fifty epochs"
    assert same_weights(tmp_path, seen[1])
    assert not same_weights(tmp_path, seen[3])


def test_patience_goes_on_after_an_interruption(
    corpora: Path, backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = scripted_scores(monkeypatch, 0.9, 0.5, 0.4, 0.3)
    whole_step = ReviewTrainer.training_step

    def interrupted_step(self: ReviewTrainer, *args: Any, **kwargs: Any) -> Any:
        if len(seen) == 2:
            raise KeyboardInterrupt
        return whole_step(self, *args, **kwargs)

    with monkeypatch.context() as context:
        context.setattr(ReviewTrainer, "training_step", interrupted_step)
        with pytest.raises(KeyboardInterrupt):
            run("keyword", corpora, backbone, tmp_path, 50, "--early-stopping", "2")
    run("keyword", corpora, backbone, tmp_path, 50, "--early-stopping", "2")
    assert len(seen) == 3, "one evaluation without a gain came before the interruption, one after it"
    assert same_weights(tmp_path, seen[0])


@pytest.mark.parametrize("tune", ["lora", "p-tuning"])
def test_adapters_are_merged_or_kept_apart(
    tune: str, corpora: Path, backbone: Path, keyword_checkpoint: Path, tmp_path: Path
) -> None:
    run("sentiment", corpora, backbone, tmp_path, 0.3, "--tune", tune, "--loss", "focal")
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["training"]["trainable_parameters"] < metrics["training"]["parameters"]
    if tune == "lora":
        assert load_pair(keyword_checkpoint, tmp_path).labels.sentiments
    else:
        assert (tmp_path / "adapter_model.safetensors").is_file()
        with pytest.raises(ArtifactError, match="adapter with virtual tokens"):
            load_pair(keyword_checkpoint, tmp_path)


def test_weights_of_seeds_are_averaged(corpora: Path, backbone: Path, tmp_path: Path) -> None:
    folders = [tmp_path / seed for seed in "12"]
    for folder in folders:
        run("keyword", corpora, backbone, folder, 1, "--seed", folder.name, "--loss", "weighted")
    out = tmp_path / "mean"
    data = ["--data", str(corpora / "labelled.jsonl.gz"), "--output", str(out)]
    assert soup.main(["keyword", "--checkpoints", *map(str, folders), *data]) == 0
    name = "roberta.encoder.layer.0.attention.self.query.weight"
    first, second, mean = (load_file(folder / "model.safetensors")[name].float() for folder in (*folders, out))
    assert not (first == second).all()
    assert (mean - (first + second) / 2).abs().max() < 1e-3
    metrics = json.loads((out / "metrics.json").read_text())
    runs = [run["graded: micro"] for run in metrics["runs"]["test"]]
    assert metrics["spread"]["test"]["graded: micro"]["mean"] == pytest.approx(sum(runs) / 2)


def test_seeds_of_different_backbones_are_not_averaged(
    corpora: Path, keyword_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for file in keyword_checkpoint.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    labels = json.loads((other / "labels.json").read_text())
    (other / "labels.json").write_text(json.dumps({**labels, "max_length": 32}))
    data = ["--data", str(corpora / "labelled.jsonl.gz"), "--output", str(tmp_path / "mean")]
    assert soup.main(["keyword", "--checkpoints", str(keyword_checkpoint), str(other), *data]) == 2
    assert "its max_length differs" in capsys.readouterr().err


def test_a_hub_that_cannot_be_reached_loses_nothing(
    corpora: Path, backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    command = arguments("keyword", corpora, backbone, tmp_path, 0.1, "--push-to-hub", "shop/keywords")
    assert finetune.main(command) == 2
    assert f"hf upload shop/keywords {tmp_path}" in capsys.readouterr().err
    assert Artifact.load(tmp_path).labels.keywords


def test_a_reporter_that_is_not_installed_is_told_before_training(
    corpora: Path, backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert finetune.main(arguments("keyword", corpora, backbone, tmp_path, 1, "--report-to", "wandb")) == 2
    assert "pip install wandb" in capsys.readouterr().err
