"""Pruned classifiers compute what the whole ones do without the pruned parts, and stay ordinary checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import RobertaForSequenceClassification

from client.artifact import Artifact
from client.errors import InvalidInputError
from export.checkpoint import load_pair
from export.compression.importance import estimate
from export.compression.prune import prune_feed_forward, prune_heads, prune_layers, prune_magnitude
from export.graphs import KeywordGraph
from tests.functional.export.tiny_checkpoints import write_checkpoints

LAYERS, HEADS, SIZE, WIDTH = 2, 2, 32, 128
MakeClassifier = Callable[[], Any]


@pytest.fixture(scope="module")
def make(artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> MakeClassifier:
    """The same classifier of random weights anew."""
    folders = write_checkpoints(tmp_path_factory.mktemp("checkpoints"), artifact)
    return lambda: load_pair(*folders).keyword.classifier


@pytest.fixture(scope="module")
def batch() -> dict[str, Tensor]:
    ids = torch.from_numpy(np.random.default_rng(0).integers(5, 1000, (6, 12)))
    mask = torch.ones_like(ids)
    mask[0, 7:] = 0
    ids[0, 7:] = 1
    return {"input_ids": ids, "attention_mask": mask}


def _logits(classifier: Any, batch: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        logits: Tensor = classifier.eval()(**batch).logits
    return logits


def _silence_while_running(module: Any, units: list[int]) -> None:
    """Set some of a module's inputs to 0, whatever they are."""

    def hook(_module: Any, arguments: tuple[Tensor, ...]) -> tuple[Tensor]:
        silenced = arguments[0].clone()
        silenced[..., units] = 0
        return (silenced,)

    module.register_forward_pre_hook(hook)


def test_heads_are_left_out(make: MakeClassifier, batch: dict[str, Tensor]) -> None:
    pruned, masked = make(), make()
    assert prune_heads(pruned, np.array([[3.0, 1.0], [2.0, 4.0]]), 0.5) == [(0, 1), (1, 0)]
    _silence_while_running(masked.roberta.encoder.layer[0].attention.output.dense, list(range(SIZE, 2 * SIZE)))
    _silence_while_running(masked.roberta.encoder.layer[1].attention.output.dense, list(range(SIZE)))
    expected = _logits(masked, batch)
    torch.testing.assert_close(_logits(pruned, batch), expected)
    graph = KeywordGraph(pruned, 1.0).eval()
    torch.testing.assert_close(graph(**batch), torch.sigmoid(expected))
    layers: Any = graph.encoder.layers
    assert [layer.heads for layer in layers] == [1, 1]
    assert [layer.query.weight.shape for layer in layers] == [(SIZE, 2 * SIZE)] * 2
    assert not torch.allclose(expected, _logits(make(), batch), atol=1e-3), "the heads counted before"


def test_a_layer_keeps_one_head(make: MakeClassifier) -> None:
    classifier = make()
    assert prune_heads(classifier, np.array([[1.0, 2.0], [3.0, 4.0]]), 0.9) == [(0, 0), (1, 0)]
    # Pruned again, no head is left to take.
    assert prune_heads(classifier, np.array([[1.0, 2.0], [3.0, 4.0]]), 0.9) == []


def test_training_does_not_wake_a_pruned_head(make: MakeClassifier, batch: dict[str, Tensor]) -> None:
    classifier = make().train()
    prune_heads(classifier, np.array([[3.0, 1.0], [2.0, 4.0]]), 0.5)
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=1e-2, weight_decay=0.01)
    before = classifier.roberta.encoder.layer[0].attention.output.dense.weight.detach().clone()
    for _ in range(5):
        optimizer.zero_grad()
        classifier(**batch).logits.square().sum().backward()
        optimizer.step()
    layers: Any = KeywordGraph(classifier, 1.0).encoder.layers
    assert [layer.heads for layer in layers] == [1, 1]
    assert not torch.equal(classifier.roberta.encoder.layer[0].attention.output.dense.weight, before)


def test_feed_forward_units_are_cut(make: MakeClassifier, batch: dict[str, Tensor]) -> None:
    pruned, masked = make(), make()
    importance = np.random.default_rng(1).random((LAYERS, WIDTH))
    assert prune_feed_forward(pruned, importance, 0.5) == WIDTH // 2
    for layer, scores in zip(masked.roberta.encoder.layer, importance, strict=True):
        _silence_while_running(layer.output.dense, np.argsort(scores)[: WIDTH // 2].tolist())
    torch.testing.assert_close(_logits(pruned, batch), _logits(masked, batch))
    assert pruned.config.intermediate_size == WIDTH // 2


@pytest.mark.parametrize(("share", "width"), [(0.01, 128), (0.3, 96), (0.99, 16)])
def test_widths_are_whole_blocks(make: MakeClassifier, share: float, width: int) -> None:
    assert prune_feed_forward(make(), np.ones((LAYERS, WIDTH)), share) == width


def test_layers_are_cut(make: MakeClassifier, batch: dict[str, Tensor]) -> None:
    pruned, skipping = make(), make()
    assert prune_layers(pruned, np.array([1.0, 2.0]), 1) == [1]
    skipping.roberta.encoder.layer[0].register_forward_hook(lambda _module, arguments, _output: arguments[0])
    torch.testing.assert_close(_logits(pruned, batch), _logits(skipping, batch))
    with pytest.raises(InvalidInputError, match="layers=1: the model has 1 layers"):
        prune_layers(pruned, np.array([1.0]), 1)


def test_the_smallest_weights_become_zero(make: MakeClassifier) -> None:
    before, after = make(), make()
    prune_magnitude(after, 0.4)
    parts = [
        torch.cat([p.detach().flatten() for name, p in c.roberta.encoder.named_parameters() if p.dim() == 2])
        for c in (before, after)
    ]
    zero = parts[1] == 0
    assert zero.float().mean() == pytest.approx(0.4, abs=1e-3)
    assert parts[0][zero].abs().max() <= parts[0][~zero].abs().min()
    assert torch.equal(parts[0][~zero], parts[1][~zero])


def test_a_pruned_classifier_is_an_ordinary_checkpoint(
    make: MakeClassifier, batch: dict[str, Tensor], tmp_path: Path
) -> None:
    classifier = make()
    prune_layers(classifier, np.array([2.0, 1.0]), 1)
    prune_feed_forward(classifier, np.random.default_rng(1).random((1, WIDTH)), 0.5)
    prune_heads(classifier, np.array([[1.0, 2.0]]), 0.5)
    classifier.save_pretrained(tmp_path)
    again = RobertaForSequenceClassification.from_pretrained(tmp_path)
    torch.testing.assert_close(_logits(again, batch), _logits(classifier, batch))
    assert (again.config.num_hidden_layers, again.config.intermediate_size) == (1, WIDTH // 2)


def test_importance_is_the_derivative_by_a_gate(make: MakeClassifier, batch: dict[str, Tensor]) -> None:
    classifier, step = make().double(), 1e-5
    one = {name: values[1:2] for name, values in batch.items()}

    def loss(logits: Tensor, _: dict[str, Tensor]) -> Tensor:
        return logits.square().mean()

    def gated(module: Any, units: list[int], gate: float) -> float:
        def hook(_module: Any, arguments: tuple[Tensor, ...]) -> tuple[Tensor]:
            scaled = arguments[0].clone()
            scaled[..., units] *= gate
            return (scaled,)

        handle = module.register_forward_pre_hook(hook)
        value = float(_logits(classifier, one).square().mean())
        handle.remove()
        return value

    def derivative(module: Any, units: list[int]) -> float:
        return abs(gated(module, units, 1 + step) - gated(module, units, 1 - step)) / (2 * step)

    found = estimate(classifier, [one], loss)
    for number, layer in enumerate(classifier.roberta.encoder.layer):
        heads: list[float] = [
            derivative(layer.attention.output.dense, list(range(h * SIZE, (h + 1) * SIZE))) for h in range(HEADS)
        ]
        np.testing.assert_allclose(found.heads[number], np.array(heads) / np.linalg.norm(np.array(heads)), rtol=1e-4)
        for unit in (0, 77):
            assert found.units[number, unit] == pytest.approx(derivative(layer.output.dense, [unit]), rel=1e-4)

    def added(gate: float) -> float:
        hook = classifier.roberta.encoder.layer[0].register_forward_hook(
            lambda _module, arguments, output: arguments[0] + gate * (output - arguments[0])
        )
        value = float(_logits(classifier, one).square().mean())
        hook.remove()
        return value

    assert found.layers[0] == pytest.approx(abs(added(1 + step) - added(1 - step)) / (2 * step), rel=1e-4)


def test_importance_counts_reviews_alike_whatever_their_batch(make: MakeClassifier, batch: dict[str, Tensor]) -> None:
    classifier = make().double()
    rows = [{name: values[i : i + 1] for name, values in batch.items()} for i in range(6)]
    together, apart = (
        estimate(classifier, batches, lambda logits, _: logits.square().mean()) for batches in ([batch], rows)
    )
    np.testing.assert_allclose(together.units, apart.units, rtol=1e-6)
    np.testing.assert_allclose(together.layers, apart.layers, rtol=1e-6)
    with pytest.raises(ValueError, match="no batch"):
        estimate(classifier, [], lambda logits, _: logits.mean())
