"""What of a backbone is tuned: everything, a part of it, or an adapter of `peft`.

| choice | trainable | afterwards |
|---|---|---|
| ``all`` | every weight | |
| ``head`` | the classification head | |
| ``embeddings`` | embeddings and head | |
| ``lora`` | low-rank updates of every matrix (Hu et al. 2021, arXiv:2106.09685) and the head | merged |
| ``ia3`` | a scale per key, value and feed-forward channel (Liu et al. 2022, arXiv:2205.05638) and the head | merged |
| ``prefix`` | virtual keys and values in every layer (Li & Liang 2021, arXiv:2101.00190) and the head | adapter |
| ``p-tuning`` | virtual tokens before the review (Liu et al. 2021, arXiv:2103.10385) and the head | adapter |

Merged weights are an ordinary checkpoint. An adapter with virtual tokens is not: it can be measured, and is kept as
`peft` writes it, but the exported graphs have no place for it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from peft import (
    IA3Config,
    IA3Model,
    LoraConfig,
    LoraModel,
    PeftModel,
    PrefixTuningConfig,
    PromptEncoderConfig,
    TaskType,
    get_peft_model,
)
from transformers import RobertaForSequenceClassification

Tune = Literal["all", "head", "embeddings", "lora", "ia3", "prefix", "p-tuning"]
TUNE_CHOICES: tuple[Tune, ...] = get_args(Tune)

LAYER = r"roberta\.encoder\.layer\.\d+\."
LORA_RANK = 16
VIRTUAL_TOKENS = 16


@dataclass(frozen=True)
class Tuned:
    """``model`` is what the trainer gets; ``finish`` turns it into what is kept."""

    model: Any
    finish: Callable[[], Any]

    @property
    def parameters(self) -> tuple[int, int]:
        """How many parameters are trained, and how many there are."""
        sizes = [(p.numel(), p.requires_grad) for p in self.model.parameters()]
        return sum(size for size, trained in sizes if trained), sum(size for size, _ in sizes)


def prepare(model: RobertaForSequenceClassification, tune: Tune) -> Tuned:
    """Freeze what is not tuned and add what is."""
    if tune == "all":
        return Tuned(model, lambda: model)
    if tune in ("prefix", "p-tuning"):
        return _with_virtual_tokens(model, tune)
    finish: Callable[[], Any] = lambda: model  # noqa: E731
    if tune == "lora":
        # get_peft_model would wrap the head as well, and peft 0.21 cannot merge IA3 around a wrapped head.
        targets = LAYER + r".*(query|key|value|dense)"
        config = LoraConfig(r=LORA_RANK, lora_alpha=2 * LORA_RANK, target_modules=targets)
        finish = LoraModel(model, config, "default").merge_and_unload
    elif tune == "ia3":
        feedforward = LAYER + r"output\.dense"
        targets = rf"{LAYER}(attention\.self\.(key|value)|output\.dense)"
        finish = IA3Model(
            model, IA3Config(target_modules=targets, feedforward_modules=feedforward), "default"
        ).merge_and_unload
    else:
        model.requires_grad_(False)
        if tune == "embeddings":
            model.roberta.embeddings.requires_grad_(True)
    model.classifier.requires_grad_(True)
    return Tuned(model, finish)


def _with_virtual_tokens(model: RobertaForSequenceClassification, tune: Tune) -> Tuned:
    if tune == "prefix":
        config = PrefixTuningConfig(task_type=TaskType.SEQ_CLS, num_virtual_tokens=VIRTUAL_TOKENS)
    else:
        config = PromptEncoderConfig(
            task_type=TaskType.SEQ_CLS,
            num_virtual_tokens=VIRTUAL_TOKENS,
            encoder_hidden_size=model.config.hidden_size,
        )
    with warnings.catch_warnings():
        # peft 0.21 asks for a property that transformers 5 has renamed.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        wrapped: PeftModel = get_peft_model(model, config)
    return Tuned(wrapped, lambda: wrapped)


def is_plain(model: Any) -> bool:
    """Whether a finished model is an ordinary checkpoint, which export can read."""
    return not isinstance(model, PeftModel)
