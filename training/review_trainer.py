"""Batches by tokens, the task's loss and score, and resuming, on the Trainer of `transformers`."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch.utils.data import DataLoader
from transformers import EarlyStoppingCallback, Trainer, TrainingArguments

from client.errors import ReviewLensError
from training.checkpoint import write_text
from training.data import LabelledReview
from training.examples import Example, TokenBudgetSampler
from training.losses import LossOptions, keyword_loss, sentiment_loss

log = logging.getLogger("finetune")

SAVE_STEPS = 200
RUN_FILE = "run.sha256"
# A run that may stop early is scored this often an epoch.
EVALUATIONS_PER_EPOCH = 2


class ReviewLoader(DataLoader[Any]):
    """A DataLoader that tells its sampler which epoch begins: torch's own cannot, and every epoch would be the same."""

    def set_epoch(self, epoch: int) -> None:
        self.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]


class ReviewTrainer(Trainer):  # type: ignore[misc]
    """A Trainer whose batches are cut by tokens, with the task's loss and the task's score."""

    def __init__(
        self, *args: Any, token_budget: int, loss: LossOptions, score: Callable[[Any], float] | None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.token_budget = token_budget
        self.loss = loss
        self.score: Any = score  # only asked for when the arguments evaluate

    def compute_loss(self, model: Any, inputs: dict[str, Any], *_: Any, **__: Any) -> torch.Tensor:
        logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
        if "known" in inputs:
            return keyword_loss(logits, inputs["targets"], inputs["known"], self.loss)
        return sentiment_loss(logits, inputs["allowed"], self.loss)

    def get_train_dataloader(self) -> DataLoader[Any]:
        lengths = [len(example) for example in self.train_dataset]
        sampler = TokenBudgetSampler(lengths, self.token_budget, self.args.seed)
        return ReviewLoader(self.train_dataset, batch_sampler=sampler, collate_fn=self.data_collator)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        metrics = {"eval_score": self.score(self.model)}
        self.model.train()
        self.log(metrics)
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def run_trainer(
    model: Any,
    examples: Sequence[Example],
    collate: Any,
    arguments: dict[str, Any],
    *,
    folder: Path,
    token_budget: int,
    loss: LossOptions,
    score: Callable[[Any], float] | None,
    patience: int,
    keep: bool,
    last: Path | None = None,
) -> None:
    """Train ``model`` in place in ``folder``, or go on from the checkpoint ``last`` (see ``resume``).

    ``arguments`` go to TrainingArguments. With a ``score``, ``patience`` evaluations without a gain end the run and
    the best weights are loaded. Without ``keep`` there are no checkpoints to go on from.
    """
    batches = len(TokenBudgetSampler([len(e) for e in examples], token_budget, arguments["seed"]))
    saving: dict[str, Any] = {"save_strategy": "steps" if keep else "no", "save_steps": SAVE_STEPS}
    if score:
        every = max(1, batches // EVALUATIONS_PER_EPOCH)
        saving = {
            "save_strategy": "steps",
            "eval_strategy": "steps",
            "save_steps": every,
            "eval_steps": every,
            "load_best_model_at_end": True,
            "metric_for_best_model": "eval_score",
            "greater_is_better": True,
            "restore_callback_states_from_checkpoint": True,  # patience goes on where the run was interrupted
        }
    trainer = ReviewTrainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(folder),
            warmup_steps=max(1, int(0.06 * batches * arguments["num_train_epochs"])),
            lr_scheduler_type="linear",
            weight_decay=0.01,
            use_cpu=not torch.cuda.is_available(),
            logging_steps=20,
            save_total_limit=1,
            remove_unused_columns=False,
            **arguments,
            **saving,
        ),
        train_dataset=list(examples),
        # Never read: evaluate() asks the score instead, but the Trainer insists that there is one.
        eval_dataset=list(examples) if score else None,
        data_collator=collate,
        callbacks=[EarlyStoppingCallback(patience)] if score else None,
        token_budget=token_budget,
        loss=loss,
        score=score,
    )
    if last:
        log.info("going on from %s", last)
    with disk_errors(folder):
        trainer.train(resume_from_checkpoint=str(last) if last else None)


def predict_logits(model: Any, examples: Sequence[Example], collate: Any) -> NDArray[np.float32]:
    """Logits ``[N, outputs]`` of examples, in their order."""
    device = next(model.parameters()).device
    model.eval()
    logits = np.zeros((len(examples), model.config.num_labels), np.float32)
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
        for rows in TokenBudgetSampler([len(e) for e in examples], 8192, 0):
            batch = collate([examples[i] for i in rows])
            output = model(input_ids=batch["input_ids"].to(device), attention_mask=batch["attention_mask"].to(device))
            logits[rows] = output.logits.float().cpu().numpy()
    return logits


def run_digest(settings: object, reviews: Iterable[LabelledReview], *models: str) -> str:
    """What tells one run from another: settings (by their ``repr``), labelled reviews, and models it begins with."""
    digest = hashlib.sha256(repr(settings).encode())
    for model in models:
        weights = Path(model) / "model.safetensors"
        written = weights.stat().st_mtime_ns if weights.is_file() else 0  # a hub name has no file here
        digest.update(repr((model, written)).encode())
    for review in reviews:
        known = sorted(review.annotated), sorted(review.evidence.items()), sorted(review.targets.items())
        digest.update(repr((review.text, sorted(review.scores.items()), review.graded, known)).encode())
    return digest.hexdigest()


def resume(folder: Path, digest: str) -> Path | None:
    """The last whole checkpoint of the run with this digest. What another run left in the folder is deleted."""
    file = folder / RUN_FILE
    with disk_errors(folder):
        if folder.is_dir() and not (file.is_file() and file.read_text(encoding="utf-8") == digest):
            if any(folder.glob("checkpoint-*")):
                log.warning("%s: the unfinished run there had other settings or data; this one begins anew", folder)
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(file, digest)
    return last_whole_checkpoint(folder)


def last_whole_checkpoint(folder: Path) -> Path | None:
    """The newest of the Trainer's checkpoints that was written to its end.

    ``trainer_state.json`` is the last file that the Trainer writes: without it, a full disk or a kill came between.
    """
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=lambda p: int(p.name.rpartition("-")[2]), reverse=True):
        try:
            json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            log.warning("%s is not whole: an older checkpoint is used", checkpoint)
            continue
        return checkpoint
    return None


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn what the operating system says of a full or read-only disk into an error that tells the way out."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        # safetensors and torch.save wrap the operating system's error into a text of their own.
        full = getattr(error, "errno", None) is not None or any(
            sign in str(error) for sign in ("No space left", "os error", "file write failed", "write failed")
        )
        if not full:
            raise
        raise ReviewLensError(
            f"{folder}: cannot write: {error}; the last whole checkpoint is kept: make room and run the command again"
        ) from error
