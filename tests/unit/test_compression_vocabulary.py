"""Trimming drops rare pieces and changes nothing for texts that do not need them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from client.artifact import Artifact
from client.encoding import Encoder
from client.errors import ArtifactError
from export.checkpoint import load_pair
from export.compression.vocabulary import count_pieces, trim_embeddings, trim_tokenizer
from tests.functional.export.tiny_checkpoints import write_checkpoints
from tests.unit.conftest import REVIEWS

# The shop whose reviews decide: half of those that the tokenizer was trained on, and some of them twice.
SHOP = (*REVIEWS[::2], *REVIEWS[:16:2])
WORDS = sorted({word for review in REVIEWS for word in review.split()})
# Known words, and strings in which the same characters come together in new ways.
TEXTS = st.lists(
    st.one_of(st.sampled_from(WORDS), st.text(sorted(set("".join(WORDS))), min_size=1, max_size=6)), min_size=1
).map(" ".join)


@pytest.fixture(scope="module")
def trimmed(artifact: Artifact, encoder: Encoder) -> tuple[Tokenizer, Tokenizer, list[int]]:
    """The tokenizer, the trimmed one, and the old id of each new id."""
    text = artifact.tokenizer_file.read_text(encoding="utf-8")
    after, kept = trim_tokenizer(text, count_pieces(SHOP, encoder), least=2)
    return Tokenizer.from_str(text), Tokenizer.from_str(after), kept


@given(text=TEXTS)
def test_a_text_of_kept_pieces_is_cut_as_before(trimmed: tuple[Tokenizer, Tokenizer, list[int]], text: str) -> None:
    before, after, kept = trimmed
    old, new = before.encode(text), after.encode(text)
    if set(old.ids) <= set(kept):
        assert [kept[number] for number in new.ids] == old.ids
        assert new.offsets == old.offsets
    else:
        assert new.tokens != old.tokens
    assert set(new.tokens) <= {before.id_to_token(number) for number in kept}


def test_both_outcomes_occur(trimmed: tuple[Tokenizer, Tokenizer, list[int]]) -> None:
    before, _, kept = trimmed
    share = sum(set(before.encode(review).ids) <= set(kept) for review in REVIEWS) / len(REVIEWS)
    assert 0 < share < 1, "the property above must not be empty on either side"


def test_what_is_kept(trimmed: tuple[Tokenizer, Tokenizer, list[int]], encoder: Encoder) -> None:
    before, after, kept = trimmed
    counts = count_pieces(SHOP, encoder)
    for piece, number in before.get_vocab().items():
        special = number < 5
        seen_character = len(piece.removeprefix("##")) == 1 and counts[number] > 0
        assert (number in kept) == (special or seen_character or counts[number] >= 2), piece
    assert [after.token_to_id(token) for token in ("<s>", "<pad>", "</s>", "<unk>", "<mask>")] == [0, 1, 2, 3, 4]
    assert sorted(after.get_vocab().values()) == list(range(len(kept)))


def test_framing_tokens_follow_their_new_ids() -> None:
    vocabulary = {"가": 0, "나": 1, "[PAD]": 2, "[UNK]": 3, "[CLS]": 4, "다": 5}
    tokenizer = {
        "added_tokens": [{"id": vocabulary[name], "content": name} for name in ("[PAD]", "[UNK]", "[CLS]")],
        "post_processor": {"special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [4], "tokens": ["[CLS]"]}}},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "vocab": vocabulary},
    }
    text, kept = trim_tokenizer(json.dumps(tokenizer), {0: 1, 5: 1}, least=1)
    assert kept == [0, 2, 3, 4, 5]
    after = json.loads(text)
    assert after["model"]["vocab"] == {"가": 0, "[PAD]": 1, "[UNK]": 2, "[CLS]": 3, "다": 4}
    assert [token["id"] for token in after["added_tokens"]] == [1, 2, 3]
    assert after["post_processor"]["special_tokens"]["[CLS]"]["ids"] == [3]


def test_other_tokenizers_are_refused() -> None:
    with pytest.raises(ArtifactError, match="'BPE' cannot be trimmed"):
        trim_tokenizer('{"model": {"type": "BPE"}}', {}, least=1)


def test_embedding_rows_follow_their_pieces(
    trimmed: tuple[Tokenizer, Tokenizer, list[int]], artifact: Artifact, tmp_path: Path
) -> None:
    before, after, kept = trimmed
    classifier = load_pair(*write_checkpoints(tmp_path, artifact)).keyword.classifier
    text = next(review for review in REVIEWS if set(before.encode(review).ids) <= set(kept))
    ids = [torch.tensor([tokenizer.encode(text).ids]) for tokenizer in (before, after)]
    with torch.inference_mode():
        expected = classifier(ids[0]).logits
        trim_embeddings(classifier, kept)
        found = classifier(ids[1]).logits
    torch.testing.assert_close(found, expected)
    assert classifier.config.vocab_size == classifier.roberta.embeddings.word_embeddings.num_embeddings == len(kept)


def test_the_padding_id_cannot_move(artifact: Artifact, tmp_path: Path) -> None:
    classifier = load_pair(*write_checkpoints(tmp_path, artifact)).keyword.classifier
    with pytest.raises(ArtifactError, match="padding token, id 1"):
        trim_embeddings(classifier, [1, 2, 3, 4])
