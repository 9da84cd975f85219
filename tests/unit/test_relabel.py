"""Soft labels are written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from client.artifact import Artifact
from client.errors import InvalidInputError
from tests.functional.export.tiny_checkpoints import write_checkpoints
from tests.unit.conftest import REVIEWS
from tests.unit.test_loop_promotion import full_disk
from training.corpus import split_of
from training.data import LabelSet, read_labelled
from training.relabel import relabel


def test_a_full_disk_leaves_the_old_file(artifact: Artifact, tmp_path: Path) -> None:
    labels = artifact.labels
    label_set = LabelSet(labels.keywords, labels.overall, labels.sentiments, labels.sentiment_scores)
    checkpoint, _ = write_checkpoints(tmp_path, artifact)
    data, output = tmp_path / "reviews.jsonl", tmp_path / "out" / "soft.jsonl.gz"
    data.write_text("".join(json.dumps({"text": text, "labels": {"가격": 1}}) + "\n" for text in REVIEWS))
    with pytest.raises(InvalidInputError, match="there is no folder"):
        relabel(checkpoint, data, output, label_set, 0.5)
    output.parent.mkdir()
    with full_disk(300), pytest.raises(InvalidInputError, match=r"soft\.jsonl\.gz: cannot be written"):
        relabel(checkpoint, data, output, label_set, 0.5)
    assert not list(output.parent.iterdir())
    assert relabel(checkpoint, data, output, label_set, 0.5) > 20
    whole = output.read_bytes()
    with full_disk(300), pytest.raises(InvalidInputError, match="what was there is as it was"):
        relabel(checkpoint, data, output, label_set, 0.9)
    assert output.read_bytes() == whole
    assert [path.name for path in output.parent.iterdir()] == [output.name]
    assert {split_of(review.text) for review in read_labelled(output, label_set)} == {"train"}
