"""Fine-tune a RoBERTa into a keyword or a sentiment classifier.

    python -m training.finetune keyword   --train reviews.jsonl --output checkpoints/keyword
    python -m training.finetune sentiment --train reviews.jsonl --output checkpoints/sentiment

The default backbone is klue/roberta-base from the Hugging Face hub; any RoBERTa folder or hub name does. A share of the
reviews, chosen by a hash of their text, is never trained on: 6 % (validation) calibrate thresholds and temperature, 8 %
(test) give the table that is printed and stored. An interrupted run goes on where its last checkpoint was written, and
until it is finished, what was in the output folder stays as it is.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from client.encoding import Encoder
from client.errors import InvalidInputError, ReviewLensError
from training.arguments import add_recipe_arguments, recipe_of
from training.audit.decisions import read_decisions
from training.checkpoint import CONTRADICTIONS_FILE, begin_checkpoint, finish_checkpoint, push_to_hub, write_text
from training.checks import check_reviews, check_splits, contradiction_lines
from training.corpus import text_key
from training.data import LabelledReview, LabelSet, read_labelled
from training.examples import merge_sources, split_reviews
from training.held_out import calibration_reviews, evaluate_model
from training.metrics import format_table
from training.review_trainer import disk_errors
from training.trainer import Recipe, Task, fit

log = logging.getLogger("finetune")

DEFAULT_LABEL_SET = Path(__file__).parent / "label_sets" / "fashion.json"
WORK_FOLDER = "unfinished"


@dataclass(frozen=True)
class FinetuneSettings:
    """One run: ``train`` are ``FILE`` or ``FILE:N`` (seen N times an epoch), ``decisions`` what an audit decided."""

    task: Task
    train: tuple[str, ...]
    output: Path
    recipe: Recipe = field(default_factory=Recipe)
    label_set: Path = DEFAULT_LABEL_SET
    name: str = "fashion-ko"
    decisions: Path | None = None
    push_to_hub: str | None = None


def load_reviews(
    files: Sequence[str], label_set: LabelSet, decisions: Path | None = None, contradictions: Path | None = None
) -> tuple[list[LabelledReview], dict[str, int]]:
    """Read ``FILE`` or ``FILE:REPEAT`` arguments, check them and apply an audit's decisions.

    Returns the reviews, one a text, and how often each text is seen in an epoch. Labels of one text that contradict
    one another are listed in the file ``contradictions``; where none do, there is no such file afterwards.

    Raises:
        InvalidInputError: a file cannot be used; the message names the file, the line and the field.
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
            key = text_key(review.text)
            repeats[key] = max(int(times), repeats.get(key, 0))
        reviews += read
        log.info("%s: %d reviews, %s time(s) an epoch", name, len(read), times)
    if decisions:
        reviews = read_decisions(decisions, label_set).apply(reviews)
    report = check_reviews(reviews, label_set)
    for warning in report.warnings:
        log.warning("%s", warning)
    if contradictions:
        contradictions.unlink(missing_ok=True)  # one of a run before
        if report.contradictions:
            write_text(contradictions, "".join(contradiction_lines(report.contradictions)))
            log.warning("all of them are listed in %s", contradictions)
    merged = merge_sources(report.kept)
    return merged, {review.text: repeats[text_key(review.text)] for review in merged}


def finetune(settings: FinetuneSettings) -> dict[str, Any]:
    """Fine-tune one task and write its checkpoint. Returns the metrics that were stored.

    Raises:
        ReviewLensError: data or backbone cannot be used, or the disk is full; the message names what and where.
    """
    label_set, recipe, task = LabelSet.load(settings.label_set), settings.recipe, settings.task
    with disk_errors(settings.output):
        settings.output.mkdir(parents=True, exist_ok=True)
        reviews, repeats = load_reviews(
            settings.train, label_set, settings.decisions, settings.output / CONTRADICTIONS_FILE
        )
    splits = split_reviews(reviews)
    for warning in check_splits(splits, label_set, task):
        log.warning("%s", warning)
    train = [r for r in splits["train"] for _ in range(repeats[r.text])]
    log.info(
        "train %d, validation %d, test %d reviews", len(train), *(len(splits[name]) for name in ("validation", "test"))
    )
    work = settings.output / WORK_FOLDER
    with disk_errors(settings.output):
        artifact = begin_checkpoint(
            work, recipe.backbone, label_set, name=settings.name, max_length=recipe.max_length, prompt=recipe.prompt
        )
    encoder = Encoder(artifact)
    validation = calibration_reviews(splits["validation"])
    fitted = fit(task, train, encoder, label_set, recipe, folder=work / "trainer", validation=validation)
    labels, results = evaluate_model(task, fitted.model, encoder, label_set, splits, artifact.labels)
    described = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(settings).items()}
    training = {key: value for key, value in vars(fitted).items() if key != "model"}
    metrics = {"task": task, "settings": described, "training": training, **results}
    with disk_errors(settings.output):
        finish_checkpoint(work, settings.output, fitted.model, labels, metrics, _card(settings, results))
    shutil.rmtree(work, ignore_errors=True)
    for kind, table in results["test"].items():
        print(format_table(table, f"{task}: {kind}"), end="\n\n")
    if settings.push_to_hub:
        push_to_hub(settings.output, settings.push_to_hub)
    return metrics


def _card(settings: FinetuneSettings, results: dict[str, Any]) -> str:
    tables = "\n\n".join(format_table(table, kind) for kind, table in results["test"].items())
    recipe = settings.recipe
    return (
        f"# {settings.name}: {settings.task} classifier\n\nTrained with `python -m training.finetune {settings.task}` "
        f"from `{recipe.backbone}` on {', '.join(Path(f).name for f in settings.train)}; {recipe.epochs} epochs, "
        f"learning rate {recipe.learning_rate}, tuned: {recipe.tune}, loss: {recipe.loss}, seed {recipe.seed}. On "
        f"held-back reviews (8 %, by a hash of the text):\n\n```\n{tables}\n```\n"
    )


def parse_arguments(arguments: Sequence[str] | None = None) -> FinetuneSettings:
    """The command line as settings."""
    parser = argparse.ArgumentParser(
        prog="python -m training.finetune",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("task", choices=("keyword", "sentiment"))
    parser.add_argument(
        "--train",
        nargs="+",
        required=True,
        metavar="FILE[:N]",
        help="labelled reviews (training/data.py tells the forms); with :N each is seen N times an epoch",
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--label-set", type=Path, default=DEFAULT_LABEL_SET, help="JSON (default: %(default)s)")
    parser.add_argument("--decisions", type=Path, metavar="FILE", help="what a label audit decided (training.audit)")
    parser.add_argument("--name", default="fashion-ko", help="name of the model (default: %(default)s)")
    parser.add_argument("--push-to-hub", metavar="OWNER/NAME", help="upload the finished checkpoint (token: HF_TOKEN)")
    add_recipe_arguments(parser)
    args = parser.parse_args(arguments)
    return FinetuneSettings(
        task=args.task,
        train=tuple(args.train),
        output=args.output,
        recipe=recipe_of(args),
        label_set=args.label_set,
        name=args.name,
        decisions=args.decisions,
        push_to_hub=args.push_to_hub,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when the checkpoint was written, 2 when it could not be."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        finetune(parse_arguments(arguments))
    except ReviewLensError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
