"""Reviews of goods that the samples do not speak of, in words that a tiny model learns at once."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SUBJECTS = {"배송": ("배송이", "택배가"), "색상": ("색상이", "색감이"), "핏": ("핏이", "실루엣이")}
OPINIONS = {"좋아요": 1, "별로예요": -1, "최고예요": 2}


def reviews(numbers: Sequence[int]) -> list[dict[str, Any]]:
    """Labelled reviews, 18 a number; other numbers give other texts."""
    return [
        {
            "id": f"{number}-{subject}-{opinion}",
            "text": f"{number}번째 {subject} {opinion}",
            "shop": "새가게",
            "category": "모자",
            "labels": {keyword: score, "만족도": score},
        }
        for number, (keyword, subjects), (opinion, score) in itertools.product(
            numbers, SUBJECTS.items(), OPINIONS.items()
        )
        for subject in subjects
    ]


def write(path: Path, rows: Sequence[Mapping[str, Any]], *, labels: bool = True) -> Path:
    """Write reviews as JSON lines, with their labels or without."""
    kept = [row if labels else {k: v for k, v in row.items() if k != "labels"} for row in rows]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept), encoding="utf-8")
    return path


def fill_in(sheet: Path, output: Path, labels: Mapping[str, Mapping[str, int]]) -> Path:
    """What a labeller does: write the scores of each id into the exported sheet, and save it."""
    with sheet.open(encoding="utf-8-sig", newline="") as source:
        rows = list(csv.DictReader(source))
    for row in rows:
        row |= {name: str(score) for name, score in labels.get(row["id"], {}).items()}
    with output.open("w", encoding="utf-8-sig", newline="") as out:
        writer = csv.DictWriter(out, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return output
