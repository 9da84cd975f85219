"""Checkpoints: a folder that export reads, and the backbone that training starts from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError
from safetensors import SafetensorError
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerFast, RobertaForSequenceClassification
from transformers.utils import logging as transformers_logging

from client.artifact import LABELS_FILE, TOKENIZER_FILE, Artifact, Labels, SpecialTokens, sha256_of
from client.errors import ArtifactError, ReviewLensError
from training.data import LabelSet
from training.tuning import is_plain

# Nothing loads weights without the config beside them.
CONFIG_FILES = ("config.json", "adapter_config.json")
WEIGHT_FILES = ("model.safetensors", "adapter_model.safetensors")
CHECKPOINT_FILES = (*CONFIG_FILES, *WEIGHT_FILES, TOKENIZER_FILE, LABELS_FILE, "metrics.json", "README.md")
# What of a training's data may stand beside a checkpoint: customers' reviews, for no one else.
CONTRADICTIONS_FILE = "contradictions.jsonl"


def load_backbone(path: str, outputs: int, dropout: float, attention: str) -> RobertaForSequenceClassification:
    """A RoBERTa with a new classification head of ``outputs`` columns, from a folder or a Hugging Face hub name.

    Raises:
        ArtifactError: there is no RoBERTa checkpoint at ``path``.
    """
    _check_is_roberta(path)
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # a new head is meant: no report of it
    try:
        model: RobertaForSequenceClassification
        model, loading = RobertaForSequenceClassification.from_pretrained(
            path,
            output_loading_info=True,
            num_labels=outputs,
            id2label={i: str(i) for i in range(outputs)},
            label2id={str(i): i for i in range(outputs)},
            ignore_mismatched_sizes=True,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
            attn_implementation=attention,
            dtype="float32",  # finished checkpoints are in half precision, which does not train
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise ArtifactError(f"--backbone {path}: no RoBERTa checkpoint could be loaded: {error}") from None
    finally:
        transformers_logging.set_verbosity(verbosity)
    # What is missing would be random numbers; only the new head may be.
    if missing := sorted(name for name in loading["missing_keys"] if not name.startswith("classifier.")):
        raise ArtifactError(
            f"--backbone {path}: {len(missing)} weights of RoBERTa are not in it, {missing[0]} the first; "
            "give the whole checkpoint of a RoBERTa"
        )
    return model


def _check_is_roberta(path: str) -> None:
    """Refuse another architecture, whose weights would all be taken for missing.

    Raises:
        ArtifactError: says what it is, or that there is nothing.
    """
    try:
        kind = AutoConfig.from_pretrained(path).model_type
    except (OSError, ValueError) as error:
        raise ArtifactError(f"--backbone {path}: no RoBERTa checkpoint could be loaded: {error}") from None
    if kind != RobertaForSequenceClassification.config_class.model_type:
        raise ArtifactError(
            f"--backbone {path}: this is of the type {kind}, not roberta; give a RoBERTa such as klue/roberta-base"
        )


def begin_checkpoint(
    out: Path, backbone: str, label_set: LabelSet, *, name: str, max_length: int, prompt: str
) -> Artifact:
    """Write ``tokenizer.json`` and a ``labels.json`` that is not calibrated yet; returns the artifact they make."""
    tokenizer_json, special_tokens = _tokenizer_of(backbone)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / TOKENIZER_FILE, tokenizer_json)
    labels = Labels(
        name=name,
        keywords=label_set.keywords,
        overall=label_set.overall,
        sentiments=label_set.sentiments,
        sentiment_scores=label_set.sentiment_scores,
        thresholds=(0.5,) * len(label_set.keywords),
        max_length=max_length,
        prompt=prompt,
        special_tokens=special_tokens,
        tokenizer_sha256=sha256_of((out / TOKENIZER_FILE).read_bytes()),
    )
    write_text(out / LABELS_FILE, labels.to_json())
    return Artifact.load(out)


def _tokenizer_of(backbone: str) -> tuple[str, SpecialTokens]:
    """The text of ``tokenizer.json`` and the spelling of its special tokens."""
    if (Path(backbone) / LABELS_FILE).is_file():
        # One of our checkpoints. It has no tokenizer_config.json, and transformers would guess a byte-level tokenizer.
        artifact = Artifact.load(Path(backbone))
        return artifact.tokenizer_file.read_text(encoding="utf-8"), artifact.labels.special_tokens
    try:
        tokenizer = AutoTokenizer.from_pretrained(backbone)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"--backbone {backbone}: no tokenizer could be loaded: {error}") from None
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ArtifactError(f"--backbone {backbone}: its tokenizer has no tokenizer.json (a fast tokenizer is needed)")
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    special_tokens = SpecialTokens(
        cls=tokenizer.cls_token, pad=tokenizer.pad_token, sep=tokenizer.sep_token, mask=tokenizer.mask_token
    )
    return backend.to_str(), special_tokens


def finish_checkpoint(work: Path, out: Path, model: Any, labels: Labels, metrics: dict[str, Any], card: str) -> None:
    """Write weights in half precision, tokenizer, calibrated labels, metrics and model card into ``out``.

    The ``metrics`` name the ``task``, which is kept as the names of the outputs. All is first written in full below
    ``work``, on the same disk, and then moved: a disk that fills up leaves the checkpoint in ``out`` as it was.
    """
    done = begin_finished(work)
    if is_plain(model):
        names = labels.keywords if metrics["task"] == "keyword" else labels.sentiments
        model.config.id2label = dict(enumerate(names))
        model.config.label2id = {name: i for i, name in enumerate(names)}
    model.half().save_pretrained(done)
    shutil.copyfile(work / TOKENIZER_FILE, done / TOKENIZER_FILE)
    write_text(done / LABELS_FILE, labels.to_json())
    write_text(done / "metrics.json", json.dumps(metrics, ensure_ascii=False, indent=1) + "\n")
    write_text(done / "README.md", card)
    replace_model(done, out)


def begin_finished(work: Path) -> Path:
    """An empty folder below ``work`` for a finished model: what a run that was killed here left is of no use."""
    done = work / "finished"
    shutil.rmtree(done, ignore_errors=True)
    done.mkdir(parents=True)
    return done


def replace_model(done: Path, out: Path) -> None:
    """Move the finished model in ``done`` into ``out``, in place of the one there.

    Wherever it is cut short, ``out`` holds the old model, the new one, or one without a config, which nothing loads.
    """
    for stale in (*CONFIG_FILES, *WEIGHT_FILES):
        (out / stale).unlink(missing_ok=True)
    for file in sorted(done.iterdir(), key=lambda file: file.name in CONFIG_FILES):
        file.replace(out / file.name)


def push_to_hub(folder: Path, repository: str) -> None:
    """Upload a finished checkpoint to ``OWNER/NAME`` on the Hugging Face hub, with the token of this machine.

    Raises:
        ReviewLensError: the hub refused or could not be reached; the checkpoint in ``folder`` is whole.
    """
    api = HfApi()
    try:
        api.create_repo(repository, private=True, exist_ok=True)
        # Not the whole folder: see CONTRADICTIONS_FILE.
        api.upload_folder(repo_id=repository, folder_path=folder, allow_patterns=[*CHECKPOINT_FILES])
    except (HfHubHTTPError, httpx2.HTTPError, OSError, ValueError) as error:
        raise ReviewLensError(
            f"--push-to-hub {repository}: {error}; {folder} is whole: log in (hf auth login, or HF_TOKEN), then "
            f"hf upload {repository} {folder} --private --exclude {CONTRADICTIONS_FILE}"
        ) from None


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
