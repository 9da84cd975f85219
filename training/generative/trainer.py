"""Train a causal language model to write the labels of a review: cross-entropy on the completion only."""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import TrainingArguments

from client.errors import InvalidInputError
from training.data import LabelledReview
from training.examples import TokenBudgetSampler
from training.generative.model import accepts, check_length, inputs_of, load_language_model
from training.generative.tokens import TextCodec, TextExample, left_padded
from training.losses import LossOptions
from training.review_trainer import SAVE_STEPS, ReviewTrainer, disk_errors, resume, run_digest
from training.trainer import Recipe

log = logging.getLogger("generative")

IGNORED = -100


class CompletionCollator:
    """Pads examples on the left. ``labels`` INT64 ``[B, C]`` are the completions, which end in the last column."""

    def __init__(self, model: Any, pad_id: int) -> None:
        self.model = model
        self.pad_id = pad_id

    def __call__(self, examples: Sequence[TextExample]) -> dict[str, Tensor]:
        # The end token is predicted, never read.
        rows = [(*example.prompt, *example.completion)[:-1] for example in examples]
        labels = torch.from_numpy(left_padded([example.completion for example in examples], IGNORED))
        return {**inputs_of(rows, self.pad_id, self.model), "labels": labels}


def completion_loss(model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
    """Mean cross-entropy of the completions' tokens, of what the collator makes."""
    labels = inputs["labels"]
    read = {name: tensor for name, tensor in inputs.items() if name != "labels"}
    # The output layer over the whole vocabulary costs as much as the model: only completions go through it.
    short = {"logits_to_keep": labels.shape[1]} if accepts(model, "logits_to_keep") else {}
    logits = model(**read, **short, use_cache=False).logits[:, -labels.shape[1] :]
    return F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED)


class CompletionTrainer(ReviewTrainer):
    """Batches by tokens, and the loss of the completions."""

    def compute_loss(self, model: Any, inputs: dict[str, Any], *_: Any, **__: Any) -> Tensor:
        return completion_loss(model, inputs)


def fit_generator(
    train: Sequence[LabelledReview], codec: TextCodec, recipe: Recipe, *, folder: Path | None = None
) -> Any:
    """A generator trained on ``train`` from the language model ``recipe.backbone``, with all of its weights tuned.

    ``folder`` keeps the run's checkpoints: the same call goes on from the last whole one.

    Raises:
        ArtifactError: the model cannot be loaded.
        InvalidInputError: nothing to train on, or prompts longer than the model's positions.
    """
    if not train:
        raise InvalidInputError("no review to train on; bring labelled reviews")
    torch.manual_seed(recipe.seed)
    model = load_language_model(recipe.backbone, attention=recipe.attention, dropout=recipe.dropout)
    check_length(model, codec)
    examples = codec.examples(train)
    batches = len(TokenBudgetSampler([len(e) for e in examples], recipe.token_budget, recipe.seed))
    log.info("%d examples, %d steps an epoch, %d parameters", len(examples), batches, model.num_parameters())
    with tempfile.TemporaryDirectory() as temporary:
        folder, keep = folder or Path(temporary), folder is not None
        trainer = CompletionTrainer(
            model=model,
            args=TrainingArguments(
                output_dir=str(folder),
                num_train_epochs=recipe.epochs,
                learning_rate=recipe.learning_rate,
                bf16=recipe.bf16,
                seed=recipe.seed,
                report_to=recipe.report_to,
                warmup_steps=max(1, int(0.06 * batches * recipe.epochs)),
                lr_scheduler_type="linear",
                weight_decay=0.01,
                use_cpu=not torch.cuda.is_available(),
                logging_steps=20,
                save_strategy="steps" if keep else "no",
                save_steps=SAVE_STEPS,
                save_total_limit=1,
                remove_unused_columns=False,
                disable_tqdm=not sys.stderr.isatty(),
            ),
            train_dataset=examples,
            data_collator=CompletionCollator(model, codec.pad_id),
            token_budget=recipe.token_budget,
            loss=LossOptions(),
            score=None,
        )
        run = replace(recipe, report_to=""), codec.settings  # the completions follow from its labels
        digest = run_digest(run, train, recipe.backbone)
        last = resume(folder, digest) if keep else None
        if last:
            log.info("going on from %s", last)
        with disk_errors(folder):
            trainer.train(resume_from_checkpoint=str(last) if last else None)
    return model
