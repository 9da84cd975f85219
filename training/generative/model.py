"""The causal language model: loading, what it is fed, and greedy generation in batches."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Sequence
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from client.batching import BUCKETS
from client.errors import ArtifactError, InvalidInputError
from training.generative.tokens import TextCodec, left_padded

log = logging.getLogger("generative")


def load_language_model(path: str, *, attention: str = "eager", dropout: float = 0.0) -> Any:
    """A causal language model from a folder or a Hugging Face hub name.

    An encoder such as RoBERTa becomes a decoder: its attention looks back only (``is_decoder``), its output layer is
    the embedding matrix behind a new transform.

    Raises:
        ArtifactError: there is no such model at ``path``, or it cannot be a language model.
    """
    try:
        config = AutoConfig.from_pretrained(path)
        if config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
            config.is_decoder = True
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "resid_pdrop", "embd_pdrop", "attn_pdrop"):
            if hasattr(config, name):
                setattr(config, name, dropout)
        # Finished checkpoints are in half precision, which does not train.
        return AutoModelForCausalLM.from_pretrained(
            path, config=config, attn_implementation=attention, dtype=torch.float32
        )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ArtifactError(f"--model {path}: no causal language model could be loaded: {error}") from None


def check_length(model: Any, codec: TextCodec) -> None:
    """Check that the longest prompt and completion fit the model's positions, and a batch.

    Raises:
        InvalidInputError: they do not; tells where reviews must be cut.
    """
    positions = getattr(model.config, "max_position_embeddings", BUCKETS[-1]) - first_position(model)
    longest = min(positions, BUCKETS[-1])
    over = codec.longest_prompt + codec.longest_completion - longest
    if over > 0:
        raise InvalidInputError(
            f"--max-length {codec.settings.review_tokens}: a row has at most {longest} tokens, and the prompt and the "
            f"longest answer need their part; {codec.settings.review_tokens - over} are left for a review"
        )


def first_position(model: Any) -> int:
    """The position of a row's first token: RoBERTa and its kin count from behind their padding index."""
    embeddings = getattr(model.base_model, "embeddings", None)
    if embeddings is None or not hasattr(embeddings, "create_position_ids_from_input_ids"):
        return 0
    return int(embeddings.padding_idx) + 1


def accepts(model: Any, argument: str) -> bool:
    """Whether the model's ``forward`` names the argument; not every architecture has positions, for instance."""
    return argument in inspect.signature(model.forward).parameters


def inputs_of(rows: Sequence[Sequence[int]], pad_id: int, model: Any) -> dict[str, Tensor]:
    """``input_ids``, ``attention_mask`` and, if the model takes them, ``position_ids``: INT64 ``[B, L]``, left-padded.

    Positions are always given: what models make of padded rows on their own differs between training and generation.
    """
    attention_mask = torch.from_numpy(left_padded([[1] * len(row) for row in rows], 0))
    inputs = {"input_ids": torch.from_numpy(left_padded(rows, pad_id)), "attention_mask": attention_mask}
    if accepts(model, "position_ids"):
        positions = (attention_mask.cumsum(1) - 1).clamp(min=0) + first_position(model)
        inputs["position_ids"] = positions
    return inputs


def generate(
    model: Any, codec: TextCodec, texts: Sequence[str], *, batch_size: int = 64, bf16: bool = True
) -> list[list[int]]:
    """Greedy completions as token ids, in the order of the texts, each up to and with its end token.

    A completion that does not end within the tokens of the longest one that could be right is cut off there. Reviews
    of similar length share a batch; keys and values are cached. In ``bf16``, as the classifiers predict, a batch may
    change the last digits of a probability, and with it a choice between two tokens that are as good as equal.
    """
    model.eval()
    device = next(model.parameters()).device
    greedy = GenerationConfig(
        do_sample=False,
        max_new_tokens=codec.longest_completion,
        eos_token_id=codec.end_id,
        pad_token_id=codec.pad_id,
        use_cache=True,
    )
    prompts = [codec.prompt(text) for text in texts]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    completions: list[list[int]] = [[]] * len(prompts)
    for start in range(0, len(order), batch_size):
        part = order[start : start + batch_size]
        inputs = {name: t.to(device) for name, t in inputs_of([prompts[i] for i in part], codec.pad_id, model).items()}
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            written = model.generate(**inputs, generation_config=greedy)[:, inputs["input_ids"].shape[1] :]
        for i, row in zip(part, written.tolist(), strict=True):
            completions[i] = row[: row.index(codec.end_id) + 1] if codec.end_id in row else row
        log.info("%d of %d reviews read", start + len(part), len(order))
    return completions
