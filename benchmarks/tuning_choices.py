"""What is tuned, and with which loss: the choices of ``training.finetune`` side by side on one split.

    python -m benchmarks.tuning_choices --train labelled.jsonl --backbone <name> --output runs/choices.json

Each row trains a keyword classifier on the training split and scores it on the validation split, thresholds at 0.5, so
that nothing is fitted there. Rows that are already in the output file are not run again.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from client.errors import ReviewLensError
from training.arguments import add_recipe_arguments, recipe_of
from training.checkpoint import write_text
from training.data import LabelledReview, LabelSet
from training.examples import split_reviews
from training.finetune import DEFAULT_LABEL_SET, load_reviews
from training.losses import Loss
from training.metrics import multi_label_table
from training.trainer import Recipe, fit, predict_keyword, scratch_encoder
from training.tuning import Tune

log = logging.getLogger("tuning_choices")


@dataclass(frozen=True)
class Choice:
    """A row of the table. ``rate`` multiplies the learning rate: the fewer weights are tuned, the larger it must be."""

    tune: Tune = "all"
    loss: Loss = "plain"
    early_stopping: int = 0
    rate: float = 1.0

    @property
    def name(self) -> str:
        stopping = f", early stopping {self.early_stopping}" if self.early_stopping else ""
        return f"{self.tune}, {self.loss} loss{stopping}"


CHOICES = (
    Choice(),
    Choice(loss="weighted"),
    Choice(loss="focal"),
    Choice(early_stopping=2),
    Choice("embeddings", rate=2),
    Choice("head", rate=6),
    Choice("lora", rate=4),
    Choice("ia3", rate=10),
    Choice("prefix", rate=10),
    Choice("p-tuning", rate=6),
)
RAREST = 4


@dataclass(frozen=True)
class Row:
    """Figures of a choice; ``rare_f1`` is the macro F1 of the four keywords with the fewest training reviews."""

    trainable_parameters: int
    parameters: int
    seconds: float
    micro_f1: float
    macro_f1: float
    rare_f1: float


def measure(
    choice: Choice,
    recipe: Recipe,
    splits: dict[str, list[LabelledReview]],
    label_set: LabelSet,
) -> Row:
    """Train one choice and score it."""
    recipe = replace(
        recipe,
        tune=choice.tune,
        loss=choice.loss,
        early_stopping=choice.early_stopping,
        learning_rate=recipe.learning_rate * choice.rate,
    )
    with tempfile.TemporaryDirectory() as folder:
        encoder = scratch_encoder(recipe, label_set, Path(folder))
        fitted = fit("keyword", splits["train"], encoder, label_set, recipe, validation=splits["validation"])
        logits, targets, _ = predict_keyword(fitted.model, splits["validation"], encoder, label_set)
    table = multi_label_table(targets >= 0.5, logits >= 0, label_set.keywords)
    counts = Counter(name for review in splits["train"] for name in review.scores if name in label_set.keywords)
    rare = [table[name]["f1"] for name, _ in counts.most_common()[-RAREST:]]
    return Row(
        fitted.trainable_parameters,
        fitted.parameters,
        fitted.seconds,
        table["micro avg"]["f1"],
        table["macro avg"]["f1"],
        float(np.mean(rare)),
    )


def markdown(rows: dict[str, Row]) -> str:
    """The table of the docs."""
    lines = [
        "| tuned, loss | trained parameters | of all | seconds | micro F1 | macro F1 | four rarest, macro F1 |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {row.trainable_parameters:,} | {row.trainable_parameters / row.parameters:.1%} "
        f"| {row.seconds:.0f} | {row.micro_f1:.3f} | {row.macro_f1:.3f} | {row.rare_f1:.3f} |"
        for name, row in rows.items()
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the choices that are missing; print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tuning_choices",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--train", nargs="+", required=True, metavar="FILE[:N]", help="labelled reviews")
    parser.add_argument("--output", type=Path, required=True, help="JSON of the figures")
    parser.add_argument("--label-set", type=Path, default=DEFAULT_LABEL_SET)
    add_recipe_arguments(parser)
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        label_set = LabelSet.load(args.label_set)
        splits = split_reviews(load_reviews(args.train, label_set)[0])
        rows = {n: Row(**r) for n, r in json.loads(args.output.read_text()).items()} if args.output.exists() else {}
        for choice in CHOICES:
            if choice.name not in rows:
                rows[choice.name] = measure(choice, recipe_of(args), splits, label_set)
                log.info("%s: %s", choice.name, rows[choice.name])
                write_text(args.output, json.dumps({n: asdict(r) for n, r in rows.items()}, indent=1) + "\n")
    except ReviewLensError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(markdown(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
