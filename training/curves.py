"""Learning curves: how the scores grow with the number of training reviews.

    python -m training.curves keyword --data reviews.jsonl --output runs/curves.json --sizes 500 1000 2000 all \\
        --seeds 1 2 --backbone FOLDER-OR-HUB-NAME
    python -m training.plots --curves runs/curves.json --output plots

Each point is a model that is trained on so many reviews of the training split (the larger parts of one seed hold the
smaller ones), calibrated on the validation split and scored on the test split. Every point is written as it is done:
run the command again, with more sizes or seeds too, and it goes on with those that are missing, or in mid-training.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from client.artifact import sha256_of
from client.encoding import Encoder
from client.errors import InvalidInputError, ReviewLensError
from training.arguments import add_recipe_arguments, recipe_of
from training.checkpoint import begin_checkpoint, write_text
from training.checks import check_splits
from training.data import LabelledReview, LabelSet
from training.examples import split_reviews
from training.finetune import DEFAULT_LABEL_SET, load_reviews
from training.held_out import calibration_reviews, evaluate_model
from training.metrics import Table
from training.review_trainer import disk_errors
from training.trainer import Recipe, Task, fit

log = logging.getLogger("curves")


@dataclass(frozen=True)
class Point:
    """One trained model: what it was trained on, for how long, and its ``scores`` on the test split by name."""

    task: Task
    reviews: int
    seed: int
    epochs: float
    scores: Mapping[str, float]
    seconds: float


@dataclass(frozen=True)
class Curves:
    """Points that may be compared: of the same data, recipe and held-out reviews."""

    setup: Mapping[str, Any]
    points: tuple[Point, ...] = ()

    def has(self, task: Task, reviews: int, seed: int) -> bool:
        return any((p.task, p.reviews, p.seed) == (task, reviews, seed) for p in self.points)

    def write(self, path: Path) -> None:
        """Write the file whole or not at all."""
        write_text(path, json.dumps(asdict(self), ensure_ascii=False, indent=1) + "\n")


def read_curves(path: Path) -> Curves:
    """Read what ``Curves.write`` wrote.

    Raises:
        InvalidInputError: the file cannot be read or is no such file.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Curves(values["setup"], tuple(Point(**point) for point in values["points"]))
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot read the curves: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(f"{path}: not what training.curves writes: {error!r}") from None


def nested_part(train: Sequence[LabelledReview], size: int, seed: int) -> list[LabelledReview]:
    """``size`` reviews at random; those of a smaller size are among those of a larger one."""
    order = np.random.default_rng(seed).permutation(len(train))
    return [train[int(i)] for i in order[:size]]


def measure(
    task: Task,
    part: Sequence[LabelledReview],
    splits: dict[str, list[LabelledReview]],
    label_set: LabelSet,
    recipe: Recipe,
    folder: Path,
) -> Point:
    """Train on ``part`` and score on the test split; ``folder`` keeps what an interrupted training goes on from."""
    began = time.monotonic()
    artifact = begin_checkpoint(
        folder, recipe.backbone, label_set, name="curve", max_length=recipe.max_length, prompt=recipe.prompt
    )
    encoder = Encoder(artifact)
    validation = calibration_reviews(splits["validation"])
    fitted = fit(task, part, encoder, label_set, recipe, folder=folder / "trainer", validation=validation)
    _, results = evaluate_model(task, fitted.model, encoder, label_set, splits, artifact.labels)
    scores = curve_scores(task, results["test"])
    return Point(task, len(part), recipe.seed, recipe.epochs, scores, round(time.monotonic() - began, 1))


def curve_scores(task: Task, tables: Mapping[str, Table]) -> dict[str, float]:
    """The scores of a curve: F1 averages of keywords, or accuracy and macro F1 of sentiments.

    Where the strength of opinions is known they are of all sentiments, otherwise of the three signs.
    """
    if task == "keyword":
        table = tables.get("graded") or tables["signed"]
        return {"keyword micro F1": table["micro avg"]["f1"], "keyword macro F1": table["macro avg"]["f1"]}
    name, table = ("sentiment", tables["graded"]) if "graded" in tables else ("sign", tables["signed by sign"])
    return {f"{name} accuracy": table["accuracy"]["f1"], f"{name} macro F1": table["macro avg"]["f1"]}


def run_curves(
    task: Task,
    data: Sequence[Path],
    output: Path,
    recipe: Recipe,
    *,
    sizes: Sequence[int | None],
    seeds: Sequence[int],
    least_seen: int = 0,
    label_set_file: Path = DEFAULT_LABEL_SET,
) -> Curves:
    """Measure the points that ``output`` lacks, smallest first, and write each as it is done.

    ``None`` among the sizes is all of the training split. A part is trained for the recipe's epochs, or for as many
    as it takes to see ``least_seen`` reviews.

    Raises:
        ReviewLensError: data or backbone cannot be used, a size is over what there is, or ``output`` holds points of
            other data or another recipe.
    """
    label_set = LabelSet.load(label_set_file)
    splits = split_reviews(load_reviews([str(path) for path in data], label_set)[0])
    for warning in check_splits(splits, label_set, task):
        log.warning("%s", warning)
    available = len(splits["train"])
    wanted = sorted({available if size is None else size for size in sizes})
    if wanted[0] < 1 or wanted[-1] > available:
        raise InvalidInputError(
            f"--sizes: the training split has {available} reviews; give sizes from 1 to that, or all"
        )
    setup = {
        "data": {path.name: sha256_of(path.read_bytes()) for path in data},
        "held_out": {name: len(splits[name]) for name in ("validation", "test")},
        "least_seen": least_seen,
        "recipe": {name: value for name, value in asdict(recipe).items() if name not in ("seed", "report_to")},
    }
    curves = read_curves(output) if output.exists() else Curves(setup)
    if curves.setup != setup:
        different = sorted(name for name in setup if curves.setup.get(name) != setup[name])
        raise InvalidInputError(f"{output}: holds points with another {' and '.join(different)}; give another --output")
    output.parent.mkdir(parents=True, exist_ok=True)
    for size, seed in ((size, seed) for size in wanted for seed in seeds):
        if curves.has(task, size, seed):
            continue
        log.info("%s, %d reviews, seed %d", task, size, seed)
        point_recipe = replace(recipe, seed=seed, epochs=max(recipe.epochs, least_seen / size))
        folder = output.with_name(f"{output.name}.{task}-{size}-{seed}")
        with disk_errors(output.parent):
            part = nested_part(splits["train"], size, seed)
            point = measure(task, part, splits, label_set, point_recipe, folder)
            curves = replace(curves, points=(*curves.points, point))
            curves.write(output)
        shutil.rmtree(folder, ignore_errors=True)
        log.info("%s", ", ".join(f"{name} {score:.4f}" for name, score in point.scores.items()))
    return curves


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.curves", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=("keyword", "sentiment"))
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="FILE", help="labelled reviews")
    parser.add_argument("--output", type=Path, required=True, help="JSON file of the points; both tasks may share one")
    parser.add_argument(
        "--sizes", type=_size, nargs="+", default=(500, 1000, 2000, 4000, None), help="reviews, or all (500 … 4000 all)"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=(1, 2, 3), help="instead of --seed (default: 1 2 3)")
    parser.add_argument(
        "--least-seen",
        type=int,
        default=0,
        metavar="REVIEWS",
        help="train small parts for more epochs, until so many reviews were seen: the curve then shows what data buys, "
        "not what steps buy (default: %(default)s)",
    )
    parser.add_argument("--label-set", type=Path, default=DEFAULT_LABEL_SET, help="JSON (default: %(default)s)")
    add_recipe_arguments(parser)
    return parser.parse_args(arguments)


def _size(text: str) -> int | None:
    return None if text == "all" else int(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when all points are there, 2 when data or recipe cannot be used."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    args = parse_arguments(arguments)
    try:
        curves = run_curves(
            args.task,
            args.data,
            args.output,
            recipe_of(args),
            sizes=args.sizes,
            seeds=args.seeds,
            least_seen=args.least_seen,
            label_set_file=args.label_set,
        )
    except ReviewLensError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for point in curves.points:
        scores = "  ".join(f"{name} {score:.4f}" for name, score in point.scores.items())
        print(f"{point.task:<10}{point.reviews:>8} reviews  seed {point.seed}  {scores}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
