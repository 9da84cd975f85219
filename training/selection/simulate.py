"""Simulated labelling rounds: what each strategy gains over random choice, on reviews whose labels are known.

    python -m training.selection.simulate --data reviews.jsonl --backbone pretrained --output runs/simulation

The labels of the pool (the training split of --data) are hidden. A random first set is labelled; then, round by round,
a strategy that knows the present model buys more, a model is trained from scratch on all that was bought, and its F1 is
measured on held-out reviews (the validation and test splits). Strategies with one seed begin with the same set.

--learner probe trains logistic regressions on frozen features (seconds a run), --learner finetune the whole encoder.
Runs that stand in --output already are not run again, so a simulation can be stopped, continued and extended by seeds
and strategies. The table and the plot are of all runs there.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from client.errors import InvalidInputError, ReviewLensError
from client.whole_files import write_whole
from training.arguments import add_recipe_arguments, recipe_of
from training.data import LabelSet
from training.finetune import DEFAULT_LABEL_SET
from training.review_trainer import disk_errors
from training.selection.learners import FineTuned, Learner, Probe
from training.selection.outliers import cluster_outliers
from training.selection.rounds import MIXES, load_world, simulate
from training.selection.simulation_report import Point, plot, table
from training.trainer import scratch_encoder

log = logging.getLogger("simulation")

DEFAULT_SIZES = (200, 400, 600, 800, 1000, 1200, 1400, 1600)


def run(args: argparse.Namespace) -> list[Point]:
    """Run what is missing of the simulation, write points, table and plot; the points of all runs.

    Raises:
        ReviewLensError: data, backbone or output cannot be used.
    """
    if list(args.sizes) != sorted(set(args.sizes)) or args.sizes[0] < 1:
        raise InvalidInputError(f"--sizes {args.sizes}: give ascending numbers of labels")
    recipe = recipe_of(args)
    with disk_errors(args.output):
        args.output.mkdir(parents=True, exist_ok=True)
    settings = {"data": str(args.data), "sizes": list(args.sizes), "backbone": recipe.backbone}
    settings |= {"learner": args.learner, "recipe": repr(recipe) if args.learner == "finetune" else ""}
    _check_settings(args.output / "settings.json", settings)
    points_file = args.output / "points.jsonl"
    points = whole_curves(read_points(points_file), args.sizes)
    done = {(point.strategy, point.seed) for point in points}
    missing = {seed: [name for name in args.strategies if (name, seed) not in done] for seed in args.seeds}
    if any(missing.values()):
        label_set = LabelSet.load(args.label_set)
        with tempfile.TemporaryDirectory() as temporary:
            encoder = scratch_encoder(recipe, label_set, Path(temporary))
        world = load_world(args.data, label_set, recipe.backbone, encoder)
        if args.sizes[-1] > len(world.pool):
            raise InvalidInputError(f"--sizes {args.sizes[-1]}: the pool has only {len(world.pool)} reviews")
        learner: Learner = Probe(world) if args.learner == "probe" else FineTuned(world, encoder, recipe)
        outliers = cluster_outliers(world.pool_embeddings)
    for seed, names in missing.items():
        began = time.monotonic()
        for curve in simulate(world, learner, names, args.sizes, seed, outliers) if names else ():
            points += curve
            # The whole file anew: a disk that fills up leaves the curves before this one.
            write_whole(points_file, "".join(json.dumps(vars(point)) + "\n" for point in points))
            last = ", ".join(f"{measure} {f1:.3f}" for measure, f1 in curve[-1].f1.items())
            log.info("seed %d, %s: %s; %.0f s", seed, curve[-1].strategy, last, time.monotonic() - began)
    points.sort(key=lambda point: (list(MIXES).index(point.strategy), point.seed, point.labels))
    write_whole(args.output / "table.md", table(points))
    image = args.plot or args.output / "curves.png"
    with disk_errors(image.parent):
        plot(points, image, args.title)
    return points


def read_points(file: Path) -> list[Point]:
    """Points of earlier runs; none where there is no file.

    A last line that was cut short is left out, as an append of earlier versions may have left one.

    Raises:
        InvalidInputError: another line is broken.
    """
    if not file.is_file():
        return []
    points: list[Point] = []
    lines = file.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        try:
            points.append(Point(**json.loads(line)))
        except (ValueError, TypeError) as error:
            if number < len(lines):
                raise InvalidInputError(f"{file}:{number}: broken: {error}; remove the line") from None
            log.warning("%s:%d was cut short: its curve is run again", file, number)
    return points


def whole_curves(points: Sequence[Point], sizes: Sequence[int]) -> list[Point]:
    """The points of runs that have one for each of ``sizes``: a run is gone on with whole or not at all."""
    found = {(point.strategy, point.seed, point.labels) for point in points}
    return [point for point in points if all((point.strategy, point.seed, size) in found for size in sizes)]


def _check_settings(file: Path, settings: Mapping[str, object]) -> None:
    if file.is_file():
        found = json.loads(file.read_text(encoding="utf-8"))
        if other := {name: found.get(name) for name, value in settings.items() if found.get(name) != value}:
            raise InvalidInputError(f"--output {file.parent}: its runs were made with {other}; choose another folder")
    else:
        write_whole(file, json.dumps(settings, ensure_ascii=False, indent=1) + "\n")


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.selection.simulate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="labelled reviews (JSON lines)")
    parser.add_argument("--output", type=Path, required=True, help="folder of points.jsonl, table.md and curves.png")
    parser.add_argument("--plot", type=Path, help="another place for the plot, .png or .svg")
    parser.add_argument("--title", default="Simulated labelling rounds", help="of the plot")
    parser.add_argument("--learner", choices=("probe", "finetune"), default="probe", help="(default: %(default)s)")
    parser.add_argument("--strategies", nargs="+", choices=tuple(MIXES), default=tuple(MIXES), metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=(1, 2, 3, 4, 5), help="(default: 1 2 3 4 5)")
    parser.add_argument("--sizes", nargs="+", type=int, default=DEFAULT_SIZES, help="labels after each round")
    parser.add_argument("--label-set", type=Path, default=DEFAULT_LABEL_SET)
    add_recipe_arguments(parser, early_stopping=False)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when table and plot were written, 2 when something cannot be used."""
    args = parse_arguments(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    log.setLevel(logging.INFO)
    try:
        points = run(args)
    except ReviewLensError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table(points), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
