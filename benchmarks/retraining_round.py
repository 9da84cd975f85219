"""Rehearse a round of the retraining loop on reviews whose labels are known already.

    python -m benchmarks.retraining_round split --data gold.jsonl.gz --output DIR --start 2000
    python -m training.loop run DIR/round --pool DIR/pool.jsonl --train DIR/start.jsonl DIR/held_out.jsonl …
    python -m benchmarks.retraining_round label --data gold.jsonl.gz --sheet DIR/round/labelling/to_label.csv \\
        --output DIR/labelled.csv

`split` writes start.jsonl (the labels that there are), pool.jsonl (the other reviews of the training split, without
labels) and held_out.jsonl (the validation and test splits). `label` is the labeller: it fills in a sheet from the data.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training.corpus import open_text, split_of


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON lines file; each needs ``id``, ``text`` and ``labels``."""
    with open_text(path) as lines:
        return [json.loads(line) for line in lines]


def with_origin(rows: Sequence[dict[str, Any]], origins: Path | None) -> list[dict[str, Any]]:
    """Rows with the ``source`` and ``category`` that another file has for their ids."""
    if origins is None:
        return list(rows)
    known = {str(row["id"]): {k: row.get(k) or "" for k in ("source", "category")} for row in read_rows(origins)}
    return [{**row, **known.get(str(row["id"]), {})} for row in rows]


def split(rows: Sequence[Mapping[str, Any]], start: int, seed: int) -> dict[str, list[Mapping[str, Any]]]:
    """Rows by file: ``start`` of the training split, the ``pool`` without labels, and what is held out."""
    train = [row for row in rows if split_of(row["text"]) == "train"]
    order = np.random.default_rng(seed).permutation(len(train))
    return {
        "start": [train[i] for i in order[:start]],
        "pool": [{k: v for k, v in train[i].items() if k != "labels"} for i in order[start:]],
        "held_out": [row for row in rows if split_of(row["text"]) != "train"],
    }


def fill_in(sheet: Path, output: Path, labels: Mapping[str, Mapping[str, int]]) -> None:
    """Write the labels of each id into an exported sheet."""
    with sheet.open(encoding="utf-8-sig", newline="") as source, output.open("w", encoding="utf-8", newline="") as out:
        reader = csv.DictReader(source)
        writer = csv.DictWriter(out, reader.fieldnames or ())
        writer.writeheader()
        writer.writerows({**row, **labels[row["id"]]} for row in reader)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("split", "label"))
    parser.add_argument("--data", type=Path, required=True, help="id, text, labels")
    parser.add_argument("--origins", type=Path, help="a file with the same ids, and their source and category")
    parser.add_argument("--start", type=int, default=2000, help="reviews that are labelled already")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sheet", type=Path, help="to fill in")
    parser.add_argument("--output", type=Path, required=True, help="folder of the split, or the filled-in sheet")
    args = parser.parse_args(arguments)
    rows = read_rows(args.data)
    if args.command == "label":
        fill_in(args.sheet, args.output, {str(row["id"]): row["labels"] for row in rows})
        return 0
    args.output.mkdir(parents=True, exist_ok=True)
    for name, part in split(with_origin(rows, args.origins), args.start, args.seed).items():
        _write(args.output / f"{name}.jsonl", part)
    return 0


def _write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
