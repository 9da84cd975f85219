"""Command line options of the loop, and the settings that they make."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from client.errors import InvalidInputError
from client.served import served_version
from training.data import LabelSet
from training.loop.decision import METRICS, Rule, measurable, require_measured
from training.loop.settings import DEFAULT_LABEL_SET, Settings

NEEDED = ("repository", "pool", "train")
FILES = ("repository", "pool", "label_set", "rules", "checkpoint", "evaluation")
DEFAULTS = {field.name: field.default for field in fields(Settings)}


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """The settings of a run, under the names that they have there; what is not given is not in the result."""
    data = parser.add_argument_group("data (given when the run begins; the first three are needed)")
    labelling = parser.add_argument_group("selection and labelling")
    training = parser.add_argument_group("training and export")
    deciding = parser.add_argument_group("comparison")

    def add(group: Any, name: str, told: str, dest: str = "", **options: Any) -> None:
        dest = dest or name.removeprefix("--").replace("-", "_")
        default = DEFAULTS[dest]
        if not isinstance(default, bool) and isinstance(default, int | float):
            told += f" (default: {default})"
        group.add_argument(name, dest=dest, default=argparse.SUPPRESS, help=told, **options)

    add(data, "--repository", "model repository: has the champion, gets a better challenger", metavar="DIR")
    add(data, "--pool", "reviews without labels: .jsonl, .csv, .tsv or .txt", metavar="FILE")
    add(data, "--train", "the present training data", nargs="+", metavar="FILE[:N]")
    add(data, "--held-out", "compare on the test split of these (default: of --train)", nargs="+", metavar="FILE")
    add(data, "--label-set", "JSON (default: training/label_sets/fashion.json)", metavar="FILE")
    add(data, "--rules", "rules of the guideline (default: those beside the label set)", metavar="FILE")
    add(labelling, "--count", "reviews to label", type=int, metavar="N")
    add(
        labelling,
        "--quota",
        "share of a strategy of training.selection",
        "quotas",
        action="append",
        metavar="NAME=40%",
    )
    add(labelling, "--checkpoint", "its encoder finds outliers", metavar="DIR")
    add(labelling, "--labellers", "people who share the reviews", type=int, metavar="N")
    add(labelling, "--overlap", "share of the reviews that two of them label", type=float, metavar="SHARE")
    add(labelling, "--enough", "train once this share of the reviews has labels that hold", type=float, metavar="SHARE")
    add(training, "--training", "options of training.finetune as one argument: --training='--epochs 2'")
    add(training, "--sentiment-training", "more of them, for the sentiment classifier")
    add(training, "--precision", "of the exported graphs", choices=("fp32", "fp16", "int8"))
    add(training, "--max-loss", "largest change of a probability by int8 or fp16", type=float, metavar="P")
    add(training, "--evaluation", "reviews to measure that on", metavar="FILE")
    _add_rule(deciding, add)
    add(deciding, "--no-promote", "leave a better challenger to a person", "promote", action="store_const", const=False)


def add_comparison_options(parser: argparse.ArgumentParser, *, needs_data: bool) -> None:
    """What a comparison without a run is told."""
    parser.add_argument("--data", type=Path, nargs="+", required=needs_data, metavar="FILE", help="labelled reviews")
    parser.add_argument("--label-set", type=Path, default=DEFAULT_LABEL_SET, metavar="FILE", help="(%(default)s)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the figures as JSON")

    def add(group: Any, name: str, told: str, **options: Any) -> None:
        group.add_argument(name, default=DEFAULTS[name[2:]], help=f"{told} (default: %(default)s)", **options)

    _add_rule(parser, add)


def _add_rule(group: Any, add: Callable[..., None]) -> None:
    add(group, "--primary", "metric that has to be better beyond noise", choices=METRICS)
    add(group, "--tolerance", "how far any other metric may fall", type=float, metavar="X")
    add(group, "--resamples", "of the bootstrap", type=int, metavar="N")
    add(group, "--seed", "of the random draws", type=int, metavar="N")


def given_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The settings among the options that were given, with absolute paths."""
    given: dict[str, Any] = {}
    for name, value in vars(args).items():
        if name in FILES:
            given[name] = str(Path(value).resolve())
        elif name in ("train", "held_out"):
            given[name] = tuple(str(Path(file).resolve()) for file in value)
        elif name in DEFAULTS:
            given[name] = tuple(value) if isinstance(value, list) else value
    return given


def new_settings(args: argparse.Namespace) -> Settings:
    """The settings of a run that begins, checked as far as they can be before anybody labels.

    Raises:
        ReviewLensError: an option is missing, or what it names cannot be used.
    """
    from training.audit.rules import load_rules, rules_beside
    from training.finetune import parse_arguments
    from training.loop.comparison import graded_count, held_out_reviews
    from training.selection.quotas import parse_quotas

    given = given_settings(args)
    if missing := [f"--{name}" for name in NEEDED if name not in given]:
        raise InvalidInputError(f"{args.folder}: no run in it; to begin one, give {', '.join(missing)}")
    rules = rules_beside(Path(given.get("label_set", DEFAULT_LABEL_SET)))
    held_out = tuple(file_of(file) for file in given["train"])
    settings = Settings(**{"held_out": tuple(map(str, held_out)), "rules": str(rules) if rules else None, **given})
    label_set = LabelSet.load(Path(settings.label_set))
    if settings.rules:
        load_rules(Path(settings.rules), label_set)
    if settings.quotas:
        parse_quotas(settings.quotas)
    Rule(settings.primary, settings.tolerance)
    served_version(Path(settings.repository))
    reviews = held_out_reviews([Path(file) for file in settings.held_out], label_set)
    require_measured(settings.primary, measurable(graded_count(reviews)))
    for more in ("", settings.sentiment_training):
        parse_arguments(["keyword", "--train", "-", "--output", "-", *shlex.split(f"{settings.training} {more}")])
    return settings


def file_of(argument: str) -> Path:
    """The file of ``FILE`` or ``FILE:N``."""
    name, colon, times = argument.rpartition(":")
    return Path(name if colon and times.isdigit() else argument)
