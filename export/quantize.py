"""int8 for CPUs: linear layers of the encoder in integer arithmetic, embedding tables stored as int8.

Activations are quantized while the model runs, with one scale a token. The usual dynamic quantization has one scale a
batch, so that a review's probabilities depend on its batch mates; highlights compare probabilities of different
batches, hence a scale of its own for each token. Weights have a scale for each output, embeddings for each row.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

# Processors without VNNI multiply in pairs and saturate the sum at 16 bits: 2 * 169 * 96 still fits. The full 8 bits
# would make the results depend on the processor. Activations take 1 to 169, that is -84 to 84 around 85.
WEIGHT_MAX = 96
ACTIVATION_MAX = 84
EMBEDDING_MAX = 127

CONTRIB = "com.microsoft"
LAYERS, EMBEDDINGS = "encoder.layers.", ("encoder.words.weight", "encoder.positions.weight")


def quantize(model: onnx.ModelProto) -> onnx.ModelProto:
    """An int8 copy of a float32 graph that ``graphs.to_onnx`` wrote. The classification head stays float32."""
    return _rewrite(model, linears=True)


def quantize_embeddings(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose embedding tables alone are int8: they are stored smaller, and what is computed stays float32."""
    return _rewrite(model, linears=False)


def _rewrite(model: onnx.ModelProto, *, linears: bool) -> onnx.ModelProto:
    quantized = onnx.ModelProto()
    quantized.CopyFrom(model)
    writer = _Writer(quantized.graph)
    if linears:
        writer.constants()
    for node in model.graph.node:
        if linears and node.op_type == "Gemm" and node.input[1].startswith(LAYERS):
            writer.linear(node)
        elif node.op_type == "Gather" and node.input[0] in EMBEDDINGS:
            writer.embedding(node)
        else:
            writer.nodes.append(node)
    del quantized.graph.node[:]
    quantized.graph.node.extend(writer.nodes)
    del quantized.graph.initializer[:]
    quantized.graph.initializer.extend(writer.initializers.values())
    quantized.opset_import.append(helper.make_opsetid(CONTRIB, 1))
    return quantized


class _Writer:
    """Collects the nodes and initializers of the new graph."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers = {tensor.name: tensor for tensor in graph.initializer}
        self._activations: set[str] = set()

    def constants(self) -> None:
        """What the linear layers share."""
        self._constant("int8.one", np.float32(1))
        self._constant("int8.axis", np.array([1], np.int64))
        self._constant("int8.activation_max", np.float32(ACTIVATION_MAX))
        # A token of zeros has no scale: the smallest one keeps its quotients finite.
        self._constant("int8.tiny", np.float32(1e-20))
        self._constant("int8.zero", np.array(ACTIVATION_MAX + 1, np.uint8))
        self._constant("int8.zero_row", np.array([ACTIVATION_MAX + 1], np.uint8))

    def linear(self, node: onnx.NodeProto) -> None:
        """``x @ weight.T + bias`` with x [R, I], weight [O, I]; the exporter leaves out a bias of zeros."""
        tokens, weight, *bias = node.input
        output = node.output[0]
        self._quantize_tokens(tokens)
        self._quantize_weight(weight, WEIGHT_MAX, by_column=True)
        product = [f"{tokens}.int8", f"{weight}.int8", "int8.one", f"{weight}.scale", "int8.zero"]
        self._node("MatMulIntegerToFloat", product, f"{output}.unscaled", domain=CONTRIB)
        scaled = f"{output}.unbiased" if bias else output
        self._node("Mul", [f"{output}.unscaled", f"{tokens}.scale"], scaled)
        if bias:
            self._node("Add", [scaled, *bias], output)

    def embedding(self, node: onnx.NodeProto) -> None:
        """Rows of a table [V, H]: only the rows that are looked up are turned to float32."""
        table, rows = node.input
        output = node.output[0]
        self._quantize_weight(table, EMBEDDING_MAX, by_column=False)
        self._node("Gather", [f"{table}.int8", rows], f"{output}.int8")
        self._node("Cast", [f"{output}.int8"], f"{output}.unscaled", to=TensorProto.FLOAT)
        self._node("Gather", [f"{table}.scale", rows], f"{output}.scale")
        self._node("Mul", [f"{output}.unscaled", f"{output}.scale"], output)

    def _quantize_tokens(self, tokens: str) -> None:
        """``tokens`` float32 [R, I] to ``tokens.int8`` uint8 [R, I] and ``tokens.scale`` float32 [R, 1], once."""
        if tokens in self._activations:
            return
        self._activations.add(tokens)
        scale, flat = f"{tokens}.scale", f"{tokens}.scale_row"
        self._node("Abs", [tokens], f"{tokens}.abs")
        self._node("ReduceMax", [f"{tokens}.abs", "int8.axis"], f"{tokens}.max", keepdims=1)
        self._node("Div", [f"{tokens}.max", "int8.activation_max"], f"{tokens}.scale_or_0")
        self._node("Max", [f"{tokens}.scale_or_0", "int8.tiny"], scale)
        self._node("Squeeze", [scale, "int8.axis"], flat)
        self._node("Shape", [flat], f"{tokens}.rows")
        self._node("Expand", ["int8.zero_row", f"{tokens}.rows"], f"{tokens}.zero")
        self._node("QuantizeLinear", [tokens, flat, f"{tokens}.zero"], f"{tokens}.int8", axis=0)

    def _quantize_weight(self, name: str, largest: int, *, by_column: bool) -> None:
        """Replace float32 ``name`` [O, I] by ``name.int8`` [I, O] or [O, I] and ``name.scale`` [O] or [O, 1], once."""
        if name not in self.initializers:
            return
        integers, scales = to_int8(numpy_helper.to_array(self.initializers.pop(name)), largest)
        self._constant(f"{name}.int8", np.ascontiguousarray(integers.T) if by_column else integers)
        self._constant(f"{name}.scale", scales if by_column else scales[:, None])

    def _node(self, operator: str, inputs: list[str], output: str, domain: str = "", **attributes: Any) -> None:
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, domain=domain, **attributes))

    def _constant(self, name: str, value: NDArray[np.generic] | np.generic) -> None:
        self.initializers[name] = numpy_helper.from_array(np.asarray(value), name)


def to_int8(weight: NDArray[Any], largest: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Rows of ``weight`` [O, I] as int8 in ±``largest`` and a scale [O] each: ``weight ≈ int8 * scale``."""
    scales = (np.abs(weight).max(1) / largest).astype(np.float32)
    scales[scales == 0] = 1
    return np.round(weight / scales[:, None]).astype(np.int8), scales
