"""Prompts and completions as tokens: what is written is read, and a review cannot forge control tokens."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from client.artifact import TOKENIZER_FILE, Artifact
from client.errors import ArtifactError
from tests.unit.conftest import REVIEWS
from training.data import LabelSet
from training.generative.tokens import SETTINGS_FILE, Settings, TextCodec, begin_codec, left_padded
from training.tokenizer import train_tokenizer

LABEL_SET = LabelSet(("가격", "디자인"), "만족도", ("매우부정", "부정", "중립", "긍정", "매우긍정"), (-2, -1, 0, 1, 2))
SETTINGS = Settings("<s>", "</s>", "<pad>", 12, *(getattr(LABEL_SET, name) for name in list(vars(LABEL_SET))[:4]))


def tokenizer(*extra: str) -> Tokenizer:
    """A WordPiece tokenizer that knows the prompt, the digits, and the ``extra`` texts."""
    texts = (*REVIEWS, "###입력: ###명령어: 리뷰를 분석해줘 ###출력: 디자인 0, 가격 -1, 만족도 2", *extra)
    return train_tokenizer(texts * 3, vocab_size=700)


@pytest.fixture(scope="module")
def codec() -> TextCodec:
    return TextCodec(tokenizer(), SETTINGS)


@given(scores=st.dictionaries(st.sampled_from(LABEL_SET.all_labels), st.sampled_from((-2, -1, 0, 1, 2)), min_size=1))
def test_a_completion_is_read_back_from_its_tokens(codec: TextCodec, scores: dict[str, int]) -> None:
    ids = codec.completion(scores)
    reading = codec.read([*ids, codec.pad_id, codec.pad_id])
    assert reading.scores == scores
    assert reading.problems == ()
    assert len(ids) <= codec.longest_completion
    assert [p.kind for p in codec.read(ids[:-1]).problems] == ["cut off"]


def test_the_prompt_is_the_agreed_text_around_the_review(codec: TextCodec) -> None:
    text = codec.decode(codec.prompt("색상이 달라요"))
    assert text.replace(" ", "") == "<s>###입력:색상이달라요###명령어:리뷰를분석해줘###출력:"


def test_only_the_review_is_cut(codec: TextCodec) -> None:
    long, short = codec.prompt("디자인이 예뻐요 " * 50), codec.prompt("")
    assert len(long) == codec.longest_prompt == len(short) + 12
    assert long[-8:] == short[-8:]


def test_control_tokens_in_a_review_are_text(codec: TextCodec) -> None:
    prompt = codec.prompt("</s> <pad> \ud800")
    assert codec.end_id not in prompt
    assert codec.pad_id not in prompt


def test_unknown_pieces_are_not_overlooked(codec: TextCodec) -> None:
    (unknown,) = codec.tokenizer.encode("鑑", add_special_tokens=False).ids
    name, score, *_ = codec.completion({"가격": 1})
    reading = codec.read([name, unknown, score, codec.end_id])
    assert reading.scores == {}
    assert [p.kind for p in reading.problems] == ["no score"]


def test_a_label_that_the_tokenizer_cannot_write_is_refused() -> None:
    settings = replace(SETTINGS, keywords=("가격", "鑑"))
    with pytest.raises(ArtifactError, match="does not give '鑑 -2' back"):
        TextCodec(tokenizer(), settings)


def test_a_codec_is_read_as_it_was_saved(codec: TextCodec, tmp_path: Path) -> None:
    codec.save(tmp_path)
    loaded = TextCodec.load(tmp_path)
    assert loaded.settings == codec.settings
    assert loaded.prompt("핏이 좋아요") == codec.prompt("핏이 좋아요")


def test_a_broken_generator_folder_is_told(codec: TextCodec, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no generator"):
        TextCodec.load(tmp_path)
    codec.save(tmp_path)
    values = json.loads((tmp_path / SETTINGS_FILE).read_text(encoding="utf-8"))
    (tmp_path / SETTINGS_FILE).write_text(json.dumps(values | {"end": "<eos>"}), encoding="utf-8")
    with pytest.raises(ArtifactError, match="'<eos>' is not in the vocabulary"):
        TextCodec.load(tmp_path)
    (tmp_path / TOKENIZER_FILE).write_text("{", encoding="utf-8")
    with pytest.raises(ArtifactError, match="no generator"):
        TextCodec.load(tmp_path)


def test_a_checkpoint_of_ours_begins_a_codec_with_its_own_tokens(artifact: Artifact, tmp_path: Path) -> None:
    labels = artifact.labels
    label_set = LabelSet(("디자인",), labels.overall, ("-", "+"), (1, 9))
    codec = begin_codec(str(artifact.folder), label_set, 16)
    assert (codec.settings.begin, codec.settings.end, codec.settings.pad) == ("<s>", "</s>", "<pad>")
    with pytest.raises(ArtifactError, match="no tokenizer could be loaded"):
        begin_codec(str(tmp_path), label_set, 16)


def test_rows_end_in_the_last_column() -> None:
    assert left_padded([[1, 2, 3], [4]], 9).tolist() == [[1, 2, 3], [9, 9, 4]]
