"""Three ways to run the two models: torch, onnxruntime and Triton."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import onnx
import onnxruntime as ort
import torch
import tritonclient.grpc as triton_grpc
from numpy.typing import NDArray

from client.batching import buckets_up_to, pack, padded
from export.checkpoint import Pair
from export.config import ENSEMBLE, KEYWORD_MODEL, SENTIMENT_MODEL
from export.samples import Batch
from server.embedded import CHANNEL_ARGUMENTS

Floats = NDArray[np.float32]


class Runner(Protocol):
    """One way to run the two models."""

    def keywords(self, batch: Batch) -> Floats:
        """``keyword_probs`` [B, K]."""

    def sentiments(self, batch: Batch, keyword_probs: Floats) -> Floats:
        """``sentiment_probs`` [B, K+1, S]."""


class TorchRunner:
    """The Hugging Face classifiers themselves, a pair of review and label a row, without any of the graphs' code."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._prompts = pair.prompts()

    def keywords(self, batch: Batch) -> Floats:
        logits = _logits(self._pair.keyword.classifier, batch.input_ids, batch.attention_mask)
        probabilities: Floats = torch.sigmoid(logits / self._pair.labels.keyword_temperature).numpy()
        return probabilities

    def sentiments(self, batch: Batch, keyword_probs: Floats) -> Floats:
        labels = self._pair.labels
        result = np.zeros((len(batch), len(labels.all_labels), len(labels.sentiments)), np.float32)
        reached = keyword_probs >= np.array(labels.thresholds)
        asked = np.argwhere(np.pad(reached, ((0, 0), (0, 1)), constant_values=True))
        rows = []
        for review, label in asked:
            tokens = batch.input_ids[review, : batch.attention_mask[review].sum()].tolist()
            rows.append([*self._prompts[label], *tokens[1:]])
        for pairs in pack([len(row) for row in rows], max_rows=32, buckets=buckets_up_to(max(map(len, rows)))):
            logits = _logits(self._pair.sentiment.classifier, *padded(rows, pairs, self._pair.encoder.pad_id))
            result[tuple(asked[list(pairs.rows)].T)] = torch.softmax(logits / labels.sentiment_temperature, 1).numpy()
        return result


def _logits(classifier: Any, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> torch.Tensor:
    ids, mask = torch.from_numpy(input_ids), torch.from_numpy(attention_mask)
    with torch.inference_mode():
        logits: torch.Tensor = classifier(input_ids=ids, attention_mask=mask).logits
    return logits


class OnnxRunner:
    """The two graphs in onnxruntime on the CPU."""

    def __init__(self, keyword_graph: onnx.ModelProto, sentiment_graph: onnx.ModelProto) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        self._keyword, self._sentiment = (
            ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
            for graph in (keyword_graph, sentiment_graph)
        )

    def keywords(self, batch: Batch) -> Floats:
        output: Floats = self._keyword.run(None, _feed(batch))[0]
        return output

    def sentiments(self, batch: Batch, keyword_probs: Floats) -> Floats:
        output: Floats = self._sentiment.run(None, _feed(batch) | {"keyword_probs": keyword_probs})[0]
        return output


class TritonRunner:
    """The models of a running Triton."""

    def __init__(self, grpc_url: str) -> None:
        self._client = triton_grpc.InferenceServerClient(grpc_url, channel_args=CHANNEL_ARGUMENTS)

    def keywords(self, batch: Batch) -> Floats:
        return self._infer(KEYWORD_MODEL, _feed(batch), ["keyword_probs"])[0]

    def sentiments(self, batch: Batch, keyword_probs: Floats) -> Floats:
        return self._infer(SENTIMENT_MODEL, _feed(batch) | {"keyword_probs": keyword_probs}, ["sentiment_probs"])[0]

    def analysis(self, batch: Batch) -> tuple[Floats, Floats]:
        """``keyword_probs`` and ``sentiment_probs`` of the ensemble."""
        keywords, sentiments = self._infer(ENSEMBLE, _feed(batch), ["keyword_probs", "sentiment_probs"])
        return keywords, sentiments

    def __enter__(self) -> TritonRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def _infer(self, model: str, feed: dict[str, NDArray[np.generic]], outputs: Sequence[str]) -> list[Floats]:
        inputs = []
        for name, array in feed.items():
            kind = "FP32" if array.dtype == np.float32 else "INT64"
            inputs.append(triton_grpc.InferInput(name, list(array.shape), kind).set_data_from_numpy(array))
        requested = [triton_grpc.InferRequestedOutput(name) for name in outputs]
        result = self._client.infer(model, inputs, outputs=requested)
        return [result.as_numpy(name) for name in outputs]


def _feed(batch: Batch) -> dict[str, NDArray[np.generic]]:
    return {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
