"""Readers of labelled reviews: every form gives the same labels, every mistake names line and field."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.encoding import Encoder
from client.errors import InvalidInputError
from training.corpus import read_aspect_reviews, read_rated_lines, split_of
from training.data import LabelSet, format_completion, parse_completion, read_labelled
from training.examples import keyword_examples, merge_sources, sentiment_examples, split_reviews

FASHION = LabelSet.load(Path("training/label_sets/fashion.json"))


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows), encoding="utf-8")
    return path


def test_three_forms_of_one_review(tmp_path: Path) -> None:
    labels = {"디자인": 1, "배송": -1, "만족도": 0}
    text = "옷은 귀여운데 너무 늦게 왔어요"
    object_form = write(tmp_path / "a.jsonl", {"id": "7", "text": text, "labels": labels})
    completion = write(tmp_path / "b.jsonl", {"text": text, "completion": "디자인 1, 배송 -1, 만족도 0"})
    table = write(tmp_path / "c.tsv", f"{text}\t디자인 1, 배송 -1, 만족도 0")
    read = [next(read_labelled(path, FASHION)) for path in (object_form, completion, table)]
    assert [dict(review.scores) for review in read] == [labels] * 3
    assert [review.id for review in read] == ["7", "1", "1"]
    assert all(review.graded and review.text == text for review in read)
    assert all(set(FASHION.keywords) <= review.annotated for review in read)


def test_marked_opinions_become_signs_and_evidence(tmp_path: Path) -> None:
    text = "굽이 낮아 편한데 밑창 무늬는 별로고 수납은 글쎄요"
    aspects = [
        {"aspect": "굽", "polarity": 1, "span": "굽이 낮아"},
        {"aspect": "디자인", "polarity": -1, "span": "밑창 무늬는 별로"},
        {"aspect": "제품구성", "polarity": 1, "span": "편한데"},
    ]
    path = write(tmp_path / "a.jsonl", {"text": text, "polarity": -1, "aspects": aspects})
    (review,) = read_labelled(path, FASHION)
    assert dict(review.scores) == {"디자인": 0, "만족도": -1}, "praise and blame of one keyword are mixed"
    assert [text[a:b] for a, b in review.evidence["디자인"]] == ["굽이 낮아", "밑창 무늬는 별로"]
    assert not review.graded
    assert "배송" not in review.annotated
    assert "색상" in review.annotated


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("{broken", "broken JSON"),
        ("[1, 2]", "JSON object"),
        ({"text": "예뻐요"}, "no labels"),
        ({"text": "예뻐요", "labels": None}, "choose from it what to label with python -m training.selection"),
        ({"text": "예뻐요", "labels": ["디자인"]}, "labels: ['디자인'] is not an object"),
        ({"text": "예뻐요", "labels": {}, "shop": ["A"]}, "shop: ['A'] is neither text nor a number"),
        ({"text": "예뻐요", "labels": {"향기": 1}}, "'향기' is not in the label set"),
        ({"text": "예뻐요", "labels": {"디자인": 3}}, "디자인: sentiment 3 is not one of -2, -1, 0, 1, 2"),
        ({"text": "예뻐요", "labels": {"디자인": True}}, "sentiment True"),
        ({"text": "예뻐요", "labels": {"디자인": "1"}}, "sentiment '1'"),
        ({"text": "  ", "labels": {}}, "text: '  '"),
        ({"text": 5, "labels": {}}, "text: 5"),
        ({"text": "예뻐요", "completion": "디자인 하나"}, "'디자인 하나' is not 'keyword score'"),
        ({"text": "예뻐요", "completion": "디자인 1, 디자인 2"}, "stands twice"),
        ({"text": "예뻐요", "completion": None}, "completion: None"),
        (
            {"text": "예뻐요", "aspects": [{"aspect": "향", "polarity": 1}]},
            "'향' is not in the label set's aspect names",
        ),
        ({"text": "예뻐요", "aspects": [{"aspect": "핏", "polarity": 2}]}, "polarity 2 of 핏"),
        ({"text": "예뻐요", "aspects": [{"aspect": ["핏"], "polarity": 1}]}, "['핏'] is not in the label set's"),
        ({"text": "예뻐요", "aspects": ["핏"]}, "aspects: an entry"),
        ({"text": "예뻐요", "targets": {"핏": 0.5}, "evidence": {"핏": [3]}}, "evidence: {'핏': [3]} is not like"),
    ],
)
def test_mistakes_name_line_and_field(tmp_path: Path, row: object, told: str) -> None:
    path = write(tmp_path / "a.jsonl", {"text": "좋아요", "labels": {"만족도": 1}}, "", row)
    with pytest.raises(InvalidInputError) as raised:
        list(read_labelled(path, FASHION))
    assert f"{path}:3" in str(raised.value)
    assert told in str(raised.value)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="cannot open"):
        list(read_labelled(tmp_path / "none.jsonl", FASHION))
    broken = tmp_path / "latin.jsonl"
    broken.write_bytes(b'{"text": "a", "labels": {}}\n\xff\xfe\n')
    with pytest.raises(InvalidInputError, match=r"latin\.jsonl:2: not UTF-8.*iconv"):
        list(read_labelled(broken, FASHION))
    with pytest.raises(InvalidInputError, match=r"a\.tsv:1: no tab"):
        list(read_labelled(write(tmp_path / "a.tsv", "디자인 1"), FASHION))


ROW = json.dumps({"text": "핏이 좋아요", "labels": {"핏": 2}}).encode() + b"\n"


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl"])
def test_compressed_files_are_told_by_their_first_bytes(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for content in (gzip.compress(ROW), ROW, b"\xef\xbb\xbf" + ROW.replace(b"\n", b"\r\n")):
        path.write_bytes(content)
        assert [dict(r.scores) for r in read_labelled(path, FASHION)] == [{"핏": 2}]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "Git LFS pointer.*git lfs pull"),
        (b"\n  <!DOCTYPE html>\n<html>", "a web page"),
        (b"PK\x03\x04\x14\x00", "zip archive or an Excel workbook; .*tab-separated"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "an old Excel workbook"),
        (b"PAR1\x15\x04", "a Parquet file"),
        ('{"text": "핏"}'.encode("utf-16"), "UTF-16.*iconv"),
        (gzip.compress(b"<html>"), "a web page"),
        (b"\x1f\x8b\x08\x00", "broken gzip data"),
        (gzip.compress(ROW)[:-9], "cannot read on"),
        (b"\x1f\x8bjunk and more junk", "broken gzip data"),
    ],
)
def test_files_given_by_mistake(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=told) as raised:
        list(read_labelled(path, FASHION))
    assert str(raised.value).startswith(str(path))


def test_where_a_review_comes_from(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"id": 0, "shop": "A", "source": "B", "category": "신발", "labels": {}},
        {"id": None, "source": 17, "labels": {"핏": 1.0}},
        {"completion": ""},
        {"targets": {"핏": 1}, "shop": "A"},
        {"aspects": [], "category": "신발"},
    ]
    path = write(tmp_path / "a.jsonl", "", *({"text": "좋아요", **row} for row in rows))
    read = list(read_labelled(path, FASHION))
    assert [(r.id, r.shop, r.category) for r in read] == [
        ("0", "A", "신발"),
        ("3", "17", ""),
        ("4", "", ""),
        ("5", "A", ""),
        ("6", "", "신발"),
    ]
    assert [r.where for r in read] == [f"{path}:{n}" for n in range(2, 7)]
    assert format_completion(read[1].scores, FASHION) == "핏 1", "a table's 1.0 is the score 1"


SMALL = {"keywords": ["핏"], "overall": "만족도", "sentiments": ["-", "+"], "sentiment_scores": [-1, 1]}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"keywords": []}, "the list is empty"),
        ({"keywords": "핏"}, "keywords: '핏' is not a list"),
        ({"keywords": ["핏", "핏"]}, "label '핏' stands more than once"),
        ({"keywords": ["핏", "만족도"]}, "label '만족도' stands more than once"),
        ({"keywords": ["사이즈, 폭"]}, "label '사이즈, 폭' is not a name"),
        ({"keywords": [" 핏"]}, "label ' 핏' is not a name"),
        ({"keywords": [1]}, "label 1 is not a name"),
        ({"sentiments": ["+"]}, "must be equally long"),
        ({"sentiment_scores": [1, -1]}, "from most negative to most positive"),
        ({"sources": {"aspects": {"names": {"향": "향기"}}}}, "aspect names lead to 향기"),
        ({"sources": []}, "not a label set"),
    ],
)
def test_label_set_errors(tmp_path: Path, change: dict[str, object], told: str) -> None:
    path = write(tmp_path / "labels.json", SMALL)
    assert LabelSet.load(path).all_labels == ("핏", "만족도")
    write(path, SMALL | change)
    with pytest.raises(InvalidInputError, match=told) as raised:
        LabelSet.load(path)
    assert str(raised.value).startswith(str(path))


def test_label_set_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="cannot read the label set"):
        LabelSet.load(tmp_path / "none.json")
    with pytest.raises(InvalidInputError, match="not a label set"):
        LabelSet.load(write(tmp_path / "bad.json", {"keywords": ["핏"]}))


label_names = st.text(min_size=1).map(str.strip).filter(lambda name: name and "," not in name)
label_sets = st.builds(
    lambda names, scores: LabelSet(tuple(names[1:]), names[0], tuple(map(str, scores)), tuple(sorted(scores))),
    st.lists(label_names, min_size=2, max_size=6, unique=True),
    st.lists(st.integers(-9, 9), min_size=2, max_size=5, unique=True),
)


@given(st.data(), label_sets)
def test_completion_form_there_and_back(data: st.DataObject, label_set: LabelSet) -> None:
    some = st.dictionaries(st.sampled_from(label_set.all_labels), st.sampled_from(label_set.sentiment_scores))
    scores = data.draw(some)
    completion = format_completion(scores, label_set)
    assert parse_completion(completion, label_set) == scores
    assert format_completion(parse_completion(completion, label_set), label_set) == completion
    pieces = data.draw(st.permutations(completion.split(", ")))
    assert parse_completion(" ,  ".join(pieces) + " , ", label_set) == scores, "neither order nor blanks matter"


@given(st.text())
def test_a_completion_is_parsed_or_refused(completion: str) -> None:
    try:
        scores = parse_completion(completion, FASHION)
    except InvalidInputError:
        return
    assert scores.keys() <= set(FASHION.all_labels)
    assert set(scores.values()) <= set(FASHION.sentiment_scores)


def test_pretraining_corpora_name_the_line(tmp_path: Path) -> None:
    aspects = write(tmp_path / "a.jsonl", {"id": 1, "text": "좋아요", "aspects": []}, {"text": "좋아요"})
    with pytest.raises(InvalidInputError, match=r"a\.jsonl:2: not a review with marked aspects: KeyError\('id'\)"):
        list(read_aspect_reviews(aspects))
    rated = write(tmp_path / "r.tsv", "10\t좋아요", "3\t ", "별점\t좋아요")
    with pytest.raises(InvalidInputError, match=r"r\.tsv:3: '별점' is not a rating"):
        list(read_rated_lines(rated))
    assert list(read_rated_lines(write(rated, "10\t좋아요", "3\t "))) == [(10, "좋아요")]


@given(st.text(), st.text(alphabet=" \t\n"))
def test_split_depends_on_the_visible_text_only(text: str, blank: str) -> None:
    assert split_of(text) == split_of(blank + text.upper().lower() + blank) or text.upper().lower() != text


def test_graded_labels_win_and_keep_the_evidence(tmp_path: Path) -> None:
    text = "색이 곱고 재질이 부드러워요"
    span = {"aspect": "색상", "polarity": 1, "span": "색이 곱고"}
    rows = [{"text": text, "aspects": [span]}, {"text": text, "labels": {"색상": 2, "소재": 1}}]
    for order in (rows, rows[::-1]):
        (merged,) = merge_sources(read_labelled(write(tmp_path / "a.jsonl", *order), FASHION))
        assert dict(merged.scores) == {"색상": 2, "소재": 1}
        assert merged.evidence == {"색상": ((0, 5),)}


def test_splits_are_disjoint_and_keep_their_shares(tmp_path: Path) -> None:
    rows = [{"text": f"{i}번째 구매인데 만족합니다", "labels": {"만족도": 1}} for i in range(3000)]
    splits = split_reviews(read_labelled(write(tmp_path / "a.jsonl", *rows), FASHION))
    assert sum(map(len, splits.values())) == 3000
    assert 0.04 < len(splits["validation"]) / 3000 < 0.08
    assert 0.06 < len(splits["test"]) / 3000 < 0.10


def test_soft_targets_teach_keywords_and_no_sentiment(tmp_path: Path, encoder: Encoder) -> None:
    row = {"text": "핏이 좋아요", "targets": {"핏": 0.9, "색상": 0.2}, "evidence": {"핏": [[0, 2]]}}
    (review,) = read_labelled(write(tmp_path / "a.jsonl", row), FASHION)
    (example,) = keyword_examples([review], encoder, FASHION)
    column = FASHION.keywords.index
    assert example.targets[[column("핏"), column("색상")]].tolist() == pytest.approx([0.9, 0.2])
    assert example.known.sum() == 2
    assert example.evidence == {column("핏"): frozenset({0})}
    assert sentiment_examples([review], encoder, FASHION, "{keyword}") == []
    for targets in ({"향": 0.5}, {"핏": 1.5}, ["핏"]):
        with pytest.raises(InvalidInputError, match=r"a\.jsonl:1: targets"):
            list(read_labelled(write(tmp_path / "a.jsonl", row | {"targets": targets}), FASHION))
