"""A champion that knows nothing, and new reviews to learn from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers import RobertaConfig, RobertaForSequenceClassification
from transformers.utils import logging

from client.artifact import LABELS_FILE, TOKENIZER_FILE, Artifact, Labels, sha256_of
from tests.functional.command_line import ROOT
from tests.functional.retraining.constant_repository import write_repository
from tests.functional.retraining.invented import reviews, write
from training import finetune
from training.corpus import split_of
from training.data import LabelSet
from training.tokenizer import train_tokenizer

LABELLED, UNLABELLED = ROOT / "samples" / "labelled_reviews.jsonl", ROOT / "samples" / "unlabelled_reviews.jsonl"
TRAINING = "--learning-rate 2e-3 --token-budget 512 --no-bf16 --max-length 64 --attention eager --dropout 0"


@pytest.fixture(scope="package")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A folder with a tokenizer, labels, and random weights of a small RoBERTa."""
    folder = tmp_path_factory.mktemp("backbone")
    texts = [json.loads(line)["text"] for line in LABELLED.read_text(encoding="utf-8").splitlines()]
    tokenizer_file = folder / TOKENIZER_FILE
    # Often enough that each word of the new goods becomes one token, and what a tiny model has to learn is easy.
    texts += [row["text"] for row in reviews(range(30))]
    train_tokenizer(texts, vocab_size=1600).save(str(tokenizer_file))
    label_set = LabelSet.load(finetune.DEFAULT_LABEL_SET)
    labels = Labels(
        name="tiny",
        keywords=label_set.keywords,
        overall=label_set.overall,
        sentiments=label_set.sentiments,
        sentiment_scores=label_set.sentiment_scores,
        thresholds=(0.5,) * len(label_set.keywords),
        max_length=64,
        tokenizer_sha256=sha256_of(tokenizer_file.read_bytes()),
    )
    (folder / LABELS_FILE).write_text(labels.to_json(), encoding="utf-8")
    torch.manual_seed(1)
    config = RobertaConfig(
        vocab_size=Tokenizer.from_file(str(tokenizer_file)).get_vocab_size(),
        hidden_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=90,
        type_vocab_size=1,
        pad_token_id=1,
        initializer_range=0.2,
    )
    logging.disable_progress_bar()
    RobertaForSequenceClassification(config).save_pretrained(folder)
    return Artifact.load(folder)


@pytest.fixture(scope="package")
def training(backbone: Artifact) -> str:
    """Options of ``training.finetune`` for that backbone."""
    return f"--backbone {backbone.folder} {TRAINING}"


@pytest.fixture(scope="package")
def train_files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The samples, and a few reviews of the new goods."""
    return [str(LABELLED), str(write(tmp_path_factory.mktemp("train") / "few.jsonl", reviews(range(2))))]


@pytest.fixture(scope="package")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Reviews of the new goods that no training touches."""
    rows = [row for row in reviews(range(100, 150)) if split_of(row["text"]) == "test"]
    return str(write(tmp_path_factory.mktemp("held-out") / "held_out.jsonl", rows))


@pytest.fixture(scope="package")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reviews without labels: the samples', and many of the new goods."""
    samples = [json.loads(line) for line in UNLABELLED.read_text(encoding="utf-8").splitlines()]
    return write(tmp_path_factory.mktemp("pool") / "pool.jsonl", [*samples, *reviews(range(2, 14))], labels=False)


@pytest.fixture(scope="package")
def champion(backbone: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository whose version 1 knows nothing."""
    return write_repository(tmp_path_factory.mktemp("champion") / "model_repository", backbone)


@pytest.fixture
def repository(champion: Path, tmp_path: Path) -> Path:
    """The champion's repository, to change in a test."""
    return shutil.copytree(champion, tmp_path / "model_repository")
