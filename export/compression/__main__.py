"""Smaller models, measured against the uncompressed one, and refused where they lose too much.

    python -m export.compression table --keyword checkpoints/keyword --sentiment checkpoints/sentiment \\
        --data reviews.jsonl
    python -m export.compression write --keyword checkpoints/keyword --sentiment checkpoints/sentiment \\
        --data reviews.jsonl --variant vocabulary=3+int8 --repository model_repository

`table` measures many variants, `write` measures one and writes it, as a model repository or as checkpoints, if it
passes the gate. Of the reviews, the training split says what matters least and teaches students, the validation split
calibrates thresholds, and the test split measures. What was made and measured is kept in the work folder: an
interrupted command goes on where it was.

A variant is steps joined by +, from left to right:
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from transformers.utils.logging import disable_progress_bar

from client.errors import InvalidInputError, ReviewLensError
from client.whole_files import write_whole
from export.compression.gate import FEWEST_LABELS, Bounds, GateError
from export.compression.measure import UNCOMPRESSED, Meter
from export.compression.report import csv_text, markdown, update
from export.compression.reviews import Reviews
from export.compression.variants import STEP_HELP, Variant, parse_variants
from export.compression.workshop import Workshop, copy_checkpoints
from export.repository import export_repository
from training.data import LabelSet
from training.finetune import DEFAULT_LABEL_SET

log = logging.getLogger("compression")

USUAL_VARIANTS = (
    "int8",
    "int8-static",
    "int8-onnxruntime",
    "heads=0.2",
    "heads=0.4",
    "feed-forward=0.25",
    "feed-forward=0.5",
    "layers=1",
    "layers=2",
    "magnitude=0.3",
    "magnitude=0.6",
    "vocabulary=1",
    "vocabulary=3",
    "layers=1+distill=1",
    "layers=2+distill=1",
    "heads=0.2+feed-forward=0.5+distill=1",
    "vocabulary=3+int8",
    "layers=1+distill=1+vocabulary=3+int8",
    "layers=2+distill=1+vocabulary=3+int8",
    "heads=0.2+feed-forward=0.5+distill=1+vocabulary=3+int8",
)


def table(args: argparse.Namespace) -> None:
    """Measure variants and write the tables.

    Raises:
        ReviewLensError: checkpoints or reviews cannot be used, or a step does not fit the model.
    """
    meter, bounds = _meter(args), _bounds(args)
    measured = [meter.measure(variant) for variant in parse_variants(args.variant or USUAL_VARIANTS)]
    text = markdown(measured, bounds)
    write_whole(
        args.work / "compression.json", json.dumps([*map(asdict, measured)], ensure_ascii=False, indent=1) + "\n"
    )
    write_whole(args.work / "compression.csv", csv_text(measured))
    if args.update:
        update(args.update, text)
    print(text)


def write(args: argparse.Namespace) -> None:
    """Measure one variant and write it, if it passes the gate.

    Raises:
        GateError: it loses more than its bounds allow; nothing is written.
        ReviewLensError: checkpoints or reviews cannot be used, or the export's own checks fail.
    """
    variant = Variant.parse(args.variant)
    if args.repository and variant.precision not in ("fp32", "int8"):
        raise InvalidInputError(f"--variant {variant}: {variant.precision} is for measuring; serve int8 or fp32")
    if args.checkpoints and not variant.steps:
        raise InvalidInputError(f"--variant {variant}: its checkpoints are those given; it needs --repository")
    meter, bounds = _meter(args), _bounds(args)
    reference, found = meter.measure(UNCOMPRESSED), meter.measure(variant)
    bounds.require(found, reference)
    log.info("%s passes the gate", variant)
    folders = meter.workshop.checkpoints(variant.steps)
    if args.checkpoints:
        copy_checkpoints(folders, args.checkpoints)
        log.info("%s: wrote %s", args.checkpoints, " and ".join(folders))
    if args.repository:
        report = export_repository(
            folders["keyword"],
            folders["sentiment"],
            args.repository,
            precision="int8" if variant.precision == "int8" else "fp32",
            max_loss=1.0,  # the gate has judged what int8 loses, by labels instead of by single probabilities
            skip_triton=args.skip_triton,
        )
        log.info("%s: version %d, model_version %s", args.repository, report.version, report.model_version)


def _meter(args: argparse.Namespace) -> Meter:
    reviews = Reviews.load(args.data, LabelSet.load(args.label_set))
    log.info("train %d, validation %d, test %d reviews", *map(len, (reviews.train, reviews.validation, reviews.test)))
    workshop = Workshop(args.work, args.keyword, args.sentiment, reviews)
    return Meter(workshop, highlight_reviews=args.highlight_reviews, rounds=args.rounds)


def _bounds(args: argparse.Namespace) -> Bounds:
    return Bounds(
        keyword_loss=args.max_keyword_loss,
        keyword_macro_loss=args.max_keyword_macro_loss,
        one_keyword_loss=args.max_one_keyword_loss,
        sentiment_loss=args.max_sentiment_loss,
        sentiment_macro_loss=args.max_sentiment_macro_loss,
        highlight_agreement=args.min_highlight_agreement,
        company=args.max_batch_effect,
    )


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    steps = "\n".join(f"  {name:<22} {meaning}" for name, meaning in STEP_HELP.items())
    parser = argparse.ArgumentParser(
        prog="python -m export.compression",
        description=f"{__doc__}\n{steps}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    tables = commands.add_parser("table", help="measure variants side by side")
    tables.add_argument("--variant", nargs="+", metavar="STEPS", help=f"(default: {' '.join(USUAL_VARIANTS)})")
    tables.add_argument("--update", type=Path, metavar="FILE", help="markdown file whose measured tables are replaced")
    writes = commands.add_parser("write", help="write one variant, if it passes the gate")
    writes.add_argument("--variant", required=True, metavar="STEPS", help="such as vocabulary=3+int8")
    output = writes.add_mutually_exclusive_group(required=True)
    output.add_argument("--repository", type=Path, metavar="DIR", help="add it to this model repository as a version")
    output.add_argument("--checkpoints", type=Path, metavar="DIR", help="write it as DIR/keyword and DIR/sentiment")
    writes.add_argument("--skip-triton", action="store_true", help="do not check a repository in the embedded Triton")
    bounds = Bounds()
    for command in (tables, writes):
        add = command.add_argument
        add("--keyword", type=Path, required=True, metavar="DIR", help="checkpoint of the keyword classifier")
        add("--sentiment", type=Path, required=True, metavar="DIR", help="checkpoint of the sentiment classifier")
        add("--data", type=Path, nargs="+", required=True, metavar="FILE", help="labelled reviews, some of them graded")
        add("--label-set", type=Path, default=DEFAULT_LABEL_SET, help="JSON (default: %(default)s)")
        add("--work", type=Path, default=Path("runs/compression"), help="work folder (default: %(default)s)")
        add("--highlight-reviews", type=int, default=200, metavar="N", help="to mask (default: %(default)s)")
        add("--rounds", type=int, default=15, metavar="N", help="of timing (default: %(default)s)")
        gate = command.add_argument_group("gate", "against the uncompressed model, on the test split; 0 to 1")
        for flag, default, told in (
            ("--max-keyword-loss", bounds.keyword_loss, "of micro F1"),
            ("--max-keyword-macro-loss", bounds.keyword_macro_loss, "of macro F1"),
            ("--max-one-keyword-loss", bounds.one_keyword_loss, f"of F1, with {FEWEST_LABELS} labels or more"),
            ("--max-sentiment-loss", bounds.sentiment_loss, "of accuracy"),
            ("--max-sentiment-macro-loss", bounds.sentiment_macro_loss, "of macro F1"),
            ("--min-highlight-agreement", bounds.highlight_agreement, "share of the keywords"),
            ("--max-batch-effect", bounds.company, "on a probability"),
        ):
            gate.add_argument(flag, type=float, default=default, metavar="X", help=f"{told} (%(default)s)")
    args = parser.parse_args(arguments)
    if args.rounds < 1 or args.highlight_reviews < 1:
        parser.error("--rounds and --highlight-reviews: 1 or more")
    return args


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when it did, 1 when the gate refused the variant, 2 when it could not run."""
    args = parse_arguments(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    for name in ("compression", "distill", "export"):
        logging.getLogger(name).setLevel(logging.INFO)
    # The exporter warns of every package that it could use and that is not installed.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    disable_progress_bar()  # a bar for each of many small checkpoints
    try:
        table(args) if args.command == "table" else write(args)
    except GateError as error:
        print(f"refused: {error}", file=sys.stderr)
        return 1
    except ReviewLensError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
