"""Encoding: a review's text to token ids, each of which knows the word that it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from tokenizers import Encoding, Tokenizer

from client.artifact import Artifact
from client.errors import ArtifactError, InvalidReviewError
from client.words import Word, split_words

MAX_CHARACTERS = 10_000


@dataclass(frozen=True)
class EncodedReview:
    """A review as words and tokens.

    ``input_ids`` holds the T tokens without special tokens; token ``i`` is a part of ``words[word_of_token[i]]``.
    ``word_of_token`` never decreases. A word that the tokenizer drops (zero-width characters, say) has no token.
    """

    text: str
    words: tuple[Word, ...]
    input_ids: tuple[int, ...]
    word_of_token: tuple[int, ...]


class Encoder:
    """The artifact's tokenizer, which reads a review word by word.

    ``cls_id``, ``sep_id``, ``pad_id`` and ``mask_id`` are the ids of the special tokens that the labels name,
    ``max_length`` the tokens of one window, special tokens included. Safe to share between threads.
    """

    def __init__(self, artifact: Artifact) -> None:
        """Read the tokenizer file.

        Raises:
            ArtifactError: the file is not a tokenizer, or a special token is not in its vocabulary.
        """
        try:
            tokenizer = Tokenizer.from_file(str(artifact.tokenizer_file))
        except Exception as error:  # noqa: BLE001  (tokenizers raises nothing more specific)
            raise ArtifactError(
                f"{artifact.tokenizer_file}: not a tokenizer file: {error}; export the model again"
            ) from None
        # The file may carry the settings of its last use.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        # A review that spells out "<mask>" or "</s>" is text: it must not reach the model's control tokens.
        tokenizer.encode_special_tokens = True
        ids: dict[str, int] = {}
        for name, token in asdict(artifact.labels.special_tokens).items():
            token_id = tokenizer.token_to_id(token)
            if token_id is None:
                raise ArtifactError(
                    f"{artifact.tokenizer_file}: {token!r} is not in the vocabulary, yet labels.json names it as "
                    f"special_tokens.{name}; spell it as the tokenizer does"
                )
            ids[name] = token_id
        self.cls_id, self.sep_id, self.pad_id, self.mask_id = ids["cls"], ids["sep"], ids["pad"], ids["mask"]
        self.max_length = artifact.labels.max_length
        self._tokenizer = tokenizer

    def encode(self, text: str, max_characters: int = MAX_CHARACTERS) -> EncodedReview:
        """Encode one review.

        Raises:
            InvalidReviewError: ``text`` is empty or whitespace only, longer than ``max_characters`` code points,
                holds a NUL or a lone surrogate, or gives no token at all.
        """
        encoded = self.encode_many([text], max_characters)[0]
        if isinstance(encoded, InvalidReviewError):
            raise encoded
        return encoded

    def encode_many(
        self, texts: Sequence[str], max_characters: int = MAX_CHARACTERS
    ) -> list[EncodedReview | InvalidReviewError]:
        """Encode reviews in one call of the tokenizer: for each text its encoding, or the error of that text alone."""
        problems = [_problem(text, max_characters) for text in texts]
        words = [split_words(text) for text, problem in zip(texts, problems, strict=True) if problem is None]
        encodings = self._tokenizer.encode_batch(
            [[word.text for word in split] for split in words], is_pretokenized=True, add_special_tokens=False
        )
        valid = zip(words, encodings, strict=True)
        return [
            InvalidReviewError(problem) if problem else _encoded(text, *next(valid))
            for text, problem in zip(texts, problems, strict=True)
        ]


def _encoded(text: str, words: list[Word], encoding: Encoding) -> EncodedReview | InvalidReviewError:
    if not encoding.ids:
        return InvalidReviewError("the review has no visible character (only zero-width or control ones); give it text")
    # Only special tokens belong to no word, and none were added.
    word_of_token = tuple(word for word in encoding.word_ids if word is not None)
    return EncodedReview(text, tuple(words), tuple(encoding.ids), word_of_token)


def _problem(text: str, max_characters: int) -> str | None:
    """Why ``text`` cannot be encoded, or None."""
    if not text:
        return "the review is empty; give it text"
    if len(text) > max_characters:
        return f"the review has {len(text):,} characters, {max_characters:,} at most; shorten or split it"
    if text.isspace():
        return "the review is whitespace only; give it text"
    if (offset := text.find("\0")) >= 0:
        return f"the review has a NUL character at code point {offset}; remove it"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return f"the review has a lone surrogate at code point {error.start}; decode its bytes as UTF-8 again"
    return None
