"""The command line flags of a ``Recipe``, for every command that trains."""

from __future__ import annotations

import argparse

from training.losses import LOSS_CHOICES
from training.trainer import DEFAULT_BACKBONE, Recipe
from training.tuning import TUNE_CHOICES

REPORTERS = ("none", "wandb", "trackio", "tensorboard")


def add_recipe_arguments(parser: argparse.ArgumentParser, *, early_stopping: bool = True) -> None:
    """Add the flags. ``early_stopping`` is not offered where no reviews are set apart to score."""
    recipe = parser.add_argument_group("recipe")
    recipe.add_argument("--backbone", default=DEFAULT_BACKBONE, help="folder or hub name (default: %(default)s)")
    recipe.add_argument("--epochs", type=float, default=3, help="(default: %(default)s)")
    recipe.add_argument("--learning-rate", type=float, default=5e-5, help="(default: %(default)s)")
    recipe.add_argument("--dropout", type=float, default=0.1, help="(default: %(default)s)")
    recipe.add_argument("--attention", choices=("sdpa", "eager"), default="sdpa", help="eager trains faster on a CPU")
    recipe.add_argument("--token-budget", type=int, default=4096, help="padded tokens a step (default: %(default)s)")
    recipe.add_argument("--max-length", type=int, default=256, help="tokens a review (default: %(default)s)")
    recipe.add_argument("--prompt", default="{keyword}", help="text before the review (default: %(default)s)")
    recipe.add_argument("--seed", type=int, default=1, help="(default: %(default)s)")
    recipe.add_argument("--no-bf16", action="store_true", help="train in 32-bit floats")
    recipe.add_argument(
        "--tune", choices=TUNE_CHOICES, default="all", help="what is trained; adapters by peft (default: %(default)s)"
    )
    recipe.add_argument(
        "--loss", choices=LOSS_CHOICES, default="plain", help="for rare classes: by weight, or focal (%(default)s)"
    )
    if early_stopping:
        recipe.add_argument(
            "--early-stopping",
            type=int,
            default=0,
            metavar="N",
            help="stop after N evaluations (two an epoch) without a gain on the validation split; 0: never",
        )
    else:
        parser.set_defaults(early_stopping=0)
    recipe.add_argument("--report-to", choices=REPORTERS, default="none", help="where curves go (default: %(default)s)")


def recipe_of(args: argparse.Namespace) -> Recipe:
    """The recipe of parsed ``add_recipe_arguments``."""
    return Recipe(
        backbone=args.backbone,
        epochs=args.epochs,
        learning_rate=args.learning_rate,
        dropout=args.dropout,
        attention=args.attention,
        token_budget=args.token_budget,
        max_length=args.max_length,
        prompt=args.prompt,
        seed=args.seed,
        bf16=not args.no_bf16,
        tune=args.tune,
        loss=args.loss,
        early_stopping=args.early_stopping,
        report_to=args.report_to,
    )
