"""Invented reviews, a backbone pretrained on them, and a finished keyword checkpoint: small enough for a test."""

from __future__ import annotations

import gzip
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.functional.training.runs import run
from training import pretrain

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


@pytest.fixture(scope="package")
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


@pytest.fixture(scope="package")
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


@pytest.fixture(scope="package")
def keyword_checkpoint(corpora: Path, backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("keyword")
    run("keyword", corpora, backbone, out, epochs=60)
    return out
