"""`python -m training.selection` on the sample reviews, with a tiny model repository and a tiny encoder."""

from __future__ import annotations

import csv
import json
import logging
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from client.artifact import Artifact
from tests.functional.command_line import ROOT
from tests.functional.export.tiny_checkpoints import write_checkpoints
from training.corpus import text_key
from training.data import LabelledReview
from training.predictions import predict_repository
from training.selection.__main__ import main
from training.selection.pool import read_pool
from training.selection.scoring import PoolScorer

LABELLED = ROOT / "samples" / "labelled_reviews.jsonl"
POOL = ROOT / "samples" / "unlabelled_reviews.jsonl"
# Two kinds of review that vary by a number only, so that any encoder sees two clusters.
ALIKE = (
    "배송이 빨라서 좋았고 포장도 깔끔했어요",
    "색상이 화면이랑 달라요 생각보다 어두워요 재질이 얇아서 여름에 입기 좋아요",
)
CLUSTERED = [f"{text} {n}번" for text in ALIKE for n in range(50)]


@pytest.fixture(scope="module")
def checkpoint(tiny_artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoints(tmp_path_factory.mktemp("checkpoints"), tiny_artifact)[0]


@pytest.fixture
def arguments(tiny_repository: Path, tmp_path: Path) -> list[str]:
    """The arguments of a round of 20 of the samples, written to ``round.jsonl``."""
    output = str(tmp_path / "round.jsonl")
    return ["--repository", str(tiny_repository), "--pool", str(POOL), "--count", "20", "--output", output]


def chosen(folder: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / "round.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_round_is_filled_by_quota_and_says_why(arguments: list[str], tmp_path: Path) -> None:
    quotas = ["--quota", "proportional=25%", "--quota", "threshold=40%", "--quota", "vocabulary=35%"]
    assert main([*arguments, "--exclude", str(LABELLED), *quotas]) == 0
    rows = chosen(tmp_path)
    assert Counter(row["strategy"] for row in rows) == {"proportional": 5, "threshold": 8, "vocabulary": 7}
    said = {"proportional": "drawn at random for ", "threshold": "near its threshold", "vocabulary": "rare or unknown"}
    assert all(said[row["strategy"]] in row["why"] for row in rows)
    pool = {review.id: review for review in read_pool(POOL)}
    assert len({row["id"] for row in rows}) == 20
    for row in rows:
        review = pool[row["id"]]
        assert (row["text"], row["shop"], row["category"]) == (review.text, review.shop, review.category)


def test_csv_has_the_same_rows(arguments: list[str], tmp_path: Path) -> None:
    assert main(arguments) == 0
    arguments[-1] = str(tmp_path / "round.csv")
    assert main(arguments) == 0
    with (tmp_path / "round.csv").open(encoding="utf-8-sig", newline="") as file:
        assert list(csv.DictReader(file)) == chosen(tmp_path)
    assert not list(tmp_path.glob("*.tmp"))


def test_nothing_of_the_training_data_is_chosen(arguments: list[str], tmp_path: Path) -> None:
    pool = read_pool(POOL)
    known = tmp_path / "known.tsv"
    # Other case and spaces: the same review all the same.
    known.write_text("".join(f" {r.text.replace(' ', '  ').upper()}\t핏 1\n" for r in pool[:70]), encoding="utf-8")
    assert main([*arguments, "--exclude", str(known), "--quota", "proportional=100%"]) == 0
    assert {row["id"] for row in chosen(tmp_path)} <= {review.id for review in pool[70:]}


def test_what_defaults_cannot_fill_goes_to_the_others(
    arguments: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert main(arguments) == 0
    assert len(chosen(tmp_path)) == 20
    assert {row["strategy"] for row in chosen(tmp_path)} == {"proportional", "threshold", "sentiment"}
    assert "no training data (--exclude)" in caplog.text
    assert "no checkpoint (--checkpoint)" in caplog.text
    told = "{} has nothing to choose by; its quota goes to proportional, threshold, sentiment"
    assert {told.format("vocabulary"), told.format("outliers")} <= {*caplog.messages}


def test_outliers_are_what_no_cluster_holds(arguments: list[str], checkpoint: Path, tmp_path: Path) -> None:
    pool = tmp_path / "pool.txt"
    texts = [*CLUSTERED, *(review.text for review in read_pool(POOL))]
    pool.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    arguments[arguments.index("--pool") + 1] = str(pool)
    assert main([*arguments, "--checkpoint", str(checkpoint), "--quota", "outliers=100%"]) == 0
    rows = chosen(tmp_path)
    # How many there are, depends on the tokenizer, whose training breaks ties by chance.
    assert 8 <= len(rows) <= 20
    assert sum(row["text"] in CLUSTERED for row in rows) <= 0.4 * len(rows), "half of the pool are of the clusters"
    assert all(re.search("its nearest reviews are .* times as far as usual", row["why"]) for row in rows)


def test_a_pool_smaller_than_the_round_is_chosen_whole(
    arguments: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pool = tmp_path / "pool.txt"
    pool.write_text("핏이 예뻐요\n배송이 느려요\n핏이  예뻐요\n", encoding="utf-8")
    arguments[arguments.index("--pool") + 1] = str(pool)
    assert main(arguments) == 0
    assert sorted(text_key(row["text"]) for row in chosen(tmp_path)) == ["배송이느려요", "핏이예뻐요"]
    assert "20 reviews are asked for, and only 2 are new" in caplog.text


def test_a_review_that_no_model_reads_is_left_out(
    arguments: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pool = tmp_path / "pool.jsonl"
    pool.write_text('{"text": "핏이\\u0000예뻐요"}\n{"text": "배송이 느려요"}\n', encoding="utf-8")
    arguments[arguments.index("--pool") + 1] = str(pool)
    assert main(arguments) == 0
    assert [row["text"] for row in chosen(tmp_path)] == ["배송이 느려요"]
    assert "review 1 is left out: the review has a NUL character" in caplog.text


def test_scores_are_those_of_the_served_models(tiny_repository: Path) -> None:
    scorer = PoolScorer(tiny_repository)
    texts = [review.text for review in read_pool(POOL)]
    reviews = [review for review in scorer.encode(texts) if not isinstance(review, Exception)]
    scores = scorer.score(reviews)
    everything = dict.fromkeys(scores.labels.all_labels, 0)
    asked_all = predict_repository(
        tiny_repository, [LabelledReview(str(n), t, everything, True, frozenset()) for n, t in enumerate(texts)]
    )
    assert scores.keyword_probs == pytest.approx(asked_all.keyword_probs, abs=1e-5)
    found = np.pad(scores.keyword_probs >= scores.labels.thresholds, ((0, 0), (0, 1)), constant_values=True)
    assert 0.2 < found[:, :-1].mean() < 0.8
    assert scores.sentiment_probs[found] == pytest.approx(asked_all.sentiment_probs[found], abs=1e-5)
    assert not scores.sentiment_probs[~found].any()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"--pool": "nothing.jsonl"}, "nothing.jsonl: cannot open: "),
        ({"--pool": str(LABELLED), "--exclude": str(LABELLED)}, "none of its 240 reviews is new and readable"),
        ({"--exclude": "nothing.jsonl"}, "nothing.jsonl: cannot open: "),
        ({"--count": "0"}, "--count 0: choose 1 review at least"),
        ({"--output": "round.xlsx"}, "--output round.xlsx: name the file .csv or .jsonl"),
        ({"--output": "nowhere/round.csv"}, "there is no folder nowhere; make it first"),
        ({"--repository": "nowhere"}, "no version folder; export a model there first"),
        ({"--quota": "threshold=50%"}, "the shares sum to 50 %"),
        ({"--quota": "outliers=100%"}, "outliers needs --checkpoint"),
        ({"--quota": "vocabulary=100%"}, "vocabulary needs --exclude"),
        ({"--checkpoint": "nowhere"}, "nowhere/labels.json: no such file"),
    ],
)
def test_what_cannot_be_used_is_told(
    arguments: list[str], change: dict[str, str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The last of an option given twice counts.
    assert main([*arguments, *(part for option in change.items() for part in option)]) == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
