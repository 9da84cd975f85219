"""An untrained RoBERTa that is small enough for learning curves in a test."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast, RobertaConfig, RobertaForSequenceClassification

from tests.functional.command_line import ROOT
from training.tokenizer import train_tokenizer


@pytest.fixture(scope="session")
def tiny_roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tiny_roberta")
    samples = (ROOT / "samples" / "reviews.txt").read_text(encoding="utf-8").splitlines()
    tokenizer = train_tokenizer(samples * 3, 800)
    control = {f"{name}_token": f"<{name}>" for name in ("pad", "unk", "mask")}
    control |= dict.fromkeys(("cls_token", "bos_token"), "<s>") | dict.fromkeys(("sep_token", "eos_token"), "</s>")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **control).save_pretrained(out)
    torch.manual_seed(1)
    config = RobertaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=80,
        type_vocab_size=1,
    )
    RobertaForSequenceClassification(config).save_pretrained(out)
    return out
