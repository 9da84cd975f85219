"""The ONNX graphs compute what the Hugging Face classifiers do, whatever the shape, the padding and the keywords."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from client.artifact import Artifact
from client.encoding import Encoder
from export.checkpoint import Pair, load_pair
from export.graphs import KeywordGraph, SentimentGraph, thresholds_float32, to_half, to_onnx
from export.parity import compare
from export.quantize import ACTIVATION_MAX, WEIGHT_MAX, quantize, to_int8
from export.runners import OnnxRunner, TorchRunner
from export.samples import Batch, random_batches
from tests.functional.export.tiny_checkpoints import write_checkpoints

VOCABULARY = 1000
Graphs = tuple[onnx.ModelProto, onnx.ModelProto]


@pytest.fixture(scope="module")
def pair(artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return load_pair(*write_checkpoints(tmp_path_factory.mktemp("checkpoints"), artifact))


@pytest.fixture(scope="module")
def float_graphs(pair: Pair) -> Graphs:
    return to_onnx(_keyword_graph(pair)), to_onnx(_sentiment_graph(pair))


@pytest.fixture(scope="module")
def exact(float_graphs: Graphs) -> OnnxRunner:
    return OnnxRunner(*float_graphs)


@pytest.fixture(scope="module")
def int8_graphs(float_graphs: Graphs) -> Graphs:
    return quantize(float_graphs[0]), quantize(float_graphs[1])


@pytest.fixture(scope="module")
def int8(int8_graphs: Graphs) -> OnnxRunner:
    return OnnxRunner(*int8_graphs)


def _keyword_graph(pair: Pair) -> KeywordGraph:
    return KeywordGraph(pair.keyword.classifier, pair.labels.keyword_temperature)


def _sentiment_graph(pair: Pair) -> SentimentGraph:
    labels = pair.labels
    return SentimentGraph(pair.sentiment.classifier, labels.sentiment_temperature, labels.thresholds, pair.prompts())


def _batch(lengths: list[int], width: int, encoder: Encoder, seed: int = 3) -> Batch:
    random = np.random.default_rng(seed)
    ids = np.full((len(lengths), width), encoder.pad_id, np.int64)
    mask = np.zeros_like(ids)
    for row, length in enumerate(lengths):
        ids[row, :length] = random.integers(5, VOCABULARY, length)
        ids[row, 0], ids[row, length - 1] = encoder.cls_id, encoder.sep_id
        mask[row, :length] = 1
    return Batch(ids, mask)


@pytest.mark.parametrize(
    ("lengths", "width"), [([8], 8), ([3], 3), ([2], 8), ([32] * 5, 32), ([2, 31, 9, 17], 32), ([5] * 40, 5)]
)
def test_parity_with_torch(pair: Pair, exact: OnnxRunner, encoder: Encoder, lengths: list[int], width: int) -> None:
    batch = _batch(lengths, width, encoder)
    difference = compare(TorchRunner(pair), exact, [batch], pair.labels.thresholds)
    assert difference.largest < 1e-5
    assert difference.decisions == len(lengths) * len(pair.labels.keywords)


def test_prompts_of_several_lengths(pair: Pair) -> None:
    # Else the parity tests would not see a position that padding inside the row shifts.
    assert len({len(prompt) for prompt in pair.prompts()}) > 1


def test_keywords_depend_on_the_text(exact: OnnxRunner, encoder: Encoder) -> None:
    probabilities = exact.keywords(_batch([12] * 8, 12, encoder))
    assert probabilities.std(0).min() > 0.02


def test_no_keyword_reached_asks_for_overall_only(exact: OnnxRunner, pair: Pair, encoder: Encoder) -> None:
    batch = _batch([4, 9, 9], 12, encoder)
    probabilities = exact.sentiments(batch, np.zeros((3, len(pair.labels.keywords)), np.float32))
    assert not probabilities[:, :-1].any()
    np.testing.assert_allclose(probabilities[:, -1].sum(1), 1, atol=1e-6)


def test_reached_means_at_or_over_the_threshold(exact: OnnxRunner, pair: Pair, encoder: Encoder) -> None:
    limits = thresholds_float32(pair.labels.thresholds)
    rows = np.stack([np.nextafter(limits, np.float32(0)), limits, np.ones_like(limits)])
    probabilities = exact.sentiments(_batch([9] * 3, 12, encoder), rows)
    asked = probabilities.sum(2)[:, :-1]
    np.testing.assert_allclose(asked, [[0] * len(limits), [1] * len(limits), [1] * len(limits)], atol=1e-6)


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.7, 1 / 3])
def test_float32_thresholds_decide_as_the_exact_ones(threshold: float) -> None:
    (limit,) = thresholds_float32([threshold])
    for value in (limit, np.nextafter(limit, np.float32(0)), np.nextafter(limit, np.float32(1))):
        assert (value >= limit) == (float(value) >= threshold)


def test_graphs_hold_no_paths(float_graphs: Graphs) -> None:
    for graph in float_graphs:
        data = graph.SerializeToString()
        assert b".py" not in data
        assert str(Path(onnx.__file__).parent.parent).encode() not in data


def test_int8_is_close_and_small(
    exact: OnnxRunner, int8: OnnxRunner, pair: Pair, float_graphs: Graphs, int8_graphs: Graphs
) -> None:
    difference = compare(exact, int8, random_batches(pair.encoder, VOCABULARY), pair.labels.thresholds)
    assert 0 < difference.largest < 0.08
    for before, after in zip(float_graphs, int8_graphs, strict=True):
        assert after.ByteSize() < 0.45 * before.ByteSize()


def test_int8_row_does_not_depend_on_its_batch(int8: OnnxRunner, encoder: Encoder, pair: Pair) -> None:
    batch = _batch([3, 8, 16, 11, 16, 5], 16, encoder)
    keywords = int8.keywords(batch)
    sentiments = int8.sentiments(batch, np.ones((6, len(pair.labels.keywords)), np.float32))
    for row in range(len(batch)):
        alone = Batch(batch.input_ids[row : row + 1], batch.attention_mask[row : row + 1])
        np.testing.assert_array_equal(int8.keywords(alone)[0], keywords[row])
        every = np.ones((1, len(pair.labels.keywords)), np.float32)
        np.testing.assert_array_equal(int8.sentiments(alone, every)[0], sentiments[row])


def test_int8_padding_changes_nothing_that_counts(int8: OnnxRunner, encoder: Encoder) -> None:
    short, long = (int8.keywords(_batch([8], width, encoder)) for width in (8, 32))
    np.testing.assert_allclose(short, long, atol=2e-3)


def test_int8_sums_stay_within_16_bits() -> None:
    assert 2 * (2 * ACTIVATION_MAX + 1) * WEIGHT_MAX < 2**15


def test_int8_rows_have_their_own_scale() -> None:
    weight = np.array([[0.5, -1.0, 0.25], [0, 0, 0], [300, 100, -2]], np.float32)
    integers, scales = to_int8(weight, 96)
    assert integers.dtype == np.int8
    assert np.abs(integers).max() == 96
    assert (np.abs(integers * scales[:, None] - weight) <= scales[:, None] * 0.5001).all()
    assert not integers[1].any()


def test_half_precision_keeps_float32_outside(pair: Pair, exact: OnnxRunner, encoder: Encoder) -> None:
    # A copy: the classifiers of the other tests stay float32.
    keyword = KeywordGraph(
        load_pair(pair.keyword.artifact.folder, pair.sentiment.artifact.folder).keyword.classifier, 1.5
    )
    to_half(keyword)
    graph = to_onnx(keyword)
    types = {tensor.name: tensor.type.tensor_type.elem_type for tensor in (*graph.graph.input, *graph.graph.output)}
    assert types == {
        "input_ids": onnx.TensorProto.INT64,
        "attention_mask": onnx.TensorProto.INT64,
        "keyword_probs": onnx.TensorProto.FLOAT,
    }
    batch = _batch([2, 31, 9, 17], 32, encoder)
    found = OnnxRunner(graph, graph).keywords(batch)
    np.testing.assert_allclose(found, exact.keywords(batch), atol=5e-3)
