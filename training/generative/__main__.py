"""Train a causal language model to write the labels of a review as text, and evaluate what it writes.

    python -m training.generative train    --model FOLDER-OR-HUB-NAME --train reviews.jsonl --output runs/generator
    python -m training.generative evaluate --generator runs/generator --data reviews.jsonl

The model reads "###입력: {review} ###명령어: 리뷰를 분석해줘 ###출력:" and learns to write "디자인 1, 배송 -1". Any
causal language model of the Hugging Face hub does, and any RoBERTa, which becomes a decoder. With --classifiers,
evaluate sets two checkpoints of training.finetune beside it: same reviews, same tables, same clock.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from client.errors import ReviewLensError
from training.arguments import REPORTERS
from training.checkpoint import write_text
from training.finetune import DEFAULT_LABEL_SET
from training.generative.runs import EvaluateSettings, TrainSettings, evaluate_generator, train_generator
from training.trainer import Recipe


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.generative",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="train|evaluate")
    default = Recipe()

    train = commands.add_parser("train", help="train a generator; an interrupted run goes on")
    train.add_argument("--model", required=True, help="causal language model or RoBERTa: folder or hub name")
    train.add_argument(
        "--train", nargs="+", required=True, metavar="FILE[:N]", help="labelled reviews; :N times an epoch"
    )
    train.add_argument("--output", type=Path, required=True, help="folder of the generator")
    train.add_argument("--label-set", type=Path, default=DEFAULT_LABEL_SET, help="JSON (default: %(default)s)")
    train.add_argument("--epochs", type=float, default=default.epochs, help="(default: %(default)s)")
    train.add_argument("--learning-rate", type=float, default=default.learning_rate, help="(default: %(default)s)")
    train.add_argument("--dropout", type=float, default=default.dropout, help="(default: %(default)s)")
    train.add_argument("--attention", choices=("sdpa", "eager"), default="sdpa", help="eager trains faster on a CPU")
    train.add_argument(
        "--token-budget", type=int, default=default.token_budget, help="padded tokens a step (%(default)s)"
    )
    train.add_argument(
        "--max-length", type=int, default=default.max_length, help="tokens a review (default: %(default)s)"
    )
    train.add_argument("--seed", type=int, default=default.seed, help="(default: %(default)s)")
    train.add_argument("--no-bf16", action="store_true", help="train in 32-bit floats")
    train.add_argument("--report-to", choices=REPORTERS, default="none", help="where curves go (default: %(default)s)")

    evaluate = commands.add_parser(
        "evaluate", help="tables, unreadable outputs and seconds a review, on the test split"
    )
    evaluate.add_argument("--generator", type=Path, required=True, help="folder that train wrote")
    evaluate.add_argument(
        "--data", type=Path, required=True, help="labelled reviews; the 8 %% of the test split are used"
    )
    evaluate.add_argument("--label-set", type=Path, default=DEFAULT_LABEL_SET, help="how to read them (%(default)s)")
    evaluate.add_argument(
        "--classifiers", type=Path, nargs=2, metavar=("KEYWORD", "SENTIMENT"), help="checkpoints to compare with"
    )
    evaluate.add_argument("--batch-size", type=int, default=64, help="reviews generated together (%(default)s)")
    evaluate.add_argument("--limit", type=int, help="use only so many reviews")
    evaluate.add_argument("--output", type=Path, help="also write the figures as JSON")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 when it is done, 2 when data or model cannot be used."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    args = parse_arguments(arguments)
    try:
        if args.command == "train":
            recipe = Recipe(
                backbone=args.model,
                epochs=args.epochs,
                learning_rate=args.learning_rate,
                dropout=args.dropout,
                attention=args.attention,
                token_budget=args.token_budget,
                max_length=args.max_length,
                seed=args.seed,
                bf16=not args.no_bf16,
                report_to=args.report_to,
            )
            train_generator(TrainSettings(tuple(args.train), args.output, recipe, args.label_set))
            return 0
        results = evaluate_generator(
            EvaluateSettings(
                generator=args.generator,
                data=args.data,
                label_set=args.label_set,
                classifiers=tuple(args.classifiers) if args.classifiers else None,
                batch_size=args.batch_size,
                limit=args.limit,
            )
        )
    except ReviewLensError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if args.output:
        write_text(args.output, json.dumps(results, ensure_ascii=False, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
