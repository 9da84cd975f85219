"""The two ONNX graphs as torch modules, built from Hugging Face RoBERTa classifiers.

Both compute the vector of the first token only, so the last layer runs for that token alone: same result, and about a
fifth less work in a model of four layers. Position ids follow the attention mask: padding between the prompt and the
review shifts nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import onnx
import torch
from torch import Tensor, nn

OPSET = 20  # the first with Gelu; onnxruntime reads it since 1.17


class FirstTokenEncoder(nn.Module):
    """RoBERTa encoder: ``input_ids``, ``attention_mask`` int64 [B, L] to the first token's vector [B, H].

    Vectors stay in one matrix, a row a token: onnxruntime then runs each linear layer with its bias in one operator,
    and does not merge layer norms with additions into an operator that is slower on a CPU than the two.
    """

    def __init__(self, roberta: Any) -> None:
        super().__init__()
        embeddings = roberta.embeddings
        self.padding = int(roberta.config.pad_token_id)
        self.words = embeddings.word_embeddings
        # Every token has type 0: its row is a constant, added once here instead of at each call.
        positions = embeddings.position_embeddings.weight + embeddings.token_type_embeddings.weight[0]
        self.positions = nn.Embedding(positions.shape[0], positions.shape[1], _weight=positions.detach())
        self.norm = embeddings.LayerNorm
        self.layers = nn.ModuleList(Layer(layer) for layer in roberta.encoder.layer)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        rows, length = input_ids.shape
        positions = attention_mask.cumsum(1) * attention_mask + self.padding
        tokens: Tensor = self.norm(self.words(input_ids.flatten()) + self.positions(positions.flatten()))
        # Finite and within half precision: exp() of it is 0 beside any token that counts.
        bias = (attention_mask == 0)[:, None, None, :].to(tokens.dtype) * -10_000.0
        for layer in self.layers[:-1]:
            tokens = layer(tokens, tokens, bias, length)
        first: Tensor = self.layers[-1](tokens.view(rows, length, -1)[:, 0], tokens, bias, 1)
        return first


class Layer(nn.Module):
    """One transformer layer: vectors [B*asked, H] that attend to the tokens [B*L, H] of their row.

    ``bias`` [B, 1, 1, L] is added to the attention scores. Heads that pruning silenced are left out.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        attention, self.mix = layer.attention.self, layer.attention.output.dense
        size = int(attention.attention_head_size)
        self.scale = float(size) ** -0.5
        self.query, self.key, self.value = attention.query, attention.key, attention.value
        kept = heard_heads(self.mix.weight, size)
        self.heads = len(kept)
        if self.heads < attention.num_attention_heads:
            units = torch.cat([torch.arange(head * size, (head + 1) * size) for head in kept])
            self.query, self.key, self.value = (_outputs(part, units) for part in (self.query, self.key, self.value))
            self.mix = _inputs(self.mix, units)
        self.mix_norm = layer.attention.output.LayerNorm
        self.expand, self.activation = layer.intermediate.dense, layer.intermediate.intermediate_act_fn
        self.contract, self.norm = layer.output.dense, layer.output.LayerNorm

    def forward(self, queries: Tensor, tokens: Tensor, bias: Tensor, asked: int) -> Tensor:
        rows, _, _, length = bias.shape
        query = (self.query(queries) * self.scale).view(rows, asked, self.heads, -1).transpose(1, 2)
        key = self.key(tokens).view(rows, length, self.heads, -1).transpose(1, 2)
        value = self.value(tokens).view(rows, length, self.heads, -1).transpose(1, 2)
        weights = (query @ key.transpose(2, 3) + bias).softmax(-1)
        mixed = (weights @ value).transpose(1, 2).flatten(2).flatten(0, 1)
        hidden = self.mix_norm(self.mix(mixed) + queries)
        output: Tensor = self.norm(self.contract(self.activation(self.expand(hidden))) + hidden)
        return output


def heard_heads(mix: Tensor, size: int) -> list[int]:
    """The attention heads whose columns of the output projection ``mix`` [H, heads * size] are not all 0.

    The first one of a layer that has none: a layer without any head has no shape.
    """
    heard: list[int] = mix.detach().view(len(mix), -1, size).ne(0).any(2).any(0).nonzero().flatten().tolist()
    return heard or [0]


def _outputs(linear: nn.Linear, units: Tensor) -> nn.Linear:
    """A copy of a linear layer with these outputs only."""
    kept = nn.Linear(linear.in_features, len(units))
    kept.weight, kept.bias = nn.Parameter(linear.weight[units].detach()), nn.Parameter(linear.bias[units].detach())
    return kept


def _inputs(linear: nn.Linear, units: Tensor) -> nn.Linear:
    """A copy of a linear layer with these inputs only."""
    kept = nn.Linear(len(units), linear.out_features)
    kept.weight, kept.bias = nn.Parameter(linear.weight[:, units].detach()), linear.bias
    return kept


class Head(nn.Module):
    """The classification head of RoBERTa: [B, H] to logits float32 [B, C], divided by the temperature."""

    def __init__(self, head: Any, temperature: float) -> None:
        super().__init__()
        self.dense, self.out, self.temperature = head.dense, head.out_proj, temperature

    def forward(self, first: Tensor) -> Tensor:
        logits: Tensor = self.out(torch.tanh(self.dense(first)))
        return logits.float() / self.temperature


class KeywordGraph(nn.Module):
    """``input_ids``, ``attention_mask`` int64 [B, L] to ``keyword_probs`` float32 [B, K]."""

    def __init__(self, classifier: Any, temperature: float) -> None:
        super().__init__()
        self.encoder = FirstTokenEncoder(classifier.roberta)
        self.head = Head(classifier.classifier, temperature)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return torch.sigmoid(self.head(self.encoder(input_ids, attention_mask)))


class SentimentGraph(nn.Module):
    """Adds ``keyword_probs`` float32 [B, K] to the inputs and gives ``sentiment_probs`` float32 [B, K+1, S].

    The encoder runs once for each (review, keyword) pair whose probability reaches the keyword's threshold, and once
    a review for the overall label (row K). Rows of keywords that were not reached are 0.

    ``prompts`` holds the K+1 framed prompts, ``<s> … </s>``, as token ids.
    """

    prompts: Tensor
    prompt_mask: Tensor
    thresholds: Tensor

    def __init__(
        self, classifier: Any, temperature: float, thresholds: Sequence[float], prompts: Sequence[Sequence[int]]
    ) -> None:
        super().__init__()
        self.encoder = FirstTokenEncoder(classifier.roberta)
        self.head = Head(classifier.classifier, temperature)
        longest = max(map(len, prompts))
        padding = self.encoder.padding
        self.register_buffer("prompts", torch.tensor([[*p, *[padding] * (longest - len(p))] for p in prompts]))
        self.register_buffer("prompt_mask", torch.tensor([[*[1] * len(p), *[0] * (longest - len(p))] for p in prompts]))
        self.register_buffer("thresholds", torch.from_numpy(thresholds_float32(thresholds)))

    def forward(self, input_ids: Tensor, attention_mask: Tensor, keyword_probs: Tensor) -> Tensor:
        reached = keyword_probs >= self.thresholds
        asked = torch.cat([reached, torch.ones_like(reached[:, :1])], 1)
        reviews, labels = asked.nonzero(as_tuple=True)
        ids = torch.cat([self.prompts[labels], input_ids[reviews, 1:]], 1)
        mask = torch.cat([self.prompt_mask[labels], attention_mask[reviews, 1:]], 1)
        probabilities = self.head(self.encoder(ids, mask)).softmax(-1)
        empty = probabilities.new_zeros(*asked.shape, probabilities.shape[1])
        return torch.index_put(empty, (reviews, labels), probabilities)


def thresholds_float32(thresholds: Sequence[float]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The smallest float32 not below each threshold: comparing a float32 with it decides as the float64 would."""
    exact = np.asarray(thresholds, dtype=np.float64)
    rounded = exact.astype(np.float32)
    return np.where(rounded < exact, np.nextafter(rounded, np.float32(2)), rounded).astype(np.float32)


def to_half(graph: KeywordGraph | SentimentGraph) -> None:
    """Turn encoder and head to float16 in place. Thresholds, inputs and outputs stay float32."""
    graph.encoder.half()
    graph.head.half()


def to_onnx(graph: KeywordGraph | SentimentGraph) -> onnx.ModelProto:
    """Export with dynamic batch and sequence."""
    ids = torch.full((2, 6), graph.encoder.padding + 1)
    batch, sequence = torch.export.Dim("batch"), torch.export.Dim("sequence", min=2)
    arguments, shapes = [ids, torch.ones_like(ids)], [{0: batch, 1: sequence}, {0: batch, 1: sequence}]
    names, output = ["input_ids", "attention_mask"], "keyword_probs"
    if isinstance(graph, SentimentGraph):
        arguments.append(torch.ones(2, len(graph.thresholds)))
        shapes.append({0: batch})
        names, output = [*names, output], "sentiment_probs"
    with warnings.catch_warnings():
        # torch's own exporter calls what torch deprecates.
        warnings.filterwarnings("ignore", r".*isinstance\(treespec, LeafSpec\)", FutureWarning)
        # Both inputs name their axes, on purpose: it is how they are told to be equal.
        warnings.filterwarnings("ignore", "# The axis name: (batch|sequence) will not be used", UserWarning)
        program = torch.onnx.export(
            graph.eval(),
            tuple(arguments),
            dynamo=True,
            external_data=False,
            opset_version=OPSET,
            input_names=names,
            output_names=[output],
            dynamic_shapes=tuple(shapes),
            verbose=False,
        )
    model = cast("torch.onnx.ONNXProgram", program).model_proto
    # The exporter's notes hold stack traces with paths of this machine.
    model.ClearField("metadata_props")
    del model.graph.value_info[:], model.graph.metadata_props[:]
    for part in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return model
