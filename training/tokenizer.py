"""WordPiece tokenizer training, with the special tokens that RoBERTa checkpoints use."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


def train_tokenizer(texts: Iterable[str], vocab_size: int = 16_000) -> Tokenizer:
    """Train a WordPiece tokenizer on ``texts``.

    Normalization is NFKC and lower case; long runs of laughter, tears and punctuation are shortened to two, since
    how often a shopper repeats them carries no vocabulary. Token offsets still point into the original text.
    """
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>", max_input_chars_per_word=60))
    repeats = [normalizers.Replace(Regex(f"{c}{{3,}}"), s) for c, s in _REPEATED.items()]
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), *repeats])
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
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


_REPEATED = {"ㅋ": "ㅋㅋ", "ㅎ": "ㅎㅎ", "ㅠ": "ㅠㅠ", "ㅜ": "ㅜㅜ", "~": "~~", "!": "!!", r"\.": "..", r"\^": "^^", ";": ";;"}
