"""WordPiece tokenizer training, with the special tokens that RoBERTa checkpoints use."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

UNKNOWN = "<unk>"
SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", UNKNOWN, "<mask>")


# Shortened to two: how often a shopper repeats laughter, tears or marks carries no vocabulary. NFKC has run before, so
# the jamo stand in the form that it gives them.
REPEATED = [unicodedata.normalize("NFKC", mark) for mark in "ㅋㅎㅠㅜ~!.^;"]
# Emoji and invisible format characters are pieces of their own: "좋아요👍" must not become one unknown piece.
SYMBOLS = Regex(r"[\p{So}\p{Sk}\p{Cf}\p{M}]+")
LONGEST_WORD = 200


def train_tokenizer(texts: Iterable[str], vocab_size: int = 16_000) -> Tokenizer:
    """Train a WordPiece tokenizer on ``texts``: NFKC, lower case. Token offsets point into the original text."""
    tokenizer = Tokenizer(models.WordPiece(unk_token=UNKNOWN, max_input_chars_per_word=LONGEST_WORD))
    shorten = [normalizers.Replace(Regex(f"\\x{{{ord(mark):x}}}{{3,}}"), mark * 2) for mark in REPEATED]
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), *shorten])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(SYMBOLS, "isolated"), pre_tokenizers.BertPreTokenizer()]
    )
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size, min_frequency=3, special_tokens=list(SPECIAL_TOKENS), limit_alphabet=3_000
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> $B </s>",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")],
    )
    return tokenizer
