"""A model repository of tiny ONNX graphs in the shape of the real one, and numpy's answer to the same inputs.

`keyword_classifier` looks tokens up in a table, so a token id outside of it is an error of that request alone.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

VOCABULARY = 32
KEYWORDS = 3
TABLE = np.random.default_rng(7).normal(size=(VOCABULARY, KEYWORDS)).astype(np.float32)

KEYWORD_CONFIG = """\
name: "keyword_classifier"
backend: "onnxruntime"
max_batch_size: 64
version_policy { specific { versions: [1] } }
input [
  { name: "input_ids" data_type: TYPE_INT64 dims: [-1] },
  { name: "attention_mask" data_type: TYPE_INT64 dims: [-1] }
]
output [
  { name: "keyword_probs" data_type: TYPE_FP32 dims: [3] },
  { name: "token_count" data_type: TYPE_INT64 dims: [1] }
]
instance_group [ { kind: KIND_CPU count: 1 } ]
dynamic_batching { max_queue_delay_microseconds: 50000 }
parameters { key: "intra_op_thread_count" value: { string_value: "1" } }
parameters { key: "memory.enable_memory_arena_shrinkage" value: { string_value: "cpu:0" } }
"""

SENTIMENT_CONFIG = """\
name: "sentiment_classifier"
backend: "onnxruntime"
max_batch_size: 64
input [ { name: "keyword_probs" data_type: TYPE_FP32 dims: [3] } ]
output [ { name: "sentiment_probs" data_type: TYPE_FP32 dims: [3, 2] } ]
instance_group [ { kind: KIND_CPU count: 1 } ]
optimization { graph { level: 1 } }
parameters { key: "execution_mode" value: { string_value: "0" } }
parameters { key: "inter_op_thread_count" value: { string_value: "1" } }
parameters { key: "enable_mem_arena" value: { string_value: "false" } }
parameters { key: "enable_mem_pattern" value: { string_value: "true" } }
"""

ENSEMBLE_CONFIG = """\
name: "review_analysis"
platform: "ensemble"
max_batch_size: 64
input [
  { name: "input_ids" data_type: TYPE_INT64 dims: [-1] },
  { name: "attention_mask" data_type: TYPE_INT64 dims: [-1] }
]
output [
  { name: "keyword_probs" data_type: TYPE_FP32 dims: [3] },
  { name: "sentiment_probs" data_type: TYPE_FP32 dims: [3, 2] }
]
ensemble_scheduling {
  step [
    {
      model_name: "keyword_classifier" model_version: 1
      input_map { key: "input_ids" value: "input_ids" }
      input_map { key: "attention_mask" value: "attention_mask" }
      output_map { key: "keyword_probs" value: "keyword_probs" }
    },
    {
      model_name: "sentiment_classifier" model_version: 1
      input_map { key: "keyword_probs" value: "keyword_probs" }
      output_map { key: "sentiment_probs" value: "sentiment_probs" }
    }
  ]
}
"""


def write_repository(root: Path) -> Path:
    """Write the three models; the folder of the repository."""
    for name, config in (
        ("keyword_classifier", KEYWORD_CONFIG),
        ("sentiment_classifier", SENTIMENT_CONFIG),
        ("review_analysis", ENSEMBLE_CONFIG),
    ):
        (root / name / "1").mkdir(parents=True)
        (root / name / "config.pbtxt").write_text(config, encoding="utf-8")
    onnx.save(_keyword_graph(), root / "keyword_classifier" / "1" / "model.onnx")
    onnx.save(_sentiment_graph(), root / "sentiment_classifier" / "1" / "model.onnx")
    return root


def expected_keywords(ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """keyword_probs [B, K] for input_ids and attention_mask [B, L]."""
    logits = (TABLE[ids] * mask[:, :, None]).sum(axis=1)
    probabilities: npt.NDArray[np.float32] = (1 / (1 + np.exp(-logits))).astype(np.float32)
    return probabilities


def expected_sentiments(keywords: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """sentiment_probs [B, K, 2] for keyword_probs [B, K]."""
    return np.stack([keywords, 1 - keywords], axis=2)


def _keyword_graph() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["embedded"]),
        helper.make_node("Unsqueeze", ["attention_mask", "last"], ["mask_column"]),
        helper.make_node("Cast", ["mask_column"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["embedded", "mask"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "tokens"], ["logits"], keepdims=0),
        helper.make_node("Sigmoid", ["logits"], ["keyword_probs"]),
        helper.make_node("ReduceSum", ["attention_mask", "tokens"], ["token_count"], keepdims=1),
    ]
    constants = {"table": TABLE, "last": np.array([2]), "tokens": np.array([1])}
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
        for name in ("input_ids", "attention_mask")
    ]
    outputs = [
        helper.make_tensor_value_info("keyword_probs", TensorProto.FLOAT, ["batch", KEYWORDS]),
        helper.make_tensor_value_info("token_count", TensorProto.INT64, ["batch", 1]),
    ]
    return _model(nodes, inputs, outputs, constants)


def _sentiment_graph() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Unsqueeze", ["keyword_probs", "last"], ["good"]),
        helper.make_node("Sub", ["one", "good"], ["bad"]),
        helper.make_node("Concat", ["good", "bad"], ["sentiment_probs"], axis=2),
    ]
    constants = {"last": np.array([2]), "one": np.array(1, np.float32)}
    inputs = [helper.make_tensor_value_info("keyword_probs", TensorProto.FLOAT, ["batch", KEYWORDS])]
    outputs = [helper.make_tensor_value_info("sentiment_probs", TensorProto.FLOAT, ["batch", KEYWORDS, 2])]
    return _model(nodes, inputs, outputs, constants)


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: dict[str, npt.NDArray[np.generic]],
) -> onnx.ModelProto:
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model
