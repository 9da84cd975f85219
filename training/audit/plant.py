"""Does the audit find errors? Plant known ones in a copy of the data, audit it, and train with and without them.

    python -m training.audit.plant --train guideline.jsonl.gz --keyword 신축성 --share 0.04 --output planted

A share of the training reviews gets a keyword that they do not carry. The audit then searches: by the model (cleanlab
on out-of-fold probabilities), by the rules of the guideline, and by both (what either flags). Last a classifier is
trained on the labels as they were, on the planted ones, and on these less what a search flagged; its F1 is that of the
held-back reviews (validation and test split, 14 %), whose labels stay as they were, at a threshold of 0.5. All is
stored as it ends: an interrupted run goes on. The figures are in `result.json` of the output folder.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from client.errors import ReviewLensError
from training.audit.__main__ import add_audit_arguments, settings_of
from training.audit.experiment import PlantSettings, experiment


def format_result(result: dict[str, Any]) -> str:
    """The tables of a result as text."""
    first = next(iter(result["search"].values()))
    lines = [
        f"{first['planted']} wrong labels of {result['keyword']} beside {result['rightly_tagged']} right ones",
        f"out of fold, the classifiers find the given labels with a micro F1 of {result['agreement']:.3f}",
        f"{'search':<24} flagged precision  recall  precision@{first['planted']}  average precision",
    ]
    for name, row in {**result["search"], **{f"  {n}": r for n, r in result["filters"].items()}}.items():
        lines.append(
            f"{name:<24} {row['flagged']:7d} {row['precision']:9.3f} {row['recall']:7.3f} "
            f"{row['precision_at_planted']:13.3f} {row['average_precision']:18.3f}"
        )
    if result["f1"]:
        lines.append(f"{'trained on the labels':<24} {result['keyword']}: f1 precision recall  AP   micro  macro")
    for name, row in result["f1"].items():
        names = ("f1", "precision", "recall", "average_precision", "micro", "macro")
        lines.append(f"{name:<24} " + " ".join(f"{row[key]:8.3f}" for key in names))
    return "\n".join(lines)


def parse_arguments(arguments: Sequence[str] | None = None) -> PlantSettings:
    """The command line as settings."""
    parser = argparse.ArgumentParser(
        prog="python -m training.audit.plant", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    planting = parser.add_argument_group("planted errors")
    planting.add_argument("--keyword", required=True, help="the keyword that reviews get wrongly")
    planting.add_argument("--share", type=float, default=0.04, help="of all training reviews (default: %(default)s)")
    planting.add_argument("--score", type=int, default=1, help="their sentiment (default: %(default)s)")
    planting.add_argument(
        "--where", metavar="EXPRESSION", help="only reviews that match, as of a misread guideline (default: any)"
    )
    planting.add_argument("--search-only", action="store_true", help="train no classifiers to compare F1")
    planting.add_argument(
        "--f1-folder", type=Path, help="figures of trainings, for experiments to share (default: OUTPUT/f1)"
    )
    add_audit_arguments(parser, early_stopping=False)
    args = parser.parse_args(arguments)
    return PlantSettings(
        audit=settings_of(args),
        keyword=args.keyword,
        share=args.share,
        score=args.score,
        where=args.where,
        f1_folder=None if args.search_only else args.f1_folder or args.output / "f1",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when the result was written, 2 when it could not be."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        print(format_result(experiment(parse_arguments(arguments))))
    except ReviewLensError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
