"""Two untrained language models that are small enough for a test: a RoBERTa encoder, and a GPT-2."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from tests.functional.command_line import ROOT
from training.data import LabelledReview, LabelSet, format_completion, read_labelled
from training.finetune import DEFAULT_LABEL_SET
from training.generative.text import AFTER_REVIEW, BEFORE_REVIEW
from training.tokenizer import train_tokenizer

SAMPLES = ROOT / "samples" / "labelled_reviews.jsonl"


@pytest.fixture(scope="session")
def label_set() -> LabelSet:
    return LabelSet.load(DEFAULT_LABEL_SET)


@pytest.fixture(scope="session")
def sample_reviews(label_set: LabelSet) -> list[LabelledReview]:
    return list(read_labelled(SAMPLES, label_set))


@pytest.fixture(scope="session")
def texts(sample_reviews: list[LabelledReview], label_set: LabelSet) -> list[str]:
    """What the tokenizers learn from: prompts, reviews and completions."""
    completions = [format_completion(review.scores, label_set) for review in sample_reviews]
    return [f"{BEFORE_REVIEW} {r.text}{AFTER_REVIEW} {c}" for r, c in zip(sample_reviews, completions, strict=True)]


@pytest.fixture(scope="session")
def roberta(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier with a WordPiece tokenizer, as ``training.pretrain`` leaves one."""
    out = tmp_path_factory.mktemp("roberta")
    tokenizer = train_tokenizer(texts * 3, 1200)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **{f"{name}_token": f"<{name}>" for name in ("pad", "unk", "mask")},
        **dict.fromkeys(("cls_token", "bos_token"), "<s>"),
        **dict.fromkeys(("sep_token", "eos_token"), "</s>"),
    ).save_pretrained(out)
    config = RobertaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=200,
        type_vocab_size=1,
        initializer_range=0.1,
    )
    torch.manual_seed(1)
    RobertaForSequenceClassification(config).save_pretrained(out)
    return out


@pytest.fixture(scope="session")
def gpt2(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal language model with a byte-level tokenizer that has one control token, as GPT-2 has."""
    out = tmp_path_factory.mktemp("gpt2")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    end = "<|endoftext|>"
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=900, special_tokens=[end], initial_alphabet=alphabet, show_progress=False)
    )
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=end, eos_token=end).save_pretrained(out)
    torch.manual_seed(1)
    config = GPT2Config(
        vocab_size=tokenizer.get_vocab_size(), n_embd=64, n_layer=1, n_head=2, n_positions=400, initializer_range=0.1
    )
    GPT2LMHeadModel(config).save_pretrained(out)
    return out
