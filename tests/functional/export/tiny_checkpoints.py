"""Checkpoints of random weights, as training writes them: two layers of 64."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import RobertaConfig, RobertaForSequenceClassification
from transformers.utils import logging

from client.artifact import LABELS_FILE, TOKENIZER_FILE, Artifact


def write_checkpoints(folder: Path, artifact: Artifact) -> tuple[Path, Path]:
    """The keyword and the sentiment checkpoint for an artifact's tokenizer and labels."""
    labels = artifact.labels
    keyword = write_checkpoint(folder / "keyword", artifact, len(labels.keywords), keyword_temperature=1.5)
    sentiment = write_checkpoint(folder / "sentiment", artifact, len(labels.sentiments), sentiment_temperature=0.8)
    return keyword, sentiment


def write_checkpoint(
    folder: Path,
    artifact: Artifact,
    outputs: int,
    *,
    vocabulary: int = 1000,
    positions: int | None = None,
    **label_values: Any,
) -> Path:
    """One checkpoint with ``outputs`` columns; ``label_values`` replace fields of the artifact's labels."""
    torch.manual_seed(outputs)
    config = RobertaConfig(
        vocab_size=vocabulary,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=positions or artifact.labels.max_length + 16,
        type_vocab_size=1,
        pad_token_id=1,
        num_labels=outputs,
        initializer_range=0.2,
    )
    logging.disable_progress_bar()
    classifier = RobertaForSequenceClassification(config)
    with torch.no_grad():
        for name, values in classifier.named_parameters():
            # One kind stays 0, as it begins: the exporter treats such biases in its own way.
            if name.endswith("bias") and "query" not in name:
                values.normal_(0, 0.1)
    classifier.save_pretrained(folder)
    shutil.copy(artifact.tokenizer_file, folder / TOKENIZER_FILE)
    labels = replace(artifact.labels, **label_values)
    (folder / LABELS_FILE).write_text(labels.to_json(), encoding="utf-8")
    return folder


def edit_json(path: Path, **values: Any) -> None:
    """Replace fields of a JSON file."""
    fields = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(fields | values), encoding="utf-8")
