"""Reading checkpoints, and checking that two of them belong together."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer
from transformers import RobertaForSequenceClassification
from transformers.utils import logging

from client.artifact import Artifact, Labels
from client.encoding import Encoder
from client.errors import ArtifactError

CONFIG_FILE, WEIGHTS_FILE, ADAPTER_FILE = "config.json", "model.safetensors", "adapter_config.json"
SHARED_FIELDS = (
    "keywords",
    "overall",
    "sentiments",
    "sentiment_scores",
    "prompt",
    "max_length",
    "special_tokens",
    "tokenizer_sha256",
)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder: its artifact, the encoder of texts and the float32 classifier."""

    artifact: Artifact
    encoder: Encoder
    classifier: Any


@dataclass(frozen=True)
class Pair:
    """The two checkpoints that are served together, and the labels that both agree on, without a model version."""

    keyword: Checkpoint
    sentiment: Checkpoint
    labels: Labels

    @property
    def encoder(self) -> Encoder:
        return self.keyword.encoder

    def prompts(self) -> list[list[int]]:
        """``<s> prompt </s>`` as token ids for each keyword and, last, for the overall label."""
        encoder = self.encoder
        texts = [self.labels.prompt.format(keyword=name) for name in self.labels.all_labels]
        return [[encoder.cls_id, *encoder.encode(text).input_ids, encoder.sep_id] for text in texts]


def load_pair(keyword: Path, sentiment: Path) -> Pair:
    """Read and check both checkpoints. Thresholds and keyword temperature are the keyword checkpoint's.

    Raises:
        ArtifactError: a file is missing or corrupt, a classifier does not fit its labels, or the two do not belong
            together; names the file and the field.
    """
    left, right = Artifact.load(keyword), Artifact.load(sentiment)
    for name in SHARED_FIELDS:
        ours, theirs = getattr(left.labels, name), getattr(right.labels, name)
        if ours != theirs:
            raise ArtifactError(
                f"labels.json: {name}: {ours!r} in {keyword} is not the {theirs!r} in {sentiment}; "
                "train both checkpoints with one label set and tokenizer"
            )
    labels = replace(left.labels, sentiment_temperature=right.labels.sentiment_temperature, model_version="")
    pair = Pair(_load(left, "keywords", "sentiments"), _load(right, "sentiments", "keywords"), labels)
    longest = max(map(len, pair.prompts()))
    _check_length(pair.keyword, labels.max_length, f"max_length {labels.max_length}")
    _check_length(
        pair.sentiment, labels.max_length + longest - 1, f"max_length {labels.max_length} and a prompt of {longest}"
    )
    return pair


def _load(artifact: Artifact, field: str, other: str) -> Checkpoint:
    """Read one checkpoint whose classifier has a column for each entry of the labels' ``field``, not of ``other``."""
    config_file = artifact.folder / CONFIG_FILE
    if (artifact.folder / ADAPTER_FILE).exists():
        raise ArtifactError(
            f"{artifact.folder / ADAPTER_FILE}: an adapter with virtual tokens (prefix or p-tuning) has no place in "
            "the exported graph; train with --tune all, embeddings, head, lora or ia3"
        )
    config = _read_config(config_file)
    if config.get("model_type") != "roberta":
        raise ArtifactError(f"{config_file}: model_type: {config.get('model_type')!r} is not 'roberta'")
    encoder = Encoder(artifact)
    classifier = _read_weights(artifact.folder)
    outputs, others = getattr(artifact.labels, field), getattr(artifact.labels, other)
    if (found := classifier.config.num_labels) != len(outputs):
        raise ArtifactError(
            f"{config_file}: num_labels: {found} outputs for the {len(outputs)} {field} of labels.json; "
            "are the two checkpoints swapped?"
        )
    # With as many keywords as sentiments, only the names tell which of the two it is.
    if tuple(classifier.config.id2label.values()) == others:
        raise ArtifactError(
            f"{config_file}: id2label: the outputs are the {other} of labels.json, not the {field}; "
            "are the two checkpoints swapped? If not, train it again"
        )
    if (padding := classifier.config.pad_token_id) != encoder.pad_id:
        raise ArtifactError(f"{config_file}: pad_token_id: {padding} is not the tokenizer's {encoder.pad_id}")
    # The highest id in use, which is not the size of the vocabulary where ids were left out.
    needed = max(Tokenizer.from_file(str(artifact.tokenizer_file)).get_vocab().values()) + 1
    if (rows := classifier.config.vocab_size) < needed:
        raise ArtifactError(f"{config_file}: vocab_size: {rows} is below the tokenizer's {needed}")
    return Checkpoint(artifact, encoder, classifier)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: cannot read: {error}; copy the whole checkpoint again") from None
    if not isinstance(config, dict):
        raise ArtifactError(f"{path}: not a JSON object; copy the whole checkpoint again")
    return config


def _read_weights(folder: Path) -> Any:
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise ArtifactError(f"{path}: no such file; copy the whole checkpoint again")
    verbosity, progress = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # what it would warn of is raised below
    logging.disable_progress_bar()
    try:
        classifier, found = RobertaForSequenceClassification.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, output_loading_info=True
        )
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path}: cannot load the weights: {error}; copy the whole checkpoint again") from None
    finally:
        logging.set_verbosity(verbosity)
        if progress:
            logging.enable_progress_bar()
    if missing := sorted(found["missing_keys"]):
        raise ArtifactError(f"{path}: {missing[0]} and {len(missing) - 1} more weights are missing; train it again")
    return classifier.eval()


def _check_length(checkpoint: Checkpoint, tokens: int, what: str) -> None:
    config = checkpoint.classifier.config
    # RoBERTa counts positions from the padding id + 1.
    room = config.max_position_embeddings - config.pad_token_id - 1
    if tokens > room:
        raise ArtifactError(
            f"{checkpoint.artifact.folder / CONFIG_FILE}: max_position_embeddings: {config.max_position_embeddings} "
            f"leave room for {room} tokens, and {what} need {tokens}; train with a shorter max_length"
        )
