from __future__ import annotations

import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordPiece

from client.artifact import Artifact, Labels, SpecialTokens
from client.encoding import EncodedReview, Encoder
from client.errors import ArtifactError, InvalidReviewError

# Letters that normalization changes, joins or drops, and what separates words.
TEXTS = st.text(st.sampled_from("가격이옷ㅋㅠ좋아요a½ﷺ①ｆ́👍🏽\u200b\u200d\ufeff\u1100\u1161!.~ \t\n\u3000")) | st.text()


@given(text=TEXTS)
def test_every_token_belongs_to_a_word_and_is_what_that_word_gives_alone(encoder: Encoder, text: str) -> None:
    encoded = encoder.encode_many([text])[0]
    if isinstance(encoded, InvalidReviewError):
        return
    assert encoded.text == text
    assert [text[word.start : word.end] for word in encoded.words] == text.split()
    assert list(encoded.word_of_token) == sorted(encoded.word_of_token)
    for number, word in enumerate(encoded.words):
        own = [i for i, owner in zip(encoded.input_ids, encoded.word_of_token, strict=True) if owner == number]
        assert own == encoder_ids(encoder, word.text)


def encoder_ids(encoder: Encoder, word: str) -> list[int]:
    alone = encoder.encode_many([word])[0]
    return [] if isinstance(alone, InvalidReviewError) else list(alone.input_ids)


@given(text=TEXTS.filter(lambda text: not set(text) & set("\x1c\x1d\x1e\x1f<")))
def test_ids_are_those_of_the_plain_text(artifact: Artifact, encoder: Encoder, text: str) -> None:
    """Training encodes plain text. (U+001C to U+001F separate words for Python alone.)"""
    encoded = encoder.encode_many([text])[0]
    if isinstance(encoded, EncodedReview):
        plain = Tokenizer.from_file(str(artifact.tokenizer_file)).encode(text, add_special_tokens=False)
        assert list(encoded.input_ids) == plain.ids


def test_spans_of_a_review_with_everything(encoder: Encoder) -> None:
    text = (
        "👍🏽핏이\t예뻐요!!!!  https://example.com/a?b=1 "
        + unicodedata.normalize("NFD", "색상이")
        + "\u200b ㅋㅋㅋㅋㅋ"
    )
    encoded = encoder.encode(text)
    assert [word.text for word in encoded.words] == text.split()
    assert [text[word.start : word.end] for word in encoded.words] == text.split()
    assert set(encoded.word_of_token) == {0, 1, 2, 3, 4}


def test_decomposed_hangul_gives_the_ids_of_composed_hangul(encoder: Encoder) -> None:
    composed = "디자인은 예쁜데 사이즈가 작아요"
    decomposed = unicodedata.normalize("NFD", composed)
    assert encoder.encode(decomposed).input_ids == encoder.encode(composed).input_ids
    assert encoder.encode(decomposed).words[-1].end == len(decomposed)


def test_spelled_out_special_tokens_are_text(encoder: Encoder) -> None:
    encoded = encoder.encode("<s> 배송이 <mask></s> 느려요 <pad>")
    control = {encoder.cls_id, encoder.sep_id, encoder.pad_id, encoder.mask_id}
    assert not control & set(encoded.input_ids)
    assert len(encoded.words) == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        (" \t\u3000\n", "whitespace only"),
        ("좋아요\0", "NUL character at code point 3"),
        ("👍 \ud83d좋아요", "lone surrogate at code point 2"),
        ("가" * 10_001, "10,001 characters, 10,000 at most"),
    ],
)
def test_invalid_reviews_are_named(encoder: Encoder, text: str, message: str) -> None:
    with pytest.raises(InvalidReviewError, match=message):
        encoder.encode(text)


def test_the_character_limit_is_inclusive(encoder: Encoder) -> None:
    assert len(encoder.encode("가 " * 5_000).words) == 5_000
    assert len(encoder.encode("가격 굿", max_characters=4).words) == 2
    with pytest.raises(InvalidReviewError, match="5 characters, 4 at most"):
        encoder.encode("가격 굿!", max_characters=4)


def test_invalid_reviews_fail_alone(encoder: Encoder) -> None:
    texts = ["배송이 빨라요", "", "색상이 달라요", "\0"]
    results = encoder.encode_many(texts)
    assert [type(result) for result in results] == [
        EncodedReview,
        InvalidReviewError,
        EncodedReview,
        InvalidReviewError,
    ]
    assert results[2] == encoder.encode(texts[2])
    assert encoder.encode_many([]) == []


def test_settings_saved_with_the_tokenizer_do_not_cut_or_pad(artifact: Artifact, tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_file(str(artifact.tokenizer_file))
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=64)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    encoder = Encoder(replace(artifact, tokenizer_file=tmp_path / "tokenizer.json"))
    text = "배송이 빨라서 좋았고 포장도 깔끔했어요"
    assert encoder.encode(text) == Encoder(artifact).encode(text)


def test_a_special_token_missing_from_the_vocabulary(artifact: Artifact) -> None:
    labels = replace(artifact.labels, special_tokens=SpecialTokens(mask="[MASK]"))
    with pytest.raises(ArtifactError, match=r"'\[MASK\]' is not in the vocabulary.*special_tokens.mask"):
        Encoder(replace(artifact, labels=labels))


def test_a_file_that_is_no_tokenizer(artifact: Artifact, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"tokenizer\.json: not a tokenizer file"):
        Encoder(replace(artifact, tokenizer_file=tmp_path / "tokenizer.json"))


@pytest.fixture
def bert_encoder(artifact: Artifact, tmp_path: Path) -> Encoder:
    """Spelled and normalized as BERT-style Korean checkpoints do: control and zero-width characters are dropped."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "배송", "##이", "빨라", "##요", "!", "d", "##ay", "日"]
    tokenizer = Tokenizer(WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token=pieces[1]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(pieces[:5])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    special = SpecialTokens(cls="[CLS]", pad="[PAD]", sep="[SEP]", mask="[MASK]")
    labels: Labels = replace(artifact.labels, special_tokens=special)
    return Encoder(replace(artifact, labels=labels, tokenizer_file=tmp_path / "tokenizer.json"))


def test_bert_style_special_tokens(bert_encoder: Encoder) -> None:
    ids = (bert_encoder.pad_id, bert_encoder.cls_id, bert_encoder.sep_id, bert_encoder.mask_id)
    assert ids == (0, 2, 3, 4)
    encoded = bert_encoder.encode("배송이 日day 빨라요!")
    assert encoded.input_ids == (5, 6, 12, 10, 11, 7, 8, 9)
    assert encoded.word_of_token == (0, 0, 1, 1, 1, 2, 2, 2)


def test_words_that_the_tokenizer_drops_have_no_token(bert_encoder: Encoder) -> None:
    encoded = bert_encoder.encode("배송이 \u200b\u200d 빨라요")
    assert [word.text for word in encoded.words] == ["배송이", "\u200b\u200d", "빨라요"]
    assert encoded.word_of_token == (0, 0, 2, 2)
    with pytest.raises(InvalidReviewError, match="no visible character"):
        bert_encoder.encode("\u200b \u200d\x07")
