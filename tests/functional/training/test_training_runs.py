"""The training commands from end to end, on invented reviews and a model small enough for a test."""

from __future__ import annotations

import gzip
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from client.artifact import Artifact
from training import finetune, pretrain, relabel
from training.corpus import split_of
from training.data import LabelSet, read_labelled

OPINIONS = {
    "배송": ("배송이", "택배가", "포장이"),
    "색상": ("색상이", "색감이", "컬러가"),
    "핏": ("핏이", "라인이", "실루엣이"),
}
SENTIMENTS = {2: "정말 최고예요", 1: "좋아요", 0: "그냥 그래요", -1: "별로예요", -2: "최악이라 반품해요"}


def reviews() -> list[dict[str, Any]]:
    """Reviews of one opinion and of two."""
    opinions = [
        (keyword, score, f"{subject} {praise}")
        for keyword, subjects in OPINIONS.items()
        for subject in subjects
        for score, praise in SENTIMENTS.items()
    ]
    rows: list[dict[str, Any]] = [
        {"text": f"{size}호 {said}", "labels": {keyword: score, "만족도": score}}
        for size in range(4)
        for keyword, score, said in opinions
    ]
    for (first, a, praise), (second, b, blame) in list(itertools.combinations(opinions, 2))[::3]:
        if first != second:
            overall = (a + b > 0) - (a + b < 0)
            rows.append({"text": f"{praise} 그리고 {blame}", "labels": {first: a, second: b, "만족도": overall}})
    return rows


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpora")
    labelled = reviews()
    with gzip.open(folder / "labelled.jsonl.gz", "wt", encoding="utf-8") as out:
        out.writelines(json.dumps(row) + "\n" for row in labelled)
    for name in ("absa_fashion_train.jsonl.gz", "absa_other_train.jsonl.gz"):
        with gzip.open(folder / name, "wt", encoding="utf-8") as out:
            for number, row in enumerate(labelled):
                text = str(row["text"])
                pieces = zip(dict(row["labels"]).items(), text.split(" 그리고 "), strict=False)
                aspects = [
                    {"aspect": keyword, "polarity": (score > 0) - (score < 0), "span": piece}
                    for (keyword, score), piece in pieces
                ]
                out.write(json.dumps({"id": number, "text": text, "score": 80, "aspects": aspects}) + "\n")
    with gzip.open(folder / "film_reviews.tsv.gz", "wt", encoding="utf-8") as out:
        out.writelines(f"{1 + n % 10}\t{row['text']}\n" for n, row in enumerate(labelled))
    with gzip.open(folder / "general_unlabelled.txt.gz", "wt", encoding="utf-8") as out:
        out.writelines(f"{row['text']}\n" for row in labelled)
    return folder


@pytest.fixture(scope="module")
def backbone(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model pretrained in two runs: the first is cut short, the second goes on from its checkpoint."""
    out = tmp_path_factory.mktemp("pretrained")
    common = ["--data", str(corpora), "--output", str(out), "--layers", "1", "--hidden-size", "64", "--no-compile"]
    common += [
        "--initializer-range",
        "0.1",
        "--vocab-size",
        "400",
        "--token-budget",
        "2048",
        "--max-length",
        "64",
        "--checkpoint-seconds",
        "0",
    ]
    pretrain.main([*common, "--tokens", "20000"])
    steps = json.loads((out / "pretraining.json").read_text())["steps"]
    (out / "model.safetensors").unlink()
    pretrain.main([*common, "--tokens", "60000"])
    assert json.loads((out / "pretraining.json").read_text())["steps"] > 1.5 * steps
    assert torch.load(out / "state.pt", weights_only=True)["tokens"] >= 60000
    return out


@pytest.fixture(scope="module")
def keyword_checkpoint(corpora: Path, backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("keyword")
    run("keyword", corpora, backbone, out, epochs=60)
    return out


def run(task: str, corpora: Path, backbone: Path, out: Path, epochs: int) -> dict[str, dict[str, dict[str, float]]]:
    arguments = [task, "--train", str(corpora / "labelled.jsonl.gz"), "--output", str(out), "--epochs", str(epochs)]
    arguments += ["--backbone", str(backbone), "--learning-rate", "3e-3", "--token-budget", "1024", "--no-bf16"]
    assert finetune.main([*arguments, "--max-length", "64", "--attention", "eager", "--dropout", "0"]) == 0
    tables: dict[str, dict[str, dict[str, float]]] = json.loads((out / "metrics.json").read_text())["test"]
    return tables


def test_keyword_classifier_learns_and_writes_its_contract(keyword_checkpoint: Path) -> None:
    tables = json.loads((keyword_checkpoint / "metrics.json").read_text())["test"]
    assert tables["graded"]["micro avg"]["f1"] > 0.8, (
        "0.74 is what naming the three keywords of all reviews would reach"
    )
    names = {path.name for path in keyword_checkpoint.iterdir()}
    assert names >= {"config.json", "model.safetensors", "tokenizer.json", "labels.json", "metrics.json", "README.md"}
    assert "trainer" not in names, "checkpoints of a finished run are not kept"
    labels = Artifact.load(keyword_checkpoint).labels
    assert len(labels.thresholds) == 14
    assert labels.keyword_temperature != 1
    config = json.loads((keyword_checkpoint / "config.json").read_text())
    assert config["id2label"]["6"] == "배송"


def test_training_goes_on_from_a_finished_checkpoint(corpora: Path, keyword_checkpoint: Path, tmp_path: Path) -> None:
    tables = run("keyword", corpora, keyword_checkpoint, tmp_path, epochs=1)
    assert tables["graded"]["micro avg"]["f1"] > 0.8, "what was learned is still there"
    before, after = (Artifact.load(folder).labels.tokenizer_sha256 for folder in (keyword_checkpoint, tmp_path))
    assert after == before


def test_relabelled_reviews_can_be_trained_on(corpora: Path, keyword_checkpoint: Path, tmp_path: Path) -> None:
    soft = tmp_path / "soft.jsonl.gz"
    arguments = ["--checkpoint", str(keyword_checkpoint), "--data", str(corpora / "labelled.jsonl.gz")]
    assert relabel.main([*arguments, "--output", str(soft)]) == 0
    label_set = LabelSet.load(finetune.DEFAULT_LABEL_SET)
    rows = list(read_labelled(soft, label_set))
    assert {split_of(row.text) for row in rows} == {"train"}
    hard = {row.text: row.scores for row in read_labelled(corpora / "labelled.jsonl.gz", label_set)}
    for row in rows:
        for keyword, target in row.targets.items():
            assert target >= 0.5 if keyword in hard[row.text] else target <= 0.5


def test_sentiment_classifier_learns(corpora: Path, backbone: Path, tmp_path: Path) -> None:
    tables = run("sentiment", corpora, backbone, tmp_path, epochs=60)
    assert tables["graded"]["accuracy"]["f1"] > 0.5, "a third is what the most frequent class would reach"
    assert set(tables) == {"graded", "graded by sign"}
    assert Artifact.load(tmp_path).labels.sentiment_temperature != 1


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([], "no labelled review in the file"),
        ([{"text": "핏이 좋아요", "labels": {"핏": 1}}], "split empty; bring at least 100"),
        ([{"text": "핏이 좋아요", "labels": {"향": 1}}], "'향' is not in the label set"),
    ],
)
def test_unusable_data_is_told(
    rows: list[object], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], backbone: Path
) -> None:
    file = tmp_path / "reviews.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    arguments = ["keyword", "--train", str(file), "--output", str(tmp_path / "out"), "--backbone", str(backbone)]
    assert finetune.main(arguments) == 2
    assert told in capsys.readouterr().err


def test_missing_backbone_is_told(corpora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["keyword", "--train", str(corpora / "labelled.jsonl.gz"), "--output", str(tmp_path / "out")]
    assert finetune.main([*arguments, "--backbone", str(tmp_path / "nothing")]) == 2
    assert "--backbone" in capsys.readouterr().err
