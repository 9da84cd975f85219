"""The compression commands from end to end, on the sample reviews and checkpoints of random weights."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from client.artifact import LABELS_FILE, TOKENIZER_FILE, Artifact, Labels, sha256_of
from client.encoding import Encoder
from client.errors import InvalidInputError
from export.checkpoint import load_pair
from export.compression import __main__ as command
from export.compression.report import BEGIN, END
from export.compression.reviews import Reviews
from export.compression.variants import Variant
from export.compression.workshop import Workshop
from tests.functional.command_line import ROOT
from tests.functional.export.tiny_checkpoints import write_checkpoint
from training import distill
from training.checkpoint import load_backbone
from training.data import LabelSet
from training.finetune import DEFAULT_LABEL_SET
from training.predictions import predict_repository
from training.tokenizer import train_tokenizer
from training.trainer import predict_keyword

DATA = ROOT / "samples" / "labelled_reviews.jsonl"
SMALL = "layers=1+heads=0.5+feed-forward=0.5+distill=0.02+vocabulary=2"
LOOSE = ["--max-keyword-loss", "1", "--max-keyword-macro-loss", "1", "--max-one-keyword-loss", "1"]
LOOSE += ["--max-sentiment-loss", "1", "--max-sentiment-macro-loss", "1", "--min-highlight-agreement", "0"]


@pytest.fixture(scope="module")
def label_set() -> LabelSet:
    return LabelSet.load(DEFAULT_LABEL_SET)


@pytest.fixture(scope="module")
def reviews(label_set: LabelSet) -> Reviews:
    return Reviews.load([DATA], label_set)


@pytest.fixture(scope="module")
def checkpoints(label_set: LabelSet, reviews: Reviews, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two layers of 64 with a tokenizer of the sample reviews."""
    folder: Path = tmp_path_factory.mktemp("checkpoints")
    train_tokenizer([r.text for r in reviews.train] * 3, vocab_size=900).save(str(folder / TOKENIZER_FILE))
    labels = Labels(
        name="tiny",
        keywords=label_set.keywords,
        overall=label_set.overall,
        sentiments=label_set.sentiments,
        sentiment_scores=label_set.sentiment_scores,
        thresholds=(0.5,) * len(label_set.keywords),
        max_length=64,
        tokenizer_sha256=sha256_of((folder / TOKENIZER_FILE).read_bytes()),
    )
    (folder / LABELS_FILE).write_text(labels.to_json(), encoding="utf-8")
    artifact = Artifact.load(folder)
    return (
        write_checkpoint(folder / "keyword", artifact, len(labels.keywords), vocabulary=1100),
        write_checkpoint(folder / "sentiment", artifact, len(labels.sentiments), vocabulary=1100),
    )


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One work folder for all: what a test made, the next one finds."""
    folder: Path = tmp_path_factory.mktemp("work")
    return folder


def arguments(name: str, checkpoints: tuple[Path, Path], work: Path, *more: str | Path) -> list[str]:
    given = [name, "--keyword", checkpoints[0], "--sentiment", checkpoints[1], "--data", DATA, "--work", work]
    return [*map(str, given), "--highlight-reviews", "4", "--rounds", "1", *map(str, more)]


def test_a_table_of_variants(
    checkpoints: tuple[Path, Path], work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = tmp_path / "compression.md"
    document.write_text(f"# Compression\n{BEGIN}\n{END}\n", encoding="utf-8")
    variants = ["int8", "int8-static", "int8-onnxruntime", SMALL, f"{SMALL}+int8"]
    call = arguments("table", checkpoints, work, "--variant", *variants, "--update", document)
    assert command.main(call) == 0
    printed = capsys.readouterr().out
    assert document.read_text(encoding="utf-8") == f"# Compression\n{BEGIN}\n{printed[:-1]}{END}\n"

    measured = {row["variant"]: row for row in json.loads((work / "compression.json").read_text(encoding="utf-8"))}
    assert list(measured) == ["fp32", *variants]
    sizes = {name: row["size"] for name, row in measured.items()}
    assert sizes[f"{SMALL}+int8"] < min(sizes[SMALL], sizes["int8"]) < sizes["fp32"]
    assert measured["fp32"]["highlight_agreement"] == 1
    assert measured["int8"]["company"] < 1e-5 < 1e-4 < measured["int8-onnxruntime"]["company"]
    assert measured["int8"]["highlight_agreement"] > measured[SMALL]["highlight_agreement"]
    with (work / "compression.csv").open(encoding="utf-8") as file:
        rows = {(row["variant"], row["figure"]): row["value"] for row in csv.DictReader(file)}
    assert float(rows["int8", "by_keyword: 배송"]) == measured["int8"]["by_keyword"]["배송"]

    made = {path: path.stat().st_mtime_ns for path in work.rglob("*.onnx")}
    assert command.main(call) == 0
    assert capsys.readouterr().out == printed, "figures of the first call, timings included"
    assert {path: path.stat().st_mtime_ns for path in work.rglob("*.onnx")} == made


def test_variants_are_ordinary_checkpoints(
    checkpoints: tuple[Path, Path], work: Path, reviews: Reviews, tmp_path: Path
) -> None:
    given = arguments("write", checkpoints, work, "--variant", SMALL, "--checkpoints", tmp_path)
    assert command.main([*given, *LOOSE]) == 0
    pair = load_pair(tmp_path / "keyword", tmp_path / "sentiment")
    before = load_pair(*checkpoints)
    config = pair.keyword.classifier.config
    assert (config.num_hidden_layers, config.intermediate_size) == (1, 64)
    assert config.vocab_size < before.keyword.classifier.config.vocab_size
    assert pair.labels.thresholds != before.labels.thresholds, "calibrated anew"
    assert not list(tmp_path.rglob("unfinished"))
    with torch.inference_mode():
        logits = pair.keyword.classifier(torch.tensor([[0, 7, 8, 2]])).logits
    assert logits.shape == (1, 14)


def test_a_variant_within_its_bounds_becomes_a_repository(
    checkpoints: tuple[Path, Path], work: Path, reviews: Reviews, tmp_path: Path
) -> None:
    repository = tmp_path / "model_repository"
    variant = f"{SMALL}+int8"
    given = arguments("write", checkpoints, work, "--variant", variant, "--repository", repository, "--skip-triton")
    assert command.main([*given, *LOOSE]) == 0
    found = predict_repository(repository, reviews.test)
    assert found.keyword_probs.shape == (len(reviews.test), 14)
    assert np.isfinite(found.keyword_probs).all()


@pytest.mark.parametrize("output", ["--repository", "--checkpoints"])
def test_a_variant_that_loses_too_much_is_refused(
    checkpoints: tuple[Path, Path], work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    target = tmp_path / "target"
    given = arguments("write", checkpoints, work, "--variant", SMALL, output, target)
    assert command.main([*given, "--min-highlight-agreement", "0.999"]) == 1
    told = capsys.readouterr().err
    assert f"{SMALL} is refused: " in told
    assert "highlight agreement 0." in told
    assert "is below 0.999 (--min-highlight-agreement)" in told
    assert not target.exists()


def test_the_student_comes_nearer_to_its_teacher(
    checkpoints: tuple[Path, Path], reviews: Reviews, label_set: LabelSet, tmp_path: Path
) -> None:
    given = ["keyword", "--teacher", str(checkpoints[0]), "--layers", "1", "--train", str(DATA), "--no-bf16"]
    assert distill.main([*given, "--output", str(tmp_path), "--labels-share", "0", "--million-tokens", "0.15"]) == 0
    encoder = Encoder(Artifact.load(tmp_path))
    start = load_backbone(str(checkpoints[0]), 14, 0.0, "eager")
    distill.evenly_spaced_layers(start, 1)
    teacher, student = (load_backbone(str(folder), 14, 0.0, "eager") for folder in (checkpoints[0], tmp_path))
    said = [predict_keyword(m, reviews.test, encoder, label_set)[0] for m in (teacher, start, student)]
    before, after = (np.abs(logits - said[0]).mean() for logits in said[1:])
    assert after < 0.8 * before
    assert student.config.num_hidden_layers == 1
    assert "trainer" not in {path.name for path in tmp_path.iterdir()}


class InterruptionError(Exception):
    pass


def test_an_interrupted_distillation_goes_on(
    checkpoints: tuple[Path, Path],
    reviews: Reviews,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("training.distillation.SAVE_STEPS", 2)
    workshop = Workshop(tmp_path, *checkpoints, reviews)
    steps = Variant.parse("distill=0.02").steps
    target = workshop.folder / "checkpoints" / "distill=0.02" / "keyword"

    def interrupt(*_: object, **__: object) -> None:
        raise InterruptionError

    with monkeypatch.context() as patch:
        patch.setattr("export.compression.workshop.evaluate_model", interrupt)
        with pytest.raises(InterruptionError):
            workshop.checkpoints(steps)
    assert not (target / "model.safetensors").exists(), "what is not finished is not taken for finished"
    caplog.set_level("INFO", logger="distill")
    workshop.checkpoints(steps)
    assert "going on from" in caplog.text
    assert (target / "model.safetensors").is_file()
    assert not (target / "unfinished").exists()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--variant", "int4"], "'int4' is none of"),
        (["--variant", "layers=2"], "layers=2: the model has 2 layers"),
        (["--data", "nothing.jsonl"], "nothing.jsonl"),
    ],
)
def test_what_cannot_be_done_is_told(
    checkpoints: tuple[Path, Path], work: Path, more: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([*arguments("table", checkpoints, work), *more]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--variant", "int8-static", "--repository", "new"], "int8-static is for measuring"),
        (["--variant", "int8", "--checkpoints", "new"], "needs --repository"),
    ],
)
def test_what_cannot_be_written_is_told(
    checkpoints: tuple[Path, Path], work: Path, more: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([*arguments("write", checkpoints, work), *more]) == 2
    assert told in capsys.readouterr().err


def test_checkpoints_of_another_label_set_are_refused(
    checkpoints: tuple[Path, Path], reviews: Reviews, tmp_path: Path
) -> None:
    other = replace(reviews.label_set, overall="총평")
    with pytest.raises(InvalidInputError, match="--label-set"):
        Workshop(tmp_path, *checkpoints, replace(reviews, label_set=other))


def test_reviews_without_strength_are_refused(label_set: LabelSet, tmp_path: Path) -> None:
    file = tmp_path / "signs.jsonl"
    aspects = [{"aspect": "핏", "polarity": 1, "span": "핏이 좋아요"}]
    lines = (json.dumps({"text": f"{n}번째 핏이 좋아요", "aspects": aspects}) + "\n" for n in range(60))
    file.write_text("".join(lines), encoding="utf-8")
    with pytest.raises(InvalidInputError, match="no review with graded labels for validation and test"):
        Reviews.load([file], label_set)


def test_other_reviews_are_other_work(checkpoints: tuple[Path, Path], reviews: Reviews, tmp_path: Path) -> None:
    first = Workshop(tmp_path, *checkpoints, reviews).folder
    assert Workshop(tmp_path, *checkpoints, reviews).folder == first
    assert Workshop(tmp_path, *checkpoints, replace(reviews, train=reviews.train[1:])).folder != first
    copy = tmp_path / "copy"
    shutil.copytree(checkpoints[0], copy)
    labels = Artifact.load(copy).labels
    (copy / LABELS_FILE).write_text(replace(labels, keyword_temperature=2.0).to_json(), encoding="utf-8")
    second = Workshop(tmp_path, copy, checkpoints[1], reviews)
    assert second.folder != first
    shutil.rmtree(copy)
    assert second.pair(Variant()).labels.keyword_temperature == 2.0, "what was given is kept"
