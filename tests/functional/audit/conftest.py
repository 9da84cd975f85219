"""Invented reviews, some with a wrong label, and an encoder small enough to learn them in seconds."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast, RobertaConfig, RobertaForMaskedLM
from transformers.utils import logging

from training.tokenizer import train_tokenizer

SUBJECTS = {
    "배송": ("배송이", "택배가", "포장이"),
    "색상": ("색상이", "색감이", "컬러가"),
    "신축성": ("신축성이", "스판이", "탄성이"),
}
PRAISE = {1: ("좋아요", "마음에 들어요", "괜찮네요"), -1: ("별로예요", "아쉬워요", "실망이에요")}
WRONG_KEYWORD = "신축성"
WRONG_EVERY = 15


def invented_reviews() -> list[dict[str, Any]]:
    """Reviews of one opinion and of two; every label is right."""
    opinions = [
        (keyword, score, f"{subject} {praise}")
        for keyword, subjects in SUBJECTS.items()
        for subject, (score, praises) in itertools.product(subjects, PRAISE.items())
        for praise in praises
    ]
    singles = [({k: s, "만족도": s}, f"{size}호 {said}") for size in range(2) for k, s, said in opinions]
    pairs = [
        ({a: s, b: t, "만족도": (s + t) // 2}, f"{first}, {second}")
        for (a, s, first), (b, t, second) in list(itertools.combinations(opinions, 2))[::7]
        if a != b
    ]
    return [{"id": f"r{i}", "text": t, "labels": labels} for i, (labels, t) in enumerate([*singles, *pairs])]


@pytest.fixture(scope="package")
def right(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("reviews") / "right.jsonl", invented_reviews())


@pytest.fixture(scope="package")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[str]]:
    """The reviews with a wrong keyword here and there, and the ids of these."""
    rows = invented_reviews()
    chosen = [row for row in rows if WRONG_KEYWORD not in row["labels"]][::WRONG_EVERY]
    for row in chosen:
        row["labels"][WRONG_KEYWORD] = 1
    return write(tmp_path_factory.mktemp("reviews") / "wrong.jsonl", rows), {row["id"] for row in chosen}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="package")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One layer of 64 with random weights, in a folder as the hub's."""
    folder = tmp_path_factory.mktemp("backbone")
    tokenizer = train_tokenizer([row["text"] for row in invented_reviews()], vocab_size=300)
    names = {"cls_token": "<s>", "pad_token": "<pad>", "sep_token": "</s>", "mask_token": "<mask>"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", **names)  # noqa: S106
    fast.save_pretrained(folder)
    torch.manual_seed(1)
    config = RobertaConfig(
        vocab_size=len(fast),
        hidden_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=80,
        type_vocab_size=1,
        pad_token_id=1,
        initializer_range=0.1,
    )
    logging.disable_progress_bar()
    RobertaForMaskedLM(config).save_pretrained(folder)
    return folder
