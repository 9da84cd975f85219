"""Distillation: a student classifier learns to answer as a teacher does; ``training.distill`` is the command.

The student learns the teacher's softened answers (Hinton et al. 2015, arXiv:1503.02531) and, at a smaller share, the
labels; where both have one width and one tokenizer, also the teacher's vectors of the layers at the same relative depth
(as in TinyBERT, Jiao et al. 2020, arXiv:1909.10351). Reviews come with masked words, about which the teacher is asked
as well: highlights compare just these.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PrinterCallback, TrainerCallback, TrainingArguments

from client.artifact import Artifact
from client.encoding import Encoder
from client.errors import InvalidInputError, ReviewLensError
from training.checkpoint import load_backbone
from training.data import LabelledReview, LabelSet
from training.examples import (
    Example,
    KeywordCollator,
    SentimentCollator,
    TokenBudgetSampler,
    keyword_examples,
    sentiment_examples,
)
from training.losses import LossOptions, keyword_loss, sentiment_loss
from training.review_trainer import SAVE_STEPS, ReviewTrainer, disk_errors, resume, run_digest
from training.trainer import Task

log = logging.getLogger("distill")

TEACHER = "teacher_"
WARMUP = 0.06  # of all steps


@dataclass(frozen=True)
class Distillation:
    """How to distil: until ``million_tokens`` are read, in steps of ``token_budget`` padded tokens.

    The loss is ``labels_share`` of the labels' own, the rest of the soft answers', and ``hidden_weight`` times the mean
    squared difference of vectors scaled to length 1 on average.
    """

    million_tokens: float = 2.5
    learning_rate: float = 5e-4
    temperature: float = 2.0
    labels_share: float = 0.3
    hidden_weight: float = 1.0
    dropout: float = 0.0
    attention: str = "sdpa"
    token_budget: int = 4096
    seed: int = 1
    bf16: bool = True


@dataclass(frozen=True)
class Lesson:
    """One example as the student and as the teacher read it."""

    student: Example
    teacher: Example

    def __len__(self) -> int:
        return max(len(self.student), len(self.teacher))


class LessonCollator:
    """Batches for both, with the same words masked: both collators draw from the same seed, word by word."""

    def __init__(self, student: Any, teacher: Any) -> None:
        self.student, self.teacher = student, teacher

    def __call__(self, lessons: Sequence[Lesson]) -> dict[str, Tensor]:
        for_teacher = self.teacher([lesson.teacher for lesson in lessons])
        return {
            **self.student([lesson.student for lesson in lessons]),
            TEACHER + "input_ids": for_teacher["input_ids"],
            TEACHER + "attention_mask": for_teacher["attention_mask"],
        }


class DistillationTrainer(ReviewTrainer):
    """A ReviewTrainer with a teacher in its loss."""

    def __init__(self, *args: Any, teacher: Any, settings: Distillation, match_hidden: bool, **kwargs: Any) -> None:
        super().__init__(*args, token_budget=settings.token_budget, loss=LossOptions(), score=None, **kwargs)
        self.teacher = teacher.to(self.args.device).eval()
        self.settings = settings
        self.match_hidden = match_hidden

    def compute_loss(self, model: Any, inputs: dict[str, Any], *_: Any, **__: Any) -> Tensor:
        settings, hidden = self.settings, self.match_hidden
        with torch.no_grad():
            taught = self.teacher(
                input_ids=inputs[TEACHER + "input_ids"],
                attention_mask=inputs[TEACHER + "attention_mask"],
                output_hidden_states=hidden,
            )
        said = model(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], output_hidden_states=hidden
        )
        if "known" in inputs:
            labels = keyword_loss(said.logits, inputs["targets"], inputs["known"])
            soft = soft_keyword_loss(said.logits, taught.logits, settings.temperature)
        else:
            labels = sentiment_loss(said.logits, inputs["allowed"])
            soft = soft_sentiment_loss(said.logits, taught.logits, settings.temperature)
        loss = settings.labels_share * labels + (1 - settings.labels_share) * soft
        if hidden:
            loss = loss + settings.hidden_weight * hidden_loss(
                said.hidden_states, taught.hidden_states, inputs["attention_mask"]
            )
        return loss


class ProgressCallback(TrainerCallback):  # type: ignore[misc]
    """Logs steps and loss."""

    def on_log(self, _args: Any, state: Any, _control: Any, logs: dict[str, Any], **_: Any) -> None:
        if "loss" in logs:
            log.info("step %d of %d, loss %s", state.global_step, state.max_steps, logs["loss"])


def soft_keyword_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Mean divergence of the yes-or-no answers, ``[B, K]`` logits, from the teacher's, both softened; times T squared.

    0 where the answers agree: the cross-entropy less the entropy of the teacher's answers.
    """
    target = torch.sigmoid(teacher.float() / temperature)
    crossed = F.binary_cross_entropy_with_logits(student.float() / temperature, target)
    own = F.binary_cross_entropy_with_logits(teacher.float() / temperature, target)
    return (crossed - own) * temperature**2


def soft_sentiment_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Mean divergence of the sentiments, ``[B, S]`` logits, from the teacher's, both softened; times T squared."""
    said, taught = (F.log_softmax(logits.float() / temperature, dim=-1) for logits in (student, teacher))
    return F.kl_div(said, taught, reduction="batchmean", log_target=True) * temperature**2


def hidden_loss(student: Sequence[Tensor], teacher: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
    """Mean squared difference of the tokens' vectors, of each student layer and the teacher's at the same depth.

    Args:
        student: embeddings and the output of each of l layers, ``[B, T, H]``
        teacher: of L layers; student layer i is compared with layer ``round(i * L / l)``
        attention_mask: ``[B, T]``, 1 for tokens that count
    """
    layers, depth = len(student) - 1, len(teacher) - 1
    counted = attention_mask.bool()
    losses = [
        F.mse_loss(student[i].float()[counted], teacher[round(i * depth / layers)].float()[counted])
        / teacher[round(i * depth / layers)].float()[counted].square().mean()
        for i in range(layers + 1)
    ]
    return torch.stack(losses).mean()


def lessons_of(
    task: Task, reviews: Sequence[LabelledReview], student: Encoder, teacher: Encoder, label_set: LabelSet, prompt: str
) -> list[Lesson]:
    """The examples that both can read, in order."""
    # A text that one tokenizer drops whole is left out for both: lessons are paired by their place.
    texts = [review.text for review in reviews]
    pairs = zip(reviews, student.encode_many(texts), teacher.encode_many(texts), strict=True)
    both = [r for r, a, b in pairs if not isinstance(a, ReviewLensError) and not isinstance(b, ReviewLensError)]

    def examples(encoder: Encoder) -> Sequence[Example]:
        if task == "keyword":
            return keyword_examples(both, encoder, label_set)
        return sentiment_examples(both, encoder, label_set, prompt)

    return [Lesson(a, b) for a, b in zip(examples(student), examples(teacher), strict=True)]


def distill(
    task: Task,
    teacher: Path,
    student: Any,
    student_encoder: Encoder,
    reviews: Sequence[LabelledReview],
    label_set: LabelSet,
    settings: Distillation,
    *,
    folder: Path,
) -> None:
    """Train ``student``, a RoBERTa classifier in 32-bit floats, in place.

    ``folder`` keeps the run's checkpoints: the same call goes on from the last whole one.

    Raises:
        ArtifactError: the teacher cannot be loaded.
        InvalidInputError: the teacher has another label set, or no review can be learned from.
    """
    artifact = Artifact.load(teacher)
    for field in ("keywords", "overall", "sentiments"):
        if getattr(artifact.labels, field) != getattr(label_set, field):
            raise InvalidInputError(
                f"{teacher}: its {field} {getattr(artifact.labels, field)} are not the label set's "
                f"{getattr(label_set, field)}; distil with the label set that the teacher was trained with"
            )
    encoder, prompt, seed = Encoder(artifact), artifact.labels.prompt, settings.seed
    lessons = lessons_of(task, reviews, student_encoder, encoder, label_set, prompt)
    if not lessons:
        raise InvalidInputError(f"{len(reviews)} reviews give no {task} example; bring reviews with labels")
    if task == "keyword":
        collate = LessonCollator(KeywordCollator(student_encoder, seed), KeywordCollator(encoder, seed))
    else:
        collate = LessonCollator(SentimentCollator(student_encoder), SentimentCollator(encoder))
    taught = load_backbone(str(teacher), student.config.num_labels, 0.0, settings.attention)
    same_tokens = all(a.teacher.encoded == a.student.encoded for a in lessons[:100])
    lengths = [len(lesson) for lesson in lessons]
    epochs = settings.million_tokens * 1e6 / sum(lengths)
    steps = epochs * len(TokenBudgetSampler(lengths, settings.token_budget, seed))
    torch.manual_seed(seed)
    trainer = DistillationTrainer(
        model=student,
        args=TrainingArguments(
            output_dir=str(folder),
            num_train_epochs=epochs,
            learning_rate=settings.learning_rate,
            lr_scheduler_type="linear",
            warmup_steps=max(1, int(WARMUP * steps)),
            weight_decay=0.01,
            bf16=settings.bf16,
            use_cpu=not torch.cuda.is_available(),
            seed=seed,
            logging_steps=20,
            save_steps=SAVE_STEPS,
            save_total_limit=1,
            report_to="none",
            remove_unused_columns=False,
            disable_tqdm=True,
        ),
        train_dataset=lessons,
        data_collator=collate,
        callbacks=[ProgressCallback()],
        teacher=taught,
        settings=settings,
        match_hidden=same_tokens
        and settings.hidden_weight > 0
        and taught.config.hidden_size == student.config.hidden_size,
    )
    trainer.remove_callback(PrinterCallback)  # it prints among the results
    run = task, settings, student.config.num_hidden_layers, label_set.all_labels, label_set.sentiment_scores
    last = resume(folder, run_digest(run, reviews, str(teacher), student.config.name_or_path))
    log.info("%s: %d lessons, %.2f epochs%s", task, len(lessons), epochs, f", going on from {last}" if last else "")
    with disk_errors(folder):
        trainer.train(resume_from_checkpoint=str(last) if last else None)
