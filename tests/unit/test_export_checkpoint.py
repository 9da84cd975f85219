"""Checkpoints that do not fit one another, their labels or the model are refused by file and field."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from client.artifact import LABELS_FILE, TOKENIZER_FILE, Artifact, Labels, SpecialTokens, sha256_of
from client.errors import ArtifactError
from export.checkpoint import WEIGHTS_FILE, load_pair
from export.parity import compare
from export.runners import TorchRunner
from export.samples import random_batches
from tests.functional.export.tiny_checkpoints import edit_json, write_checkpoint, write_checkpoints


@pytest.fixture(scope="module")
def originals(artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("originals")
    write_checkpoints(folder, artifact)
    return folder


@pytest.fixture
def checkpoints(originals: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A pair of one's own to break."""
    shutil.copytree(originals, tmp_path, dirs_exist_ok=True)
    return tmp_path / "keyword", tmp_path / "sentiment"


def _relabel(folder: Path, **values: Any) -> None:
    file = folder / LABELS_FILE
    labels = replace(Labels.from_json(file.read_text(encoding="utf-8")), **values)
    file.write_text(labels.to_json(), encoding="utf-8")


def test_each_checkpoint_gives_its_own_calibration(checkpoints: tuple[Path, Path]) -> None:
    keyword, sentiment = checkpoints
    _relabel(keyword, thresholds=(0.1, 0.2, 0.3, 0.4))
    _relabel(sentiment, thresholds=(0.5, 0.5, 0.5, 0.6), keyword_temperature=9.0)
    labels = load_pair(keyword, sentiment).labels
    assert labels.thresholds == (0.1, 0.2, 0.3, 0.4)
    assert (labels.keyword_temperature, labels.sentiment_temperature) == (1.5, 0.8)


def test_prompts_are_framed_and_end_with_the_overall_label(checkpoints: tuple[Path, Path]) -> None:
    for folder in checkpoints:
        _relabel(folder, prompt="이 옷의 {keyword}")
    pair = load_pair(*checkpoints)
    encoder = pair.encoder
    assert len(pair.prompts()) == 5
    expected = encoder.encode("이 옷의 만족도").input_ids
    assert pair.prompts()[-1] == [encoder.cls_id, *expected, encoder.sep_id]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("keywords", ("가격", "디자인", "배송", "핏")),
        ("overall", "총평"),
        ("sentiments", ("하나", "둘", "셋", "넷", "다섯")),
        ("sentiment_scores", (0, 1, 2, 3, 4)),
        ("prompt", "{keyword}?"),
        ("max_length", 31),
    ],
)
def test_labels_must_agree(checkpoints: tuple[Path, Path], field: str, value: Any) -> None:
    keyword, sentiment = checkpoints
    _relabel(sentiment, **{field: value})
    with pytest.raises(ArtifactError, match=rf"labels.json: {field}: .*one label set"):
        load_pair(keyword, sentiment)


def test_tokenizers_must_agree(checkpoints: tuple[Path, Path]) -> None:
    keyword, sentiment = checkpoints
    text = (sentiment / TOKENIZER_FILE).read_text(encoding="utf-8") + "\n"
    (sentiment / TOKENIZER_FILE).write_text(text, encoding="utf-8")
    _relabel(sentiment, tokenizer_sha256=sha256_of(text.encode()))
    with pytest.raises(ArtifactError, match="tokenizer_sha256"):
        load_pair(keyword, sentiment)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def _drop_head(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS_FILE)
    del weights["classifier.out_proj.weight"]
    save_file(weights, folder / WEIGHTS_FILE, metadata={"format": "pt"})


BREAKAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors: no such file"),
    "cut weights": (lambda f: _cut(f / "model.safetensors"), "model.safetensors: cannot load"),
    "no head": (_drop_head, "model.safetensors: classifier.out_proj.weight and 0 more"),
    "no config": (lambda f: (f / "config.json").unlink(), "config.json: cannot read"),
    "cut config": (lambda f: (f / "config.json").write_text("{"), "config.json: cannot read"),
    "no object": (lambda f: (f / "config.json").write_text("[]"), "config.json: not a JSON object"),
    "no labels": (lambda f: (f / "labels.json").unlink(), "labels.json: no such file"),
    "other model": (lambda f: edit_json(f / "config.json", model_type="bert"), "config.json: model_type: 'bert'"),
    "wrong sizes": (lambda f: edit_json(f / "config.json", hidden_size=32), "model.safetensors: cannot load"),
    "pad id": (lambda f: edit_json(f / "config.json", pad_token_id=0), "config.json: pad_token_id: 0"),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
@pytest.mark.parametrize("broken", [0, 1])
def test_broken_checkpoint_is_named(checkpoints: tuple[Path, Path], breakage: str, broken: int) -> None:
    damage, message = BREAKAGES[breakage]
    damage(checkpoints[broken])
    with pytest.raises(ArtifactError, match=f"{checkpoints[broken]}/{message}"):
        load_pair(*checkpoints)


def test_swapped_checkpoints(checkpoints: tuple[Path, Path]) -> None:
    keyword, sentiment = checkpoints
    with pytest.raises(ArtifactError, match=r"num_labels: 5 outputs for the 4 keywords .*swapped"):
        load_pair(sentiment, keyword)


def test_vocabulary_below_the_tokenizer(artifact: Artifact, tmp_path: Path) -> None:
    keyword, sentiment = write_checkpoints(tmp_path, artifact)
    write_checkpoint(keyword, artifact, 4, vocabulary=50)
    with pytest.raises(ArtifactError, match="vocab_size: 50 is below"):
        load_pair(keyword, sentiment)


@pytest.mark.parametrize(("positions", "what"), [(33, "max_length 32 need 32"), (36, "and a prompt of .* need 3")])
def test_too_few_positions(artifact: Artifact, tmp_path: Path, positions: int, what: str) -> None:
    keyword = write_checkpoint(tmp_path / "keyword", artifact, 4, positions=positions)
    sentiment = write_checkpoint(tmp_path / "sentiment", artifact, 5, positions=positions)
    with pytest.raises(ArtifactError, match=f"config.json: max_position_embeddings: {positions} .*{what}"):
        load_pair(keyword, sentiment)


def test_special_tokens_in_the_style_of_bert(artifact: Artifact, tmp_path: Path) -> None:
    special = SpecialTokens(cls="[CLS]", pad="[PAD]", sep="[SEP]", mask="[MASK]")
    text = artifact.tokenizer_file.read_text(encoding="utf-8")
    for ours, theirs in (("<s>", "[CLS]"), ("<pad>", "[PAD]"), ("</s>", "[SEP]"), ("<mask>", "[MASK]")):
        text = text.replace(ours, theirs)
    folder = tmp_path / "artifact"
    folder.mkdir()
    (folder / TOKENIZER_FILE).write_text(text, encoding="utf-8")
    labels = replace(artifact.labels, special_tokens=special, tokenizer_sha256=sha256_of(text.encode()))
    (folder / LABELS_FILE).write_text(labels.to_json(), encoding="utf-8")
    pair = load_pair(*write_checkpoints(tmp_path, Artifact.load(folder)))
    assert pair.labels.special_tokens == special
    assert pair.prompts()[0][0] == 0
    assert pair.prompts()[0][-1] == 2


def test_random_batches_cover_the_shapes(checkpoints: tuple[Path, Path]) -> None:
    pair = load_pair(*checkpoints)
    batches = random_batches(pair.encoder, 1000)
    lengths = [length for batch in batches for length in batch.attention_mask.sum(1)]
    assert {3, pair.labels.max_length} <= set(lengths)
    assert any(not batch.attention_mask.all() for batch in batches)
    assert any(len(batch) == 1 for batch in batches)
    runner = TorchRunner(pair)
    assert compare(runner, runner, batches[:1], pair.labels.thresholds).largest == 0
