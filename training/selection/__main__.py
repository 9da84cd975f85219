"""Choose the reviews of the next labelling round.

    python -m training.selection --repository model_repository --pool reviews.jsonl --count 500 --output round.csv \\
        --exclude labelled.jsonl --checkpoint checkpoints/keyword

Five strategies fill the round by quota (default: {quotas}):

  proportional  random, by the pool's shares of shop and category
  threshold     a keyword's probability is near its decision threshold
  sentiment     the sentiment is uncertain, and its class rarely predicted
  vocabulary    words that the present training data (--exclude) does not know; needs --exclude
  outliers      in no cluster of the pool's sentence embeddings; needs --checkpoint

--quota changes the mix: --quota threshold=60% --quota outliers=40%. What a strategy cannot fill goes to the others;
what is drawn at random only then is named refill, as it is no fair sample of the pool. No review is chosen twice, nor
what stands in --exclude, up to case and spaces. The output has a row a review: id, text, shop, category, strategy and
why.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from client.errors import InvalidInputError, ReviewLensError
from client.whole_files import write_whole
from training.selection.pool import read_pool, read_texts
from training.selection.quotas import DEFAULT_QUOTAS, parse_quotas
from training.selection.selector import Selected, select
from training.spreadsheets import ENCODING, neutral

COLUMNS = ("id", "text", "shop", "category", "strategy", "why")
OUTPUT_FORMATS = (".csv", ".jsonl")
# A default round goes without these, one that asks for the strategy does not.
NEEDS = {"vocabulary": "exclude", "outliers": "checkpoint"}


def write_selected(selected: Sequence[Selected], output: Path) -> None:
    """Write a row a review, as CSV for spreadsheets or as JSON lines, by the file's name; raises as ``write_whole``."""
    rows = [{**vars(chosen.review), "strategy": chosen.strategy, "why": chosen.why} for chosen in selected]
    if output.suffix == ".csv":
        write_whole(output, _csv(rows), ENCODING)
    else:
        write_whole(output, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _csv(rows: Sequence[dict[str, str]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: neutral(cell) for name, cell in row.items()} for row in rows)
    return out.getvalue()


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    quotas = ", ".join(f"{name}={share:g}%" for name, share in DEFAULT_QUOTAS.items())
    parser = argparse.ArgumentParser(
        prog="python -m training.selection",
        description=(__doc__ or "").format(quotas=quotas),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--repository", type=Path, required=True, help="model repository; its served version is asked")
    parser.add_argument("--pool", type=Path, required=True, help=".jsonl, .csv, .tsv or .txt, also with .gz")
    parser.add_argument("--count", type=int, required=True, help="reviews to choose")
    parser.add_argument("--output", type=Path, required=True, help=".csv or .jsonl")
    parser.add_argument("--checkpoint", type=Path, help="checkpoint folder whose encoder embeds the reviews")
    parser.add_argument(
        "--exclude", type=Path, nargs="+", default=[], metavar="FILE", help="the present training data, all files of it"
    )
    parser.add_argument(
        "--quota",
        action="append",
        default=[],
        metavar="NAME=SHARE",
        help="share of one strategy, such as threshold=40%%",
    )
    parser.add_argument("--seed", type=int, default=1, help="of the random draws (default: %(default)s)")
    return parser.parse_args(arguments)


def run(args: argparse.Namespace) -> list[Selected]:
    """Read, choose and write.

    Raises:
        ReviewLensError: a file or an option cannot be used; the message names it.
    """
    if args.output.suffix not in OUTPUT_FORMATS:
        raise InvalidInputError(f"--output {args.output}: name the file {' or '.join(OUTPUT_FORMATS)}")
    if not args.output.parent.is_dir():
        raise InvalidInputError(f"--output {args.output}: there is no folder {args.output.parent}; make it first")
    quotas = parse_quotas(args.quota) if args.quota else DEFAULT_QUOTAS
    for name, option in NEEDS.items():
        if args.quota and quotas.get(name) and not getattr(args, option):
            raise InvalidInputError(f"--quota {name}={quotas[name]:g}%: {name} needs --{option}; give it as well")
    pool = read_pool(args.pool)
    known = [text for file in args.exclude for text in read_texts(file)]
    selected = select(
        pool,
        args.count,
        args.repository,
        training_texts=known,
        checkpoint=args.checkpoint,
        quotas=quotas,
        seed=args.seed,
    )
    write_selected(selected, args.output)
    return selected


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when the round was written, 2 when something cannot be used."""
    args = parse_arguments(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        selected = run(args)
    except ReviewLensError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    shares = ", ".join(f"{name} {count}" for name, count in Counter(s.strategy for s in selected).items())
    logging.getLogger("selection").info("%s: %d reviews (%s)", args.output, len(selected), shares)
    return 0


if __name__ == "__main__":
    sys.exit(main())
