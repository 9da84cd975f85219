"""Vocabulary trimming: WordPiece pieces that a shop's reviews never use are dropped with their embedding rows.

WordPiece takes, from the left, the longest piece that it has (Wu et al. 2016, arXiv:1609.08144, section 4.1). A text
of kept pieces only is therefore cut as before; any other falls to shorter pieces where a dropped one was taken.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from client.encoding import Encoder
from client.errors import ArtifactError, InvalidReviewError


def count_pieces(texts: Iterable[str], encoder: Encoder) -> Counter[int]:
    """How often each token id stands in the texts; texts that cannot be encoded are left out."""
    counts: Counter[int] = Counter()
    for encoded in encoder.encode_many(list(texts)):
        if not isinstance(encoded, InvalidReviewError):
            counts.update(encoded.input_ids)
    return counts


def trim_tokenizer(tokenizer_json: str, counts: Mapping[int, int], least: int) -> tuple[str, list[int]]:
    """The text of a ``tokenizer.json`` without rare pieces, and the old id of each new id. Kept pieces stay in order.

    A piece is kept if it stands ``least`` times; one of a single character, without which its word would be unknown
    instead of spelled, if it stands at all; a special token always.

    Raises:
        ArtifactError: the tokenizer is not WordPiece.
    """
    tokenizer: dict[str, Any] = json.loads(tokenizer_json)
    model = tokenizer["model"]
    if model.get("type") != "WordPiece":
        raise ArtifactError(
            f"tokenizer.json: model.type: {model.get('type')!r} cannot be trimmed: only of WordPiece is it known that "
            "the other pieces are used as before; leave the vocabulary step out"
        )
    prefix = model["continuing_subword_prefix"]
    special = {model["unk_token"], *(token["content"] for token in tokenizer["added_tokens"])}

    def is_kept(piece: str, number: int) -> bool:
        needed = 1 if len(piece.removeprefix(prefix)) == 1 else least
        return piece in special or counts.get(number, 0) >= needed

    kept = sorted(number for piece, number in model["vocab"].items() if is_kept(piece, number))
    new_id = {old: new for new, old in enumerate(kept)}
    model["vocab"] = {piece: new_id[old] for piece, old in model["vocab"].items() if old in new_id}
    for token in tokenizer["added_tokens"]:
        token["id"] = new_id[token["id"]]
    for token in (tokenizer["post_processor"] or {}).get("special_tokens", {}).values():
        token["ids"] = [new_id[old] for old in token["ids"]]
    return json.dumps(tokenizer, ensure_ascii=False), kept


def trim_embeddings(classifier: Any, kept: list[int]) -> None:
    """Keep the embedding rows of these ids, in place; the configuration's special ids follow.

    Raises:
        ArtifactError: the padding id would change, from which RoBERTa counts positions.
    """
    embeddings, config = classifier.roberta.embeddings, classifier.config
    padding = config.pad_token_id
    if kept.index(padding) != padding:
        raise ArtifactError(
            f"tokenizer.json: pieces before the padding token, id {padding}, would be dropped, and RoBERTa counts "
            "positions from that id; train with a tokenizer whose special tokens come first"
        )
    rows = embeddings.word_embeddings.weight.detach()[torch.tensor(kept)]
    embeddings.word_embeddings = nn.Embedding(rows.shape[0], rows.shape[1], padding_idx=padding, _weight=rows)
    config.vocab_size = len(kept)
    for name in ("bos_token_id", "eos_token_id"):
        if (old := getattr(config, name)) is not None:
            setattr(config, name, kept.index(old))
