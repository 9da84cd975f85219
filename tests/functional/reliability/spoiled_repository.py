"""Model repositories that answer what they should not."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

ENSEMBLE_CONFIG = Path("review_analysis", "config.pbtxt")
GRAPH = Path("keyword_classifier", "1", "model.onnx")


def with_nan(repository: Path, target: Path, token: int) -> Path:
    """A copy of a repository where a row with this token has NaN for all of its keywords."""
    shutil.copytree(repository, target)
    model = onnx.load(target / GRAPH)
    _rename_output(model, "keyword_probs", "sound_probs")
    model.graph.node.extend(
        [
            helper.make_node("Equal", ["input_ids", "poison"], ["is_poison"]),
            helper.make_node("Cast", ["is_poison"], ["poison_flags"], to=onnx.TensorProto.FLOAT),
            helper.make_node("ReduceMax", ["poison_flags", "last_axis"], ["poisoned_row"], keepdims=1),
            helper.make_node("Sub", ["almost_one", "poisoned_row"], ["negative_if_poisoned"]),
            helper.make_node("Sqrt", ["negative_if_poisoned"], ["nan_if_poisoned"]),
            helper.make_node("Mul", ["sound_probs", "nan_if_poisoned"], ["keyword_probs"]),
        ]
    )
    _add_constants(
        model, poison=np.array([token]), last_axis=np.array([1]), almost_one=np.array([0.999], dtype=np.float32)
    )
    onnx.save(model, target / GRAPH)
    return target


def with_hashes_of(repository: Path, other: Path) -> Path:
    """Let a repository claim to be another one: its ensemble names the hashes of that."""
    for parameter in ("tokenizer_sha256", "labels_sha256"):
        config = repository / ENSEMBLE_CONFIG
        text = config.read_text(encoding="utf-8")
        claimed = _hash_in((other / ENSEMBLE_CONFIG).read_text(encoding="utf-8"), parameter)
        config.write_text(text.replace(_hash_in(text, parameter), claimed), encoding="utf-8")
    return repository


def _hash_in(config: str, parameter: str) -> str:
    match = re.search(rf'key: "{parameter}" value: {{ string_value: "([0-9a-f]{{64}})"', config)
    assert match
    return match[1]


def _rename_output(model: onnx.ModelProto, old: str, new: str) -> None:
    for node in model.graph.node:
        node.output[:] = [new if name == old else name for name in node.output]


def _add_constants(model: onnx.ModelProto, **values: NDArray[np.generic]) -> None:
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in values.items())
