"""A model repository of random weights: graphs of a few operators in the shape of the exported ones.

Every token counts by its place, and what it does to a keyword depends on the other tokens, as in a real encoder.
Keywords are predicted for about half of all reviews.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from client.artifact import LABELS_FILE, TOKENIZER_FILE, Artifact, Labels, sha256_of
from tests.functional.reviews import REVIEWS
from training.tokenizer import train_tokenizer

WIDTH = 16
# Digits in the vocabulary make numbered texts distinct for the model.
NUMBERS = [f"{number}번" for number in range(100)]
LABELS = Labels(
    name="tiny",
    keywords=("가격", "디자인", "배송", "사이즈", "핏"),
    overall="만족도",
    sentiments=("매우부정", "부정", "중립", "긍정", "매우긍정"),
    sentiment_scores=(-2, -1, 0, 1, 2),
    thresholds=(0.5, 0.45, 0.5, 0.55, 0.5),
    max_length=48,
    model_version="tiny-1",
)

TENSOR = '{{ name: "{name}" data_type: TYPE_{kind} dims: [{dims}] }}'
CONFIG = """\
name: "{name}"
{platform}
max_batch_size: 64
version_policy {{ specific {{ versions: [1] }} }}
input [ {inputs} ]
output [ {outputs} ]
{rest}
"""
STEP = """{{ model_name: "{name}" model_version: 1
  {inputs}
  output_map {{ key: "{output}" value: "{output}" }} }}"""


def write_repository(root: Path, seed: int = 5, model_version: str = LABELS.model_version) -> Path:
    """Write the three models with version 1; the folder of the repository."""
    ensemble = root / "review_analysis" / "1"
    ensemble.mkdir(parents=True)
    tokenizer_file = ensemble / TOKENIZER_FILE
    # Three times: the trainer joins only pieces that it saw three times.
    train_tokenizer((*REVIEWS, *NUMBERS) * 3, vocab_size=700).save(str(tokenizer_file))
    digest = sha256_of(tokenizer_file.read_bytes())
    labels = replace(LABELS, tokenizer_sha256=digest, model_version=model_version)
    (ensemble / LABELS_FILE).write_text(labels.to_json(), encoding="utf-8")
    for name, graph in (("keyword_classifier", _keyword_graph(seed)), ("sentiment_classifier", _sentiment_graph(seed))):
        (root / name / "1").mkdir(parents=True)
        onnx.save(graph, root / name / "1" / "model.onnx")
    _write_configs(root, Artifact.load(ensemble))
    return root


def _write_configs(root: Path, artifact: Artifact) -> None:
    keywords, sentiments = len(LABELS.keywords), len(LABELS.sentiments)
    tokens = [TENSOR.format(name=name, kind="INT64", dims=-1) for name in ("input_ids", "attention_mask")]
    keyword_probs = TENSOR.format(name="keyword_probs", kind="FP32", dims=keywords)
    sentiment_probs = TENSOR.format(name="sentiment_probs", kind="FP32", dims=f"{keywords + 1}, {sentiments}")
    graph = 'backend: "onnxruntime"', "instance_group [ { kind: KIND_CPU count: 1 } ]"
    parameters = {"tokenizer_sha256": artifact.labels.tokenizer_sha256, "labels_sha256": artifact.labels_sha256}
    steps = [
        STEP.format(
            name=name, output=output, inputs=" ".join(f'input_map {{ key: "{i}" value: "{i}" }}' for i in inputs)
        )
        for name, output, inputs in (
            ("keyword_classifier", "keyword_probs", ("input_ids", "attention_mask")),
            ("sentiment_classifier", "sentiment_probs", ("input_ids", "attention_mask", "keyword_probs")),
        )
    ]
    ensemble = (
        'platform: "ensemble"',
        "\n".join(
            [f"ensemble_scheduling {{ step [ {', '.join(steps)} ] }}"]
            + [
                f'parameters {{ key: "{key}" value: {{ string_value: "{value}" }} }}'
                for key, value in parameters.items()
            ]
        ),
    )
    for name, inputs, outputs, (platform, rest) in (
        ("keyword_classifier", tokens, [keyword_probs], graph),
        ("sentiment_classifier", [*tokens, keyword_probs], [sentiment_probs], graph),
        ("review_analysis", tokens, [keyword_probs, sentiment_probs], ensemble),
    ):
        text = CONFIG.format(
            name=name, platform=platform, inputs=", ".join(inputs), outputs=", ".join(outputs), rest=rest
        )
        (root / name / "config.pbtxt").write_text(text, encoding="utf-8")


# input_ids, attention_mask [B, L] to "pooled" [B, WIDTH]
_POOLING = [
    helper.make_node("Gather", ["tokens", "input_ids"], ["by_token"]),
    helper.make_node("CumSum", ["attention_mask", "one"], ["place"]),
    helper.make_node("Gather", ["places", "place"], ["by_place"]),
    helper.make_node("Mul", ["by_token", "by_place"], ["vectors"]),
    helper.make_node("Unsqueeze", ["attention_mask", "two"], ["mask_column"]),
    helper.make_node("Cast", ["mask_column"], ["mask"], to=TensorProto.FLOAT),
    helper.make_node("Mul", ["vectors", "mask"], ["masked"]),
    helper.make_node("ReduceSum", ["masked", "one"], ["summed"], keepdims=0),
    helper.make_node("Tanh", ["summed"], ["pooled"]),
]


def _pooling_constants(seed: int) -> dict[str, NDArray[np.generic]]:
    random = np.random.default_rng(seed)
    return {
        "tokens": random.normal(size=(1000, WIDTH), scale=0.3).astype(np.float32),
        "places": random.uniform(0.5, 1.5, size=(64, WIDTH)).astype(np.float32),
        "one": np.array([1]),
        "two": np.array([2]),
    }


def _keyword_graph(seed: int) -> onnx.ModelProto:
    weights = np.random.default_rng(seed + 1).normal(size=(WIDTH, len(LABELS.keywords)), scale=0.5)
    nodes = [
        *_POOLING,
        helper.make_node("MatMul", ["pooled", "weights"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["keyword_probs"]),
    ]
    constants = _pooling_constants(seed) | {"weights": weights.astype(np.float32)}
    return _model(nodes, constants, {}, {"keyword_probs": (len(LABELS.keywords),)})


def _sentiment_graph(seed: int) -> onnx.ModelProto:
    rows, classes = len(LABELS.keywords) + 1, len(LABELS.sentiments)
    weights = np.random.default_rng(seed + 2).normal(size=(WIDTH, rows * classes))
    nodes = [
        *_POOLING,
        helper.make_node("MatMul", ["pooled", "weights"], ["flat"]),
        helper.make_node("Reshape", ["flat", "rows"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["all"], axis=2),
        # The overall row is asked of every review: probability 1 against a threshold of 0.
        helper.make_node("Pad", ["keyword_probs", "one_behind", "certain"], ["with_overall"]),
        helper.make_node("GreaterOrEqual", ["with_overall", "thresholds"], ["asked"]),
        helper.make_node("Cast", ["asked"], ["factor"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["factor", "two"], ["factor_column"]),
        helper.make_node("Mul", ["all", "factor_column"], ["sentiment_probs"]),
    ]
    constants = _pooling_constants(seed) | {
        "weights": weights.astype(np.float32),
        "rows": np.array([-1, rows, classes]),
        "one_behind": np.array([0, 0, 0, 1]),
        "certain": np.array(1, np.float32),
        "thresholds": np.array([*LABELS.thresholds, 0], np.float32),
    }
    return _model(nodes, constants, {"keyword_probs": (len(LABELS.keywords),)}, {"sentiment_probs": (rows, classes)})


def _model(
    nodes: list[onnx.NodeProto],
    constants: dict[str, NDArray[np.generic]],
    extra_inputs: dict[str, tuple[int, ...]],
    outputs: dict[str, tuple[int, ...]],
) -> onnx.ModelProto:
    def floats(tensors: dict[str, tuple[int, ...]]) -> list[onnx.ValueInfoProto]:
        return [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape]) for name, shape in tensors.items()
        ]

    tokens = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
        for name in ("input_ids", "attention_mask")
    ]
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", [*tokens, *floats(extra_inputs)], floats(outputs), initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model
