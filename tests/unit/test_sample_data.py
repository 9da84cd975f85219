"""The shipped sample reviews: what samples/README.md says of them is so, and every command can work with them."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from training.checks import check_reviews, check_splits
from training.corpus import read_lines, split_of, text_key
from training.data import LabelledReview, LabelSet, read_labelled

SAMPLES = Path("samples")
FASHION = LabelSet.load(Path("training/label_sets/fashion.json"))
README = (SAMPLES / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def labelled() -> list[LabelledReview]:
    return list(read_labelled(SAMPLES / "labelled_reviews.jsonl", FASHION))


@pytest.fixture(scope="module")
def unlabelled() -> list[dict[str, Any]]:
    return [json.loads(line) for line in read_lines(SAMPLES / "unlabelled_reviews.jsonl")]


def table_row(first_cell: str) -> list[str]:
    (line,) = re.findall(rf"^\| {first_cell} \|(.*)\|$", README, re.MULTILINE)
    return [cell.strip() for cell in line.split("|")]


def test_counts_are_those_of_the_readme(labelled: list[LabelledReview], unlabelled: list[dict[str, Any]]) -> None:
    assert [table_row(f"`{name}`")[0] for name in ("labelled_reviews.jsonl", "unlabelled_reviews.jsonl")] == [
        str(len(labelled)),
        str(len(unlabelled)),
    ]
    tagged = Counter(label for review in labelled for label in review.scores)
    assert dict(zip(table_row("label"), map(int, table_row("reviews")), strict=True)) == tagged
    given = Counter(score for review in labelled for score in review.scores.values())
    in_order = [given[score] for score in FASHION.sentiment_scores]
    assert (table_row("sentiment"), table_row("labels")) == (list(FASHION.sentiments), list(map(str, in_order)))
    parts = Counter(split_of(review.text) for review in labelled)
    assert f"{parts['train']} are for training, {parts['validation']} for validation and {parts['test']} for" in README


def test_labels_are_complete(labelled: list[LabelledReview]) -> None:
    tagged = Counter(label for review in labelled for label in review.scores)
    assert all(tagged[keyword] >= 10 for keyword in FASHION.keywords)
    assert tagged[FASHION.overall] == len(labelled)
    assert check_reviews(labelled, FASHION).kept == tuple(labelled), "no text stands twice"
    parts = {name: [r for r in labelled if split_of(r.text) == name] for name in ("train", "validation", "test")}
    assert check_splits(parts, FASHION, "keyword") == ()
    assert check_splits(parts, FASHION, "sentiment") == ()


def test_shops_and_categories(labelled: list[LabelledReview], unlabelled: list[dict[str, Any]]) -> None:
    shops, categories = Counter(r.shop for r in labelled), Counter(r.category for r in labelled)
    assert (len(shops), len(categories)) == (4, 5)
    assert max(shops.values()) > 3 * min(shops.values())
    assert {row["shop"] for row in unlabelled} == set(shops)
    assert {row["category"] for row in unlabelled} - set(categories) == {"원피스", "잡화"}


def test_no_review_stands_in_two_files(labelled: list[LabelledReview], unlabelled: list[dict[str, Any]]) -> None:
    texts = [r.text for r in labelled] + [row["text"] for row in unlabelled] + list(read_lines(SAMPLES / "reviews.txt"))
    assert len({text_key(text) for text in texts}) == len(texts)
    ids = [r.id for r in labelled] + [row["id"] for row in unlabelled]
    assert len(set(ids)) == len(ids)
