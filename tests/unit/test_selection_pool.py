"""The pool: what its readers accept, what they refuse, and which reviews are new."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from client.errors import InvalidInputError
from training.selection.__main__ import write_selected
from training.selection.pool import PoolReview, fresh_rows, read_pool, read_texts
from training.selection.selector import Selected

JSONL = (
    '{"id": 7, "text": "핏이 예뻐요", "shop": "가", "category": "상의"}\n\n{"text": "배송이 느려요", "source": "나"}\n'
)


def file(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(content.encode()))
    else:
        path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["pool.jsonl", "pool.jsonl.gz"])
def test_json_lines(tmp_path: Path, name: str) -> None:
    assert read_pool(file(tmp_path, name, JSONL)) == [
        PoolReview("7", "핏이 예뻐요", "가", "상의"),
        PoolReview("3", "배송이 느려요", "나", ""),
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("pool.csv", '\ufeffcategory,text\n상의,"길이가 짧고, 얇아요"\n,좋아요\n'),
        ("pool.tsv", "text\tcategory\n길이가 짧고, 얇아요\t상의\n좋아요\t\n"),
    ],
)
def test_tables_are_read_by_their_header(tmp_path: Path, name: str, content: str) -> None:
    assert read_pool(file(tmp_path, name, content)) == [
        PoolReview("1", "길이가 짧고, 얇아요", category="상의"),
        PoolReview("2", "좋아요"),
    ]


def test_a_round_that_was_written_for_a_spreadsheet_is_read_as_it_was(tmp_path: Path) -> None:
    review = PoolReview("=1", "-좋아요, 정말", "@가게", "상의")
    plain = PoolReview("2", "'따옴표")
    write_selected([Selected(review, "threshold", "+1"), Selected(plain, "refill", "")], tmp_path / "round.csv")
    text = (tmp_path / "round.csv").read_bytes().decode("utf-8")
    assert text.startswith("\ufeffid,text,"), "by which Excel tells that it is UTF-8"
    assert "'=1,\"'-좋아요, 정말\",'@가게,상의,threshold,'+1\n" in text
    assert read_pool(tmp_path / "round.csv") == [review, plain]


def test_labelled_files_are_read_for_their_texts(tmp_path: Path) -> None:
    completions = file(tmp_path, "labelled.tsv", "핏이 예뻐요\t핏 1\n색이 달라요\t색상 -1\n")
    assert read_texts(completions) == ["핏이 예뻐요", "색이 달라요"]
    lines = file(tmp_path, "reviews.txt", "핏이 예뻐요\n\n  색이 달라요 \n")
    assert read_texts(lines) == ["핏이 예뻐요", "색이 달라요"]


def test_one_id_twice_matters_to_a_pool_only(tmp_path: Path) -> None:
    twice = file(tmp_path, "twice.jsonl", '{"id": "a", "text": "하나"}\n{"id": "a", "text": "둘"}\n')
    with pytest.raises(InvalidInputError, match=r"twice\.jsonl:2: id: 'a' is also the id of .*:1"):
        read_pool(twice)
    assert read_texts(twice) == ["하나", "둘"]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("pool.jsonl", "", "no review in the file"),
        ("pool.jsonl", "{", "pool.jsonl:1: broken JSON"),
        ("pool.jsonl", "[]", "must be a JSON object, not list"),
        ("pool.jsonl", '{"text": " "}', "text: ' ' is not a review"),
        ("pool.jsonl", '{"review": "핏"}', "text: None is not a review"),
        ("pool.jsonl", '{"text": "핏", "shop": ["가"]}', r"shop: \['가'\] is not text"),
        ("pool.csv", "review\n핏\n", "no column 'text'; the columns are: review"),
        ("pool.csv", 'text\n"핏\n', "cannot be read"),
        ("pool.xlsx", "", "unknown format"),
        ("pool.jsonl.gz", "", "no review in the file"),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path: Path, name: str, content: str, told: str) -> None:
    with pytest.raises(InvalidInputError, match=told):
        read_pool(file(tmp_path, name, content))


def test_a_missing_file_and_other_bytes_are_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"nothing\.jsonl: cannot open"):
        read_pool(tmp_path / "nothing.jsonl")
    (tmp_path / "cp949.txt").write_bytes("핏이 예뻐요".encode("cp949"))
    with pytest.raises(InvalidInputError, match=r"cp949\.txt:1: not UTF-8"):
        read_pool(tmp_path / "cp949.txt")


def test_near_identical_texts_are_not_new() -> None:
    pool = [
        PoolReview(str(n), text) for n, text in enumerate(["Good 핏", "좋아요", "좋 아요 ", "ｇｏｏｄ핏!", "새 글"])
    ]
    assert fresh_rows(pool, ["good핏"]) == [1, 3, 4]
