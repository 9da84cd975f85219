"""The training commands from end to end, on invented reviews and a model small enough for a test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from client.artifact import Artifact
from tests.functional.training.runs import run
from training import distill, finetune, relabel
from training.corpus import split_of
from training.data import LabelledReview, LabelSet, read_labelled


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


def test_a_student_learns_what_an_audit_decided(
    corpora: Path, keyword_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, label_set = corpora / "labelled.jsonl.gz", LabelSet.load(finetune.DEFAULT_LABEL_SET)
    wrong = next(r for r in read_labelled(data, label_set) if split_of(r.text) == "train" and "배송" in r.scores)
    decisions = tmp_path / "decisions.jsonl"
    decisions.write_text(json.dumps({"text": wrong.text, "keyword": "배송", "decision": "remove"}), encoding="utf-8")
    lessons: list[LabelledReview] = []
    monkeypatch.setattr(distill, "distill", lambda *args, **_: lessons.extend(args[4]))
    given = ["keyword", "--teacher", str(keyword_checkpoint), "--train", str(data), "--output", str(tmp_path / "out")]
    assert distill.main([*given, "--decisions", str(decisions)]) == 0
    (learned,) = (lesson for lesson in lessons if lesson.text == wrong.text)
    assert "배송" not in learned.scores


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
