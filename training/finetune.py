"""Fine-tune a RoBERTa into a keyword or a sentiment classifier.

    python -m training.finetune keyword   --train reviews.jsonl --output checkpoints/keyword
    python -m training.finetune sentiment --train reviews.jsonl --output checkpoints/sentiment

The default backbone is klue/roberta-base from the Hugging Face hub; any RoBERTa folder or hub name does. A share of the
reviews, chosen by a hash of their text, is never trained on: 6 % (validation) calibrate thresholds and temperature, 8 %
(test) give the table that is printed and stored. An interrupted run goes on where its last checkpoint was written.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch.utils.data import DataLoader
from transformers import RobertaForSequenceClassification, Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from client.artifact import Artifact, Labels
from client.encoding import Encoder
from client.errors import InvalidInputError, ReviewLensError
from training import calibration
from training.checkpoint import begin_checkpoint, finish_checkpoint, load_backbone
from training.data import LabelledReview, LabelSet, read_labelled
from training.examples import (
    Example,
    KeywordCollator,
    KeywordExample,
    SentimentCollator,
    SentimentExample,
    TokenBudgetSampler,
    keyword_examples,
    merge_sources,
    sentiment_examples,
    split_reviews,
)
from training.losses import keyword_loss, sentiment_loss
from training.metrics import Table, format_table, multi_label_table, single_label_table

log = logging.getLogger("finetune")

DEFAULT_BACKBONE = "klue/roberta-base"
DEFAULT_LABEL_SET = Path(__file__).parent / "label_sets" / "fashion.json"


class ReviewTrainer(Trainer):  # type: ignore[misc]
    """A Trainer whose batches are cut by tokens and whose loss is the task's."""

    def __init__(self, *args: Any, token_budget: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.token_budget = token_budget

    def compute_loss(self, model: Any, inputs: dict[str, Any], *_: Any, **__: Any) -> torch.Tensor:
        logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
        if "known" in inputs:
            return keyword_loss(logits, inputs["targets"], inputs["known"])
        return sentiment_loss(logits, inputs["allowed"])

    def get_train_dataloader(self) -> DataLoader[Any]:
        lengths = [len(example) for example in self.train_dataset]
        sampler = TokenBudgetSampler(lengths, self.token_budget, self.args.seed)
        return DataLoader(self.train_dataset, batch_sampler=sampler, collate_fn=self.data_collator)


def load_reviews(files: Sequence[str], label_set: LabelSet) -> tuple[list[LabelledReview], dict[str, int]]:
    """Read ``FILE`` or ``FILE:REPEAT`` arguments.

    Returns the reviews with duplicates merged, and how often each text is repeated in an epoch.
    """
    reviews: list[LabelledReview] = []
    repeats: dict[str, int] = {}
    for argument in files:
        name, colon, times = argument.rpartition(":")
        if not (colon and times.isdigit()):
            name, times = argument, "1"
        read = list(read_labelled(Path(name), label_set))
        if not read:
            raise InvalidInputError(f"{name}: no labelled review in the file")
        for review in read:
            repeats[review.text] = max(int(times), repeats.get(review.text, 0))
        reviews += read
        log.info("%s: %d reviews, %s time(s) an epoch", name, len(read), times)
    return merge_sources(reviews), repeats


def predict_logits(model: RobertaForSequenceClassification, examples: Sequence[Example], collate: Any) -> NDArray[Any]:
    """Logits ``[N, outputs]`` of examples, in their order."""
    device = next(model.parameters()).device
    model.eval()
    logits = np.zeros((len(examples), model.config.num_labels), np.float32)
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
        for rows in TokenBudgetSampler([len(e) for e in examples], 8192, 0):
            batch = collate([examples[i] for i in rows])
            output = model(batch["input_ids"].to(device), attention_mask=batch["attention_mask"].to(device))
            logits[rows] = output.logits.float().cpu().numpy()
    return logits


def train(
    model: RobertaForSequenceClassification, examples: Sequence[Example], collate: Any, args: argparse.Namespace
) -> None:
    """Run the Trainer, or go on with a run that was interrupted."""
    folder: Path = args.output / "trainer"
    batches = len(TokenBudgetSampler([len(e) for e in examples], args.token_budget, args.seed))
    on_gpu = torch.cuda.is_available()
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=args.epochs,
        learning_rate=args.learning_rate,
        weight_decay=0.01,
        warmup_steps=max(1, int(0.06 * batches * args.epochs)),
        lr_scheduler_type="linear",
        bf16=not args.no_bf16,
        use_cpu=not on_gpu,
        logging_steps=20,
        save_steps=200,
        save_total_limit=1,
        seed=args.seed,
        report_to="none",
        disable_tqdm=not sys.stderr.isatty(),
        remove_unused_columns=False,
    )
    trainer = ReviewTrainer(
        model=model,
        args=arguments,
        train_dataset=list(examples),
        data_collator=collate,
        token_budget=args.token_budget,
    )
    last = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    if last:
        log.info("going on from %s", last)
    trainer.train(resume_from_checkpoint=last)


def finetune_keyword(
    args: argparse.Namespace, label_set: LabelSet, artifact: Artifact, splits: dict[str, list[LabelledReview]]
) -> tuple[RobertaForSequenceClassification, Labels, dict[str, Any]]:
    """Train, calibrate and evaluate the keyword classifier."""
    encoder = Encoder(artifact)
    model = load_backbone(args.backbone, len(label_set.keywords), args.dropout, args.attention)
    train(model, keyword_examples(splits["train"], encoder, label_set), KeywordCollator(encoder, args.seed), args)

    plain = KeywordCollator(encoder, args.seed, mask_words=False)

    def predict(reviews: list[LabelledReview]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        examples: list[KeywordExample] = keyword_examples(reviews, encoder, label_set)
        return (
            predict_logits(model, examples, plain),
            np.stack([e.targets for e in examples]),
            np.stack([e.known for e in examples]),
        )

    logits, targets, known = predict(_calibration_reviews(splits["validation"]))
    temperature = calibration.keyword_temperature(logits, targets, known)
    thresholds = calibration.keyword_thresholds(logits, targets, known, temperature)
    labels = replace(artifact.labels, keyword_temperature=temperature, thresholds=tuple(thresholds))
    tables: dict[str, Table] = {}
    for kind, reviews in _by_kind(splits["test"]).items():
        logits, targets, known = predict(reviews)
        columns = [k for k in range(len(label_set.keywords)) if known[:, k].min() > 0]
        predicted = expit(logits / temperature) >= np.array(thresholds)
        names = [label_set.keywords[k] for k in columns]
        tables[kind] = multi_label_table(targets[:, columns], predicted[:, columns], names)
    return model, labels, {"keyword_temperature": temperature, "thresholds": thresholds, "test": tables}


def finetune_sentiment(
    args: argparse.Namespace, label_set: LabelSet, artifact: Artifact, splits: dict[str, list[LabelledReview]]
) -> tuple[RobertaForSequenceClassification, Labels, dict[str, Any]]:
    """Train, calibrate and evaluate the sentiment classifier."""
    encoder = Encoder(artifact)
    model = load_backbone(args.backbone, len(label_set.sentiments), args.dropout, args.attention)
    collate = SentimentCollator(encoder)
    train(model, sentiment_examples(splits["train"], encoder, label_set, args.prompt), collate, args)

    def predict(reviews: list[LabelledReview]) -> tuple[NDArray[Any], NDArray[Any]]:
        examples: list[SentimentExample] = sentiment_examples(reviews, encoder, label_set, args.prompt)
        return predict_logits(model, examples, collate), np.stack([e.allowed for e in examples])

    logits, allowed = predict(_calibration_reviews(splits["validation"]))
    exact = allowed.sum(1) == 1
    temperature = calibration.sentiment_temperature(logits[exact], allowed[exact].argmax(1))
    signs = np.sign(label_set.sentiment_scores)
    tables: dict[str, Table] = {}
    for kind, reviews in _by_kind(splits["test"]).items():
        logits, allowed = predict(reviews)
        chosen, true = logits.argmax(1), allowed.argmax(1)
        if kind == "graded":
            tables["graded"] = single_label_table(true, chosen, label_set.sentiments)
        tables[f"{kind} by sign"] = single_label_table(signs[true] + 1, signs[chosen] + 1, ("-", "0", "+"))
    return (
        model,
        replace(artifact.labels, sentiment_temperature=temperature),
        {"sentiment_temperature": temperature, "test": tables},
    )


TASKS: dict[str, Callable[..., tuple[RobertaForSequenceClassification, Labels, dict[str, Any]]]] = {
    "keyword": finetune_keyword,
    "sentiment": finetune_sentiment,
}


def finetune(args: argparse.Namespace) -> dict[str, Any]:
    """Fine-tune one task and write its checkpoint. Returns the metrics that were stored.

    Raises:
        ReviewLensError: data or backbone cannot be used; the message names the file, line and field.
    """
    torch.manual_seed(args.seed)
    label_set = LabelSet.load(args.label_set)
    reviews, repeats = load_reviews(args.train, label_set)
    splits = split_reviews(reviews)
    if empty := [name for name, part in splits.items() if not part]:
        raise InvalidInputError(
            f"--train: {len(reviews)} reviews leave the {' and '.join(empty)} split empty; bring at least 100"
        )
    splits["train"] = [r for r in splits["train"] for _ in range(repeats[r.text])]
    log.info("train %d, validation %d, test %d reviews", *(len(splits[s]) for s in ("train", "validation", "test")))
    artifact = begin_checkpoint(
        args.output, args.backbone, label_set, name=args.name, max_length=args.max_length, prompt=args.prompt
    )
    model, labels, results = TASKS[args.task](args, label_set, artifact, splits)
    settings = {k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items()}
    metrics = {"task": args.task, "settings": settings, **results}
    finish_checkpoint(args.output, model, labels, metrics, _card(args, results))
    shutil.rmtree(args.output / "trainer", ignore_errors=True)
    for kind, table in results["test"].items():
        print(format_table(table, f"{args.task}: {kind}"), end="\n\n")
    return metrics


def _by_kind(reviews: Sequence[LabelledReview]) -> dict[str, list[LabelledReview]]:
    """Reviews whose labels have five levels (``graded``) and those known by sign only (``signed``)."""
    kinds = {"graded": [r for r in reviews if r.graded], "signed": [r for r in reviews if not r.graded]}
    return {kind: part for kind, part in kinds.items() if part}


def _calibration_reviews(reviews: Sequence[LabelledReview]) -> list[LabelledReview]:
    """Graded reviews, which follow the guideline; the others only where there is none."""
    kinds = _by_kind(reviews)
    return kinds.get("graded") or kinds["signed"]


def _card(args: argparse.Namespace, results: dict[str, Any]) -> str:
    tables = "\n\n".join(format_table(table, kind) for kind, table in results["test"].items())
    return (
        f"# {args.name}: {args.task} classifier\n\nTrained with `python -m training.finetune {args.task}` from "
        f"`{args.backbone}` on {', '.join(Path(f).name for f in args.train)}; {args.epochs} epochs, learning rate "
        f"{args.learning_rate}, seed {args.seed}. On held-back reviews (8 %, by a hash of the text):\n\n"
        f"```\n{tables}\n```\n"
    )


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.finetune",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("task", choices=sorted(TASKS))
    parser.add_argument(
        "--train",
        nargs="+",
        required=True,
        metavar="FILE[:N]",
        help="labelled reviews (training/data.py tells the forms); with :N each is seen N times an epoch",
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--backbone", default=DEFAULT_BACKBONE, help="folder or hub name (default: %(default)s)")
    parser.add_argument("--label-set", type=Path, default=DEFAULT_LABEL_SET, help="JSON (default: %(default)s)")
    parser.add_argument("--name", default="fashion-ko", help="name of the model (default: %(default)s)")
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--learning-rate", type=float, default=5e-5, help="(default: %(default)s)")
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--attention", choices=("sdpa", "eager"), default="sdpa", help="eager trains faster on a CPU")
    parser.add_argument("--token-budget", type=int, default=4096, help="padded tokens a step (default: %(default)s)")
    parser.add_argument("--max-length", type=int, default=256, help="tokens a review (default: %(default)s)")
    parser.add_argument("--prompt", default="{keyword}", help="text before the review (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-bf16", action="store_true", help="train in 32-bit floats")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        finetune(parse_arguments(arguments))
    except ReviewLensError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
