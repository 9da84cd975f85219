"""onnxruntime's own int8 forms: close to float32, small, and what each makes of a row's batch mates."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from client.artifact import Artifact
from client.encoding import Encoder
from export.checkpoint import Pair, load_pair
from export.compression.integers import dynamic_int8, static_int8
from export.graphs import KeywordGraph, to_onnx
from export.runners import OnnxRunner
from export.samples import Batch, random_batches
from tests.functional.export.tiny_checkpoints import write_checkpoints

VOCABULARY = 1000


@pytest.fixture(scope="module")
def pair(artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return load_pair(*write_checkpoints(tmp_path_factory.mktemp("checkpoints"), artifact))


@pytest.fixture(scope="module")
def exact(pair: Pair) -> onnx.ModelProto:
    return to_onnx(KeywordGraph(pair.keyword.classifier, 1.0))


@pytest.fixture(scope="module")
def batches(encoder: Encoder) -> list[Batch]:
    return random_batches(encoder, VOCABULARY)


def _static(model: onnx.ModelProto, batches: list[Batch]) -> onnx.ModelProto:
    return static_int8(model, [{"input_ids": b.input_ids, "attention_mask": b.attention_mask} for b in batches])


def _company_effect(graph: onnx.ModelProto, batch: Batch) -> float:
    runner = OnnxRunner(graph, graph)
    together = runner.keywords(batch)
    alone = [
        runner.keywords(Batch(batch.input_ids[i : i + 1], batch.attention_mask[i : i + 1])) for i in range(len(batch))
    ]
    return float(np.abs(np.concatenate(alone) - together).max())


@pytest.mark.parametrize(("form", "depends"), [(_static, False), (lambda model, _: dynamic_int8(model), True)])
def test_int8_is_close_and_small(
    exact: onnx.ModelProto,
    batches: list[Batch],
    form: Callable[[onnx.ModelProto, list[Batch]], onnx.ModelProto],
    depends: bool,
) -> None:
    graph = form(exact, batches)
    matrices = [tensor for tensor in graph.graph.initializer if len(tensor.dims) == 2 and "encoder." in tensor.name]
    assert {tensor.data_type for tensor in matrices if min(tensor.dims) > 1} == {onnx.TensorProto.INT8}
    assert graph.ByteSize() < 0.45 * exact.ByteSize()
    found, expected = (np.concatenate([OnnxRunner(g, g).keywords(batch) for batch in batches]) for g in (graph, exact))
    assert 0 < np.abs(found - expected).max() < 0.15
    many = max(batches, key=len)
    # Why export has an int8 of its own: highlights compare rows of different batches.
    assert (_company_effect(graph, many) > 1e-4) == depends
