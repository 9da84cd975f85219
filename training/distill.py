"""Distil a checkpoint into a smaller one that answers alike.

    python -m training.distill keyword --teacher checkpoints/keyword --layers 2 --train reviews.jsonl \\
        --output checkpoints/keyword-small

The student begins as the teacher with `--layers` of its layers, or as `--student`: any RoBERTa, such as a pruned
checkpoint of `export.compression` or a small pretrained one, with a tokenizer of its own if need be. Reviews of the
validation split calibrate it, those of the test split give the table. An interrupted run goes on where its last
checkpoint was written.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from client.artifact import Artifact
from client.encoding import Encoder
from client.errors import InvalidInputError, ReviewLensError
from training.checkpoint import begin_checkpoint, finish_checkpoint, load_backbone
from training.data import LabelSet
from training.distillation import Distillation, distill
from training.examples import split_reviews
from training.finetune import DEFAULT_LABEL_SET, WORK_FOLDER, load_reviews
from training.held_out import evaluate_model
from training.metrics import format_table
from training.review_trainer import disk_errors


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Distil and write the checkpoint; its metrics.

    Raises:
        ReviewLensError: teacher, student or data cannot be used, or the disk is full.
    """
    label_set = LabelSet.load(args.label_set)
    reviews, repeats = load_reviews(args.train, label_set, args.decisions)
    splits = split_reviews(reviews)
    if empty := [name for name, part in splits.items() if not part]:
        raise InvalidInputError(
            f"--train: {len(reviews)} reviews leave the {' and '.join(empty)} split empty; bring at least 100"
        )
    settings = settings_of(args)
    labels, source = Artifact.load(args.teacher).labels, str(args.student or args.teacher)
    work: Path = args.output / WORK_FOLDER
    with disk_errors(args.output):
        artifact = begin_checkpoint(
            work, source, label_set, name=labels.name, max_length=labels.max_length, prompt=labels.prompt
        )
    encoder = Encoder(artifact)
    outputs = len(label_set.keywords if args.task == "keyword" else label_set.sentiments)
    student = load_backbone(source, outputs, settings.dropout, settings.attention)
    if args.layers:
        evenly_spaced_layers(student, args.layers)
    train = [review for review in splits["train"] for _ in range(repeats[review.text])]
    distill(args.task, args.teacher, student, encoder, train, label_set, settings, folder=work / "trainer")
    labels, results = evaluate_model(args.task, student, encoder, label_set, splits, artifact.labels)
    metrics = {"task": args.task, "teacher": str(args.teacher), "distillation": asdict(settings), **results}
    tables = "\n\n".join(format_table(table, f"{args.task}: {kind}") for kind, table in results["test"].items())
    card = f"# {labels.name}: {args.task} classifier\n\nDistilled from `{args.teacher}`.\n\n```\n{tables}\n```\n"
    with disk_errors(args.output):
        finish_checkpoint(work, args.output, student, labels, metrics, card)
    shutil.rmtree(work, ignore_errors=True)
    print(tables)
    return metrics


def evenly_spaced_layers(classifier: Any, count: int) -> None:
    """Keep ``count`` layers, the first and the last among them, in place (as DistilBERT begins, arXiv:1910.01108).

    Raises:
        InvalidInputError: the classifier has fewer, or none would be left.
    """
    layers = classifier.roberta.encoder.layer
    if not 1 <= count <= len(layers):
        raise InvalidInputError(f"--layers {count}: the student starts with {len(layers)}; keep 1 to {len(layers)}")
    kept = [round(i * (len(layers) - 1) / max(count - 1, 1)) for i in range(count)]
    classifier.roberta.encoder.layer = nn.ModuleList(layers[i] for i in kept)
    classifier.config.num_hidden_layers = count


def settings_of(args: argparse.Namespace) -> Distillation:
    """The settings among parsed arguments."""
    return Distillation(
        million_tokens=args.million_tokens,
        learning_rate=args.learning_rate,
        temperature=args.temperature,
        labels_share=args.labels_share,
        hidden_weight=args.hidden_weight,
        dropout=args.dropout,
        attention=args.attention,
        token_budget=args.token_budget,
        seed=args.seed,
        bf16=not args.no_bf16,
    )


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.distill", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add, standard = parser.add_argument, Distillation()
    add("task", choices=("keyword", "sentiment"))
    add("--teacher", type=Path, required=True, help="a fine-tuned checkpoint")
    add("--student", type=Path, help="what the student begins as (default: the teacher)")
    add("--layers", type=int, metavar="N", help="keep N evenly spaced layers of what the student begins as")
    add("--train", nargs="+", required=True, metavar="FILE[:N]", help="labelled reviews, as for training.finetune")
    add("--output", type=Path, required=True, help="folder of the new checkpoint")
    add("--label-set", type=Path, default=DEFAULT_LABEL_SET, help="JSON (default: %(default)s)")
    add("--decisions", type=Path, metavar="FILE", help="what a label audit decided (training.audit)")
    add("--million-tokens", type=float, default=standard.million_tokens, help="how long (default: %(default)s)")
    add("--learning-rate", type=float, default=standard.learning_rate, help="(default: %(default)s)")
    add("--temperature", type=float, default=standard.temperature, help="softens answers (default: %(default)s)")
    add("--labels-share", type=float, default=standard.labels_share, help="of the loss, 0 to 1 (default: %(default)s)")
    add("--hidden-weight", type=float, default=standard.hidden_weight, help="of vectors (default: %(default)s)")
    add("--dropout", type=float, default=standard.dropout, help="(default: %(default)s)")
    add("--attention", choices=("sdpa", "eager"), default="sdpa", help="eager trains faster on a CPU")
    add("--token-budget", type=int, default=standard.token_budget, help="padded tokens a step (default: %(default)s)")
    add("--seed", type=int, default=standard.seed, help="(default: %(default)s)")
    add("--no-bf16", action="store_true", help="train in 32-bit floats")
    args = parser.parse_args(arguments)
    if not 0 <= args.labels_share <= 1:
        parser.error(f"--labels-share {args.labels_share}: 0 to 1")
    for name in ("million_tokens", "temperature", "learning_rate"):
        if not getattr(args, name) > 0:
            parser.error(f"--{name.replace('_', '-')} {getattr(args, name)}: above 0")
    return args


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when the checkpoint was written, 2 when it could not be."""
    args = parse_arguments(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        run(args)
    except ReviewLensError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
