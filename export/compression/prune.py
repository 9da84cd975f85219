"""Pruning of a classifier, in place. What remains is an ordinary RoBERTa checkpoint that trains and exports as before.

Layers and feed-forward units are cut out, and the configuration says so. It has no word for heads, though: a layer has
``hidden_size / num_attention_heads`` units a head, in every layer alike. So a pruned head stays in the checkpoint as
zeros, and the exported graph leaves it out. Training does not wake it: with value and output weights of zero, the
gradients of all its weights are zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils import prune as torch_prune

from client.errors import InvalidInputError
from export.graphs import heard_heads

# Widths are kept at multiples of this: matrix kernels work in blocks.
UNIT_BLOCK = 16


def prune_heads(classifier: Any, importance: NDArray[np.float64], share: float) -> list[tuple[int, int]]:
    """Silence the given share of the heads, least important first; a layer keeps one at least.

    Args:
        importance: [L, heads], comparable across layers.

    Returns the (layer, head) pairs that were silenced.
    """
    layers = classifier.roberta.encoder.layer
    size = layers[0].attention.self.attention_head_size
    heard = [heard_heads(layer.attention.output.dense.weight, size) for layer in layers]
    wanted = round(share * sum(map(len, heard)))
    silenced: list[tuple[int, int]] = []
    for flat in np.argsort(importance, axis=None, kind="stable"):
        layer, head = (int(i) for i in np.unravel_index(flat, importance.shape))
        if len(silenced) < wanted and head in heard[layer] and len(heard[layer]) > 1:
            silenced.append((layer, head))
            heard[layer].remove(head)
    with torch.no_grad():
        for layer, head in silenced:
            attention, span = layers[layer].attention, slice(head * size, (head + 1) * size)
            for part in (attention.self.query, attention.self.key, attention.self.value):
                part.weight[span] = 0
                part.bias[span] = 0
            attention.output.dense.weight[:, span] = 0
    return silenced


def prune_feed_forward(classifier: Any, importance: NDArray[np.float64], share: float) -> int:
    """Cut the given share of each layer's feed-forward units, least important first; the width that is left.

    Args:
        importance: [L, intermediate]
    """
    width = importance.shape[1]
    blocks = round((1 - share) * width / UNIT_BLOCK)
    kept_width = min(width, max(1, blocks) * UNIT_BLOCK)
    for layer, scores in zip(classifier.roberta.encoder.layer, importance, strict=True):
        units = torch.from_numpy(np.sort(np.argsort(-scores, kind="stable")[:kept_width]))
        expand, contract = layer.intermediate.dense, layer.output.dense
        expand.weight, expand.bias = nn.Parameter(expand.weight[units]), nn.Parameter(expand.bias[units])
        contract.weight = nn.Parameter(contract.weight[:, units])
        expand.out_features = contract.in_features = kept_width
    classifier.config.intermediate_size = kept_width
    return kept_width


def prune_layers(classifier: Any, importance: NDArray[np.float64], count: int) -> list[int]:
    """Cut the ``count`` least important layers; the numbers of those that are left.

    Args:
        importance: [L]

    Raises:
        InvalidInputError: no layer would be left.
    """
    layers = classifier.roberta.encoder.layer
    if count >= len(layers):
        raise InvalidInputError(f"layers={count}: the model has {len(layers)} layers and needs one; prune fewer")
    kept = sorted(int(i) for i in np.argsort(-importance, kind="stable")[: len(layers) - count])
    classifier.roberta.encoder.layer = nn.ModuleList(layers[i] for i in kept)
    classifier.config.num_hidden_layers = len(kept)
    return kept


def prune_magnitude(classifier: Any, share: float) -> None:
    """Set the share of smallest weights of all the encoder's linear layers to 0 (Han et al. 2015, arXiv:1506.02626).

    Dense kernels multiply by zeros as by anything else: what is saved is download size, once compressed, not time.
    """
    linear = [(m, "weight") for m in classifier.roberta.encoder.modules() if isinstance(m, nn.Linear)]
    torch_prune.global_unstructured(linear, pruning_method=torch_prune.L1Unstructured, amount=share)
    for module, name in linear:
        torch_prune.remove(module, name)  # type: ignore[no-untyped-call]
