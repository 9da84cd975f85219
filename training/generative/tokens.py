"""Token ids of prompts and completions, and their way back to text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from client.artifact import LABELS_FILE, TOKENIZER_FILE, Artifact
from client.errors import ArtifactError
from training.checkpoint import write_text
from training.data import LabelledReview, LabelSet, format_completion
from training.generative.text import AFTER_REVIEW, BEFORE_REVIEW, CompletionParser, Reading

SETTINGS_FILE = "generator.json"


@dataclass(frozen=True)
class Settings:
    """What must agree with a generator's weights: control tokens as the tokenizer spells them, and the label set.

    ``review_tokens`` is where a review is cut. ``begin`` may be empty: not every language model has such a token.
    """

    begin: str
    end: str
    pad: str
    review_tokens: int
    keywords: tuple[str, ...]
    overall: str
    sentiments: tuple[str, ...]
    sentiment_scores: tuple[int, ...]

    @property
    def label_set(self) -> LabelSet:
        return LabelSet(self.keywords, self.overall, self.sentiments, self.sentiment_scores)


@dataclass(frozen=True)
class TextExample:
    """``prompt`` and ``completion`` are token ids; the completion ends with the end token."""

    prompt: tuple[int, ...]
    completion: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)


class TextCodec:
    """A tokenizer with the control tokens and label set of a generator.

    ``end_id`` ends a completion, ``pad_id`` fills rows up. The review is encoded apart from what stands around it, so
    that it can be cut, and so that a completion begins at the same token in training and in generation. A review that
    spells out a control token is text.
    """

    def __init__(self, tokenizer: Tokenizer, settings: Settings) -> None:
        """Check that what the model is trained to write can be read back.

        Raises:
            ArtifactError: a control token is not in the vocabulary, or a pair is not read back as it was written.
            InvalidInputError: the label set has names that a text output cannot tell apart.
        """
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = True
        self.tokenizer = tokenizer
        self.settings = settings
        self.label_set = settings.label_set
        self.parser = CompletionParser(self.label_set)
        self.end_id, self.pad_id = self._control(settings.end), self._control(settings.pad)
        self._begin = (self._control(settings.begin),) if settings.begin else ()
        self._before, self._after = self._ids(BEFORE_REVIEW), self._ids(AFTER_REVIEW)
        every_pair = [dict.fromkeys(self.label_set.all_labels, score) for score in self.label_set.sentiment_scores]
        for scores in every_pair:
            written = self.decode(self.completion(scores))
            read = self.parser.parse(written).scores
            if lost := [f"{name} {score}" for name, score in scores.items() if read.get(name) != score]:
                raise ArtifactError(
                    f"the tokenizer does not give {lost[0]!r} back, but {written!r}; rename the keyword, or choose a "
                    "model with another tokenizer"
                )
        self.longest_completion = max(len(self.completion(scores)) for scores in every_pair)
        self.longest_prompt = len(self._begin) + len(self._before) + settings.review_tokens + len(self._after)

    def prompt(self, text: str) -> tuple[int, ...]:
        """Token ids of ``###입력: {text} ###명령어: 리뷰를 분석해줘 ###출력:``."""
        # A lone surrogate, which broken JSON may hold, is no text to a tokenizer.
        review = self._ids(f" {text}".encode(errors="replace").decode())[: self.settings.review_tokens]
        return (*self._begin, *self._before, *review, *self._after)

    def completion(self, scores: Mapping[str, int]) -> tuple[int, ...]:
        """Token ids of `` 디자인 1, 배송 -1`` and the end token."""
        return (*self._ids(f" {format_completion(scores, self.label_set)}"), self.end_id)

    def examples(self, reviews: Sequence[LabelledReview]) -> list[TextExample]:
        return [TextExample(self.prompt(r.text), self.completion(r.scores)) for r in reviews]

    def read(self, ids: Sequence[int]) -> Reading:
        """What a generated completion says; one without the end token was cut off."""
        return self.parser.parse(self.decode(ids), finished=self.end_id in ids)

    def decode(self, ids: Sequence[int]) -> str:
        """The text before the end token. Other control tokens are spelled out: they are nothing to be overlooked."""
        said = list(ids[: ids.index(self.end_id)] if self.end_id in ids else ids)
        return str(self.tokenizer.decode(said, skip_special_tokens=False)).strip()

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def _control(self, token: str) -> int:
        token_id = self.tokenizer.token_to_id(token)
        if token_id is None:
            raise ArtifactError(f"{token!r} is not in the vocabulary of the generator's tokenizer")
        return int(token_id)

    def save(self, folder: Path) -> None:
        """Write ``tokenizer.json`` and ``generator.json``."""
        write_text(folder / TOKENIZER_FILE, self.tokenizer.to_str())
        write_text(folder / SETTINGS_FILE, json.dumps(asdict(self.settings), ensure_ascii=False, indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> TextCodec:
        """Read what ``save`` wrote.

        Raises:
            ArtifactError: a file is missing or malformed.
        """
        try:
            values = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
            for name in ("keywords", "sentiments", "sentiment_scores"):
                values[name] = tuple(values[name])
            return cls(Tokenizer.from_file(str(folder / TOKENIZER_FILE)), Settings(**values))
        except ArtifactError:
            raise
        except Exception as error:  # noqa: BLE001  (tokenizers raises nothing more specific)
            raise ArtifactError(
                f"{folder}: no generator: {error}; train one with python -m training.generative train"
            ) from None


def begin_codec(model: str, label_set: LabelSet, review_tokens: int) -> TextCodec:
    """The codec of a model that is to be trained, by folder or hub name.

    Raises:
        ArtifactError: there is no fast tokenizer, or it has no token to end with.
    """
    if (Path(model) / LABELS_FILE).is_file():
        # One of our checkpoints. It has no tokenizer_config.json, and transformers would guess a byte-level tokenizer.
        artifact = Artifact.load(Path(model))
        special = artifact.labels.special_tokens
        tokenizer = Tokenizer.from_file(str(artifact.tokenizer_file))
        begin, end, pad = special.cls, special.sep, special.pad
    else:
        try:
            loaded = AutoTokenizer.from_pretrained(model)
        except (OSError, ValueError) as error:
            raise ArtifactError(f"--model {model}: no tokenizer could be loaded: {error}") from None
        if not isinstance(loaded, PreTrainedTokenizerFast):
            raise ArtifactError(f"--model {model}: its tokenizer has no tokenizer.json (a fast tokenizer is needed)")
        tokenizer = loaded.backend_tokenizer
        begin = loaded.bos_token or loaded.cls_token or ""
        end = loaded.eos_token or loaded.sep_token
        pad = loaded.pad_token or end
        if end is None:
            raise ArtifactError(f"--model {model}: its tokenizer has no end-of-sequence token to stop at")
    labels = {name: getattr(label_set, name) for name in ("keywords", "overall", "sentiments", "sentiment_scores")}
    return TextCodec(tokenizer, Settings(begin, end, pad, review_tokens, **labels))


def left_padded(rows: Sequence[Sequence[int]], fill: int) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """INT64 ``[B, L]``: rows that all end in the last column, so that each goes on in the same one."""
    width = max(map(len, rows))
    out = np.full((len(rows), width), fill, np.int64)
    for target, row in zip(out, rows, strict=True):
        target[width - len(row) :] = row
    return out
