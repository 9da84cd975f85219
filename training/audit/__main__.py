"""Find the labels that are probably wrong or missing, before a model learns them.

    python -m training.audit --train reviews.jsonl --output audit
    python -m training.finetune keyword --train reviews.jsonl --decisions decisions.jsonl --output checkpoints/keyword

Every review of the training split is judged by a classifier that did not see it (cross-validation and cleanlab's
multi-label filters), and by the rules of the tagging guideline (training/label_sets/fashion_rules.json). Open
index.html of the output folder in a browser, decide, and download decisions.jsonl; issues.csv and summary.csv hold the
same as tables. An interrupted run goes on with the fold in which it was. With --decisions, labels that were decided on
before are corrected first and not asked again, and the page's next download holds them too.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from client.errors import ReviewLensError
from training.arguments import add_recipe_arguments, recipe_of
from training.audit.likely_errors import Filter
from training.audit.run import DEFAULT_FILTER, DEFAULT_FOLDS, AuditSettings, audit
from training.finetune import DEFAULT_LABEL_SET


def parse_arguments(arguments: Sequence[str] | None = None) -> AuditSettings:
    """The command line as settings."""
    parser = argparse.ArgumentParser(
        prog="python -m training.audit", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_audit_arguments(parser)
    parser.add_argument("--decisions", type=Path, metavar="FILE", help="what was decided on earlier pages")
    return settings_of(parser.parse_args(arguments))


def add_audit_arguments(parser: argparse.ArgumentParser, *, early_stopping: bool = True) -> None:
    """Add the flags of every command that audits."""
    parser.add_argument("--train", nargs="+", required=True, metavar="FILE", help="labelled reviews (training/data.py)")
    parser.add_argument("--output", type=Path, required=True, help="folder of the results")
    parser.add_argument(
        "--folds", type=int, default=DEFAULT_FOLDS, help="as many classifiers are trained (default: %(default)s)"
    )
    parser.add_argument(
        "--filter",
        choices=get_args(Filter),
        default=DEFAULT_FILTER,
        help="how cleanlab picks what the model disagrees with (default: %(default)s)",
    )
    parser.add_argument("--label-set", type=Path, default=DEFAULT_LABEL_SET, help="JSON (default: %(default)s)")
    parser.add_argument(
        "--rules", type=Path, metavar="FILE", help="guideline rules (default: <label set>_rules.json beside it)"
    )
    add_recipe_arguments(parser, early_stopping=early_stopping)


def settings_of(args: argparse.Namespace) -> AuditSettings:
    """The settings of parsed ``add_audit_arguments``."""
    return AuditSettings(
        train=tuple(args.train),
        output=args.output,
        recipe=recipe_of(args),
        folds=args.folds,
        filter_by=args.filter,
        label_set=args.label_set,
        rules=args.rules,
        decisions=getattr(args, "decisions", None),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when the page was written, 2 when it could not be."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    settings = parse_arguments(arguments)
    try:
        found = audit(settings)
    except ReviewLensError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"out of fold, the classifiers find the given labels with a micro F1 of {found.agreement:.3f}")
    print(f"{len(found.issues)} suspected labels: open {settings.output / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
