"""What training begins with: a whole RoBERTa, or an error that says what the folder is instead."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM

from client.errors import ArtifactError
from training.checkpoint import load_backbone


def load(folder: Path) -> None:
    load_backbone(str(folder), outputs=3, dropout=0.0, attention="eager")


def test_another_architecture_is_not_taken_for_random_weights(tmp_path: Path) -> None:
    config = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16)
    BertForMaskedLM(config).save_pretrained(tmp_path)
    with pytest.raises(ArtifactError, match="this is of the type bert, not roberta"):
        load(tmp_path)


def test_a_checkpoint_that_is_torn_or_lacks_weights_is_refused(backbone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "backbone"
    shutil.copytree(backbone, folder)
    load(folder)
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    gone = next(name for name in tensors if name.startswith("roberta.encoder"))
    save_file({name: tensor for name, tensor in tensors.items() if name != gone}, weights, {"format": "pt"})
    with pytest.raises(ArtifactError, match=f"1 weights of RoBERTa are not in it, {gone}"):
        load(folder)
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ArtifactError, match="no RoBERTa checkpoint could be loaded"):
        load(folder)
    with pytest.raises(ArtifactError, match="no RoBERTa checkpoint could be loaded"):
        load(tmp_path / "nothing")
