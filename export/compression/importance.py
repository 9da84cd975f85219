"""How much the loss would change without a head, a feed-forward unit or a layer: first-order estimates.

With a gate of 1 on a part, the derivative of the loss by the gate is the sum of activation times gradient. Its
absolute value for each review, added up, ranks the parts: for heads Michel et al. 2019 (arXiv:1905.10650, equation 2),
for units Molchanov et al. 2019 (arXiv:1906.10771, first order, on activations as in arXiv:1611.06440), for layers the
same with the gate on what the layer adds to its input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Batch = dict[str, Tensor]
Loss = Callable[[Tensor, Batch], Tensor]


@dataclass(frozen=True)
class Importance:
    """FP64: ``heads`` [L, heads], ``units`` [L, intermediate], ``layers`` [L]; only the order within one matters.

    Heads are scaled to length 1 in each layer, which makes layers comparable (Molchanov et al. 2017).
    """

    heads: NDArray[np.float64]
    units: NDArray[np.float64]
    layers: NDArray[np.float64]


def estimate(classifier: Any, batches: Iterable[Batch], loss: Loss) -> Importance:
    """Estimate on batches with ``input_ids``, ``attention_mask`` and what ``loss(logits, batch)`` needs.

    Raises:
        ValueError: there is no batch.
    """
    layers = classifier.roberta.encoder.layer
    size = layers[0].attention.self.attention_head_size
    classifier.eval()
    total: list[NDArray[np.float64]] | None = None
    for batch in batches:
        with _Recorder(layers) as recorded:
            logits = classifier(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
            # The loss is a mean: without its factor, reviews of small batches would count more.
            value = loss(logits, batch) * len(logits)
            captured = [*recorded.contexts, *recorded.units, *recorded.outputs]
            gradients = torch.autograd.grad(value, captured)
        count = len(layers)
        products = [(c * g).detach() for c, g in zip(captured[: 2 * count], gradients[: 2 * count], strict=True)]
        heads = torch.stack([p.sum(1).view(len(p), -1, size).sum(2) for p in products[:count]], 1)
        units = torch.stack([p.sum(1) for p in products[count:]], 1)
        added = [out - into for into, out in zip(recorded.inputs, recorded.outputs, strict=True)]
        depth = torch.stack(
            [(a * g).detach().sum((1, 2)) for a, g in zip(added, gradients[2 * count :], strict=True)], 1
        )
        found = [values.abs().sum(0).double().numpy() for values in (heads, units, depth)]
        total = found if total is None else [a + b for a, b in zip(total, found, strict=True)]
    if total is None:
        raise ValueError("no batch to estimate importance on")
    by_head, by_unit, by_layer = total
    norms = np.linalg.norm(by_head, axis=1, keepdims=True)
    return Importance(by_head / np.maximum(norms, np.finfo(float).tiny), by_unit, by_layer)


class _Recorder:
    """Holds, of one forward pass, each layer's input and output [B, T, H], the heads' vectors and the units."""

    def __init__(self, layers: Iterable[Any]) -> None:
        self.contexts: list[Tensor] = []
        self.units: list[Tensor] = []
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []
        self._layers = layers
        self._hooks: list[Any] = []

    def __enter__(self) -> _Recorder:
        def into(kept: list[Tensor]) -> Callable[[Any, tuple[Tensor, ...]], None]:
            return lambda _module, arguments: kept.append(arguments[0])

        for layer in self._layers:
            self._hooks += [
                layer.attention.output.dense.register_forward_pre_hook(into(self.contexts)),
                layer.output.dense.register_forward_pre_hook(into(self.units)),
                layer.register_forward_pre_hook(into(self.inputs)),
                layer.register_forward_hook(lambda _module, _arguments, output: self.outputs.append(output)),
            ]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
