"""Average the weights of several fine-tunings of one backbone, and tell their mean and spread.

    python -m training.soup keyword --checkpoints seed1 seed2 seed3 --data reviews.jsonl --output checkpoints/keyword

Runs that differ by their seed end in one valley of the loss: the mean of their weights is mostly better than each, at
the cost of one ("model soups", Wortsman et al. 2022, arXiv:2203.05482). The average is calibrated and measured like any
fine-tuning; ``metrics.json`` holds the figures of each run, their mean and their standard deviation beside it.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from client.artifact import Artifact
from client.encoding import Encoder
from client.errors import InvalidInputError, ReviewLensError
from training.checkpoint import begin_checkpoint, finish_checkpoint, load_backbone
from training.data import LabelSet
from training.examples import split_reviews
from training.finetune import DEFAULT_LABEL_SET, WORK_FOLDER, load_reviews
from training.held_out import evaluate_model
from training.metrics import Table, format_table
from training.review_trainer import disk_errors
from training.trainer import Task

log = logging.getLogger("soup")

# The figures that are compared: (table row, column).
HEADLINES = (("micro avg", "f1"), ("macro avg", "f1"), ("accuracy", "f1"))


def average_weights(checkpoints: Sequence[Path], outputs: int) -> Any:
    """The first checkpoint's model with the mean of all weights, FP32.

    Raises:
        InvalidInputError: the checkpoints differ in tokenizer, label set or shape.
    """
    artifacts = [Artifact.load(checkpoint) for checkpoint in checkpoints]
    for checkpoint, artifact in zip(checkpoints[1:], artifacts[1:], strict=True):
        for name in ("tokenizer_sha256", "keywords", "sentiments", "prompt", "max_length"):
            if getattr(artifact.labels, name) != getattr(artifacts[0].labels, name):
                raise InvalidInputError(
                    f"{checkpoint}: its {name} differs from {checkpoints[0]}'s; average runs of one backbone"
                )
    models = [load_backbone(str(checkpoint), outputs, 0.0, "eager") for checkpoint in checkpoints]
    states = [model.state_dict() for model in models]
    for checkpoint, state in zip(checkpoints, states, strict=True):
        if {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in states[0].items()}:
            raise InvalidInputError(f"{checkpoint}: its weights have other shapes than {checkpoints[0]}'s")
    models[0].load_state_dict({k: torch.stack([s[k].float() for s in states]).mean(0) for k in states[0]})
    return models[0]


def headlines(tables: dict[str, Table]) -> dict[str, float]:
    """Micro and macro F1 and accuracy of each table, by ``table: row``."""
    return {
        f"{kind}: {row.removesuffix(' avg')}": table[row][column]
        for kind, table in tables.items()
        for row, column in HEADLINES
        if row in table
    }


def spread(runs: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Mean and sample standard deviation of each figure over runs."""
    return {
        name: {
            "mean": statistics.mean(run[name] for run in runs),
            "standard_deviation": statistics.stdev(run[name] for run in runs) if len(runs) > 1 else 0.0,
        }
        for name in runs[0]
    }


def soup(
    task: Task, checkpoints: Sequence[Path], data: Sequence[str], output: Path, label_set: LabelSet
) -> dict[str, Any]:
    """Average, calibrate, measure, and write a checkpoint. Returns its metrics.

    Raises:
        ReviewLensError: checkpoints that do not belong together, or data that cannot be used.
    """
    splits = split_reviews(load_reviews(data, label_set)[0])
    if not splits["validation"] or not splits["test"]:
        raise InvalidInputError("--data: the validation or the test split is empty; bring at least 100 reviews")
    old = Artifact.load(checkpoints[0]).labels
    work = output / WORK_FOLDER
    outputs = len(label_set.keywords if task == "keyword" else label_set.sentiments)
    artifact = begin_checkpoint(
        work, str(checkpoints[0]), label_set, name=old.name, max_length=old.max_length, prompt=old.prompt
    )
    encoder = Encoder(artifact)

    def measure(folders: Sequence[Path]) -> tuple[Any, Any, dict[str, Any]]:
        model = average_weights(folders, outputs)
        labels, results = evaluate_model(task, model, encoder, label_set, splits, artifact.labels)
        return model, labels, results

    runs: dict[str, list[dict[str, float]]] = {"validation": [], "test": []}
    for checkpoint in checkpoints:
        _, _, results = measure([checkpoint])
        for split, found in runs.items():
            found.append(headlines(results[split]))
        log.info("%s: %s", checkpoint, runs["test"][-1])
    model, labels, results = measure(checkpoints)
    metrics = {
        "task": task,
        "checkpoints": [str(checkpoint) for checkpoint in checkpoints],
        **results,
        "runs": runs,
        "spread": {split: spread(found) for split, found in runs.items()},
    }
    tables = "\n\n".join(format_table(table, kind) for kind, table in results["test"].items())
    card = (
        f"# {old.name}: {task} classifier\n\nThe mean of the weights of {len(checkpoints)} fine-tunings (`python -m "
        f"training.soup`). On held-back reviews (8 %, by a hash of the text):\n\n```\n{tables}\n```\n"
    )
    with disk_errors(output):
        finish_checkpoint(work, output, model, labels, metrics, card)
    shutil.rmtree(work, ignore_errors=True)
    return metrics


def format_spread(metrics: dict[str, Any]) -> str:
    """Mean, spread and the average's own figures as a markdown table."""
    lines = ["| split, labels | mean | standard deviation | averaged weights |", "|---|---|---|---|"]
    for split, figures in metrics["spread"].items():
        averaged = headlines(metrics[split])
        lines += [
            f"| {split}, {name} | {row['mean']:.3f} | {row['standard_deviation']:.4f} | {averaged[name]:.3f} |"
            for name, row in figures.items()
        ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when the checkpoint was written, 2 when it could not be."""
    parser = argparse.ArgumentParser(
        prog="python -m training.soup", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=("keyword", "sentiment"))
    parser.add_argument("--checkpoints", type=Path, nargs="+", required=True, help="runs that differ by their seed")
    parser.add_argument("--data", nargs="+", required=True, help="labelled reviews; only the held-out splits are read")
    parser.add_argument("--output", type=Path, required=True, help="folder of the averaged checkpoint")
    parser.add_argument("--label-set", type=Path, default=DEFAULT_LABEL_SET, help="JSON (default: %(default)s)")
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        metrics = soup(args.task, args.checkpoints, args.data, args.output, LabelSet.load(args.label_set))
    except ReviewLensError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(format_spread(metrics))
    return 0


if __name__ == "__main__":
    sys.exit(main())
