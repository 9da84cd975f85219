"""A model repository that finds no keyword in anything: a champion that anything beats, made without torch."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from client.artifact import LABELS_FILE, TOKENIZER_FILE, Artifact, sha256_of
from export.config import Serving


def write_repository(root: Path, artifact: Artifact) -> Path:
    """Version 1, of the artifact's tokenizer and label set; the folder of the repository."""
    labels = artifact.labels
    keywords = np.full((1, len(labels.keywords)), 0.45, np.float32)
    sentiments = np.zeros((1, len(labels.all_labels), len(labels.sentiments)), np.float32)
    sentiments[:, -1] = 1 / len(labels.sentiments)
    graphs = {
        "keyword_classifier": _constant("keyword_probs", keywords, ()),
        "sentiment_classifier": _constant("sentiment_probs", sentiments, ("keyword_probs",)),
    }
    for name, graph in graphs.items():
        (root / name / "1").mkdir(parents=True)
        onnx.save(graph, root / name / "1" / "model.onnx")
    folder = root / "review_analysis" / "1"
    folder.mkdir(parents=True)
    shutil.copy(artifact.tokenizer_file, folder / TOKENIZER_FILE)
    digest = sha256_of(b"".join(graph.SerializeToString() for graph in graphs.values()))
    text = replace(labels, model_version=f"1-{digest[:8]}").to_json()
    (folder / LABELS_FILE).write_text(text, encoding="utf-8")
    exported = Artifact.load(folder)
    for name, config in Serving(exported.labels, exported.labels_sha256, 1).render().items():
        (root / name / "config.pbtxt").write_text(config, encoding="utf-8")
    return root


def _constant(
    output: str, row: np.ndarray[tuple[int, ...], np.dtype[np.float32]], more: tuple[str, ...]
) -> onnx.ModelProto:
    """A graph that answers ``row`` [1, ...] for each review: the row times an attended first token."""
    axes = list(range(1, row.ndim))
    nodes = [
        helper.make_node("ReduceMax", ["attention_mask", "one"], ["attended"], keepdims=0),
        helper.make_node("Cast", ["attended"], ["there"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["there", "axes"], ["column"]),
        helper.make_node("Mul", ["column", "row"], [output]),
    ]
    tokens = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
        for name in ("input_ids", "attention_mask")
    ]
    others = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", "keywords"]) for name in more]
    constants = {"row": row, "one": np.array([1]), "axes": np.array(axes)}
    graph = helper.make_graph(
        nodes,
        "constant",
        [*tokens, *others],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", *row.shape[1:]])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model
