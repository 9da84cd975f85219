"""The two int8 forms of onnxruntime's own quantizer, to measure beside ``export.quantize``.

Both quantize the linear layers of the encoder as ``export.quantize`` does, and take its int8 embedding tables.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from export.quantize import LAYERS, quantize_embeddings

Feed = dict[str, Any]


class _Feeds(CalibrationDataReader):  # type: ignore[misc]
    """The feeds, one at a time."""

    def __init__(self, feeds: Iterable[Feed]) -> None:
        self._feeds: Iterator[Feed] = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self._feeds, None)


def static_int8(model: onnx.ModelProto, feeds: Sequence[Feed]) -> onnx.ModelProto:
    """An int8 copy whose activation scales are fixed: the range of each tensor on ``feeds``, inputs of the graph.

    Weights have a scale for each output and 7 bits, so that processors without VNNI do not saturate.
    """
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder, "model.onnx")
        quantize_static(
            quantize_embeddings(model),
            path,
            _Feeds(feeds),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=_encoder_linears(model),
            calibrate_method=CalibrationMethod.MinMax,
        )
        return onnx.load(path)


def dynamic_int8(model: onnx.ModelProto) -> onnx.ModelProto:
    """An int8 copy with one activation scale for the whole batch, found while the model runs."""
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder, "model.onnx")
        quantize_dynamic(
            quantize_embeddings(model),
            path,
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            # The quantizer splits each Gemm first, and asks for the names that it gives to the parts.
            nodes_to_quantize=[f"{name}_MatMul" for name in _encoder_linears(model)],
        )
        return onnx.load(path)


def _encoder_linears(model: onnx.ModelProto) -> list[str]:
    return [n.name for n in model.graph.node if n.op_type == "Gemm" and n.input[1].startswith(LAYERS)]


class _quiet:  # noqa: N801 - a context manager
    """onnxruntime's quantizer advises on the root logger to preprocess, which the exporter's graphs do not need."""

    def __enter__(self) -> None:
        self._before = logging.root.manager.disable
        logging.disable(logging.WARNING)

    def __exit__(self, *_: object) -> None:
        logging.disable(self._before)
