"""Rare vocabulary: a SentencePiece model of invented training data, and reviews that speak of other things."""

from __future__ import annotations

import pytest
from sentencepiece import SentencePieceProcessor

from client.errors import InvalidInputError
from training.selection.vocabulary import rare_pieces, rare_vocabulary, train_vocabulary

KNOWN = [
    f"{what} {praise}"
    for what in ("배송이", "포장이", "색상이", "디자인이", "가격이", "품질이", "사이즈가", "소재가")
    for praise in ("정말 좋아요", "아주 예뻐요", "그냥 그래요", "별로예요", "최고예요")
]


@pytest.fixture(scope="module")
def model() -> SentencePieceProcessor:
    return train_vocabulary(KNOWN)


def test_unknown_words_are_counted_and_named(model: SentencePieceProcessor) -> None:
    known, unknown = rare_pieces(model, "배송이 정말 좋아요"), rare_pieces(model, "퀼팅 퀼팅")
    assert known.rare / known.pieces < 0.2
    assert unknown.rare / unknown.pieces == 1
    both = rare_pieces(model, "배송이 퀼팅 정말 퀼팅 좋아요")
    assert both.rare == known.rare + unknown.rare
    assert both.pieces == known.pieces + unknown.pieces
    assert [word for word in both.words if word not in known.words] == ["퀼팅"], "a word is named once"


def test_reviews_of_rare_words_come_first_and_usual_ones_not_at_all(model: SentencePieceProcessor) -> None:
    texts = ["배송이 정말 좋아요", "트위드 퀼팅 벨벳", "색상이 아주 예뻐요", "품질이 벨벳 별로예요 그냥 그래요"]
    ranking = rare_vocabulary(model, texts)
    assert [row for row, _ in ranking] == [1, 3]
    assert ranking[0][1].endswith(": 트위드, 퀼팅, 벨벳")
    assert "word pieces are rare or unknown in the training data" in ranking[0][1]


def test_a_typing_error_in_a_short_review_weighs_less_than_a_text_of_rare_words(model: SentencePieceProcessor) -> None:
    short, rich = "췍", "트위드 퀼팅 벨벳 스웨이드 헴라인"
    assert rare_pieces(model, short).rare / rare_pieces(model, short).pieces == 1
    rows = [row for row, _ in rare_vocabulary(model, [short, rich, *KNOWN])]
    assert rows[0] == 1
    assert 0 in rows[1:]


def test_a_model_of_the_same_texts_is_the_same(model: SentencePieceProcessor) -> None:
    assert train_vocabulary(KNOWN).serialized_model_proto() == model.serialized_model_proto()


def test_too_little_training_data_is_told() -> None:
    with pytest.raises(InvalidInputError, match="--exclude: 1 texts give no SentencePiece vocabulary"):
        train_vocabulary([" "])
