"""Plots of a model repository on labelled reviews, and of learning curves, as SVG files.

    python -m training.plots --repository model_repository --data reviews.jsonl --output plots
    python -m training.plots --curves runs/curves.json --output plots

The first writes the confusion matrix of sentiment, precision and recall of each keyword with the threshold that is
used, and reliability diagrams with their expected calibration error, of the test split, which no training touched,
unless --split says otherwise. The second draws what training.curves measured. No plot holds text of a review.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from client.errors import InvalidInputError, ReviewLensError
from training.corpus import split_of
from training.curves import read_curves
from training.data import LabelSet, read_labelled
from training.finetune import DEFAULT_LABEL_SET
from training.plots import diagnostics, figures
from training.plots.learning_curves import foretold, judge_curves, learning_curve_figure
from training.plots.style import plot_style, write_svg
from training.predictions import Predictions, predict_repository

log = logging.getLogger("plots")


def model_plots(predictions: Predictions, source: str) -> dict[str, Figure]:
    """The plots of a model by file name; ``source`` stands in their titles."""
    told = f"{source}, model {predictions.labels.model_version}"
    confusion = diagnostics.sentiment_confusion(predictions)
    curves = diagnostics.keyword_curves(predictions)
    keyword, sentiment = diagnostics.keyword_reliability(predictions), diagnostics.sentiment_reliability(predictions)
    for name, part in (("keyword", keyword), ("sentiment", sentiment)):
        print(f"{name}: expected calibration error {part.expected_calibration_error:.4f} of {part.counts.sum()} pairs")
    mean = sum(curve.average_precision for curve in curves) / len(curves)
    print(f"keyword: mean average precision {mean:.4f} of {len(curves)} keywords")
    return {
        "sentiment_confusion.svg": figures.confusion_figure(confusion, f"Sentiment of tagged pairs\n{told}"),
        "keyword_precision_recall.svg": figures.precision_recall_figure(curves, f"Keywords: {told}"),
        "reliability.svg": figures.reliability_figure(
            {"keyword, all pairs": keyword, "sentiment, tagged pairs": sentiment}, told
        ),
    }


def curve_plots(files: Sequence[Path]) -> dict[str, Figure]:
    """The plot of the curves in some files; prints what more data would buy.

    Raises:
        InvalidInputError: a file cannot be read, or they hold no point.
    """
    points = [point for file in files for point in read_curves(file).points]
    if not points:
        raise InvalidInputError(f"{files[0]}: no point measured yet; run training.curves")
    judgements = judge_curves(points)
    for name, judgement in judgements.items():
        print(f"{name}: {judgement.why}")
        for size, score, doubt in foretold(points, name, judgement):
            print(f"  {size:,} reviews would give {score:.3f} ± {doubt:.3f}")
    return {"learning_curves.svg": learning_curve_figure(points, judgements)}


def plot(args: argparse.Namespace) -> list[Path]:
    """Draw what the arguments ask for; returns the files.

    Raises:
        ReviewLensError: a file or the repository cannot be used, or nothing was asked for.
    """
    if (args.repository is None) != (args.data is None) or (args.repository is None and args.curves is None):
        raise InvalidInputError("give --repository with --data, or --curves, or all three")
    drawn: dict[str, Figure] = {}
    with plot_style():
        if args.repository:
            label_set = LabelSet.load(args.label_set)
            reviews = [r for r in read_labelled(args.data, label_set) if args.split in ("all", split_of(r.text))]
            if not any(review.scores for review in reviews):
                raise InvalidInputError(f"{args.data}: no review with scores in the split {args.split!r}")
            log.info("%d reviews", len(reviews))
            source = f"{len(reviews)} reviews of {args.data.name} ({args.split})"
            drawn |= model_plots(predict_repository(args.repository, reviews), source)
        if args.curves:
            drawn |= curve_plots(args.curves)
        for name, figure in drawn.items():
            write_svg(figure, args.output / name)
            print(args.output / name)
    return [args.output / name for name in drawn]


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.plots", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repository", type=Path, help="a Triton model repository that export wrote")
    parser.add_argument("--data", type=Path, help="labelled reviews")
    parser.add_argument("--split", choices=("test", "validation", "all"), default="test", help="(default: %(default)s)")
    parser.add_argument("--label-set", type=Path, default=DEFAULT_LABEL_SET, help="how to read them (%(default)s)")
    parser.add_argument(
        "--curves", type=Path, nargs="+", help="files that training.curves wrote, one a task or one for all"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for the SVG files")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when the files are written, 2 when something cannot be used."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        plot(parse_arguments(arguments))
    except ReviewLensError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
