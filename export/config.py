"""The ``config.pbtxt`` of the three models, rendered from one description."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as triton

from client.artifact import Labels

KEYWORD_MODEL, SENTIMENT_MODEL, ENSEMBLE = "keyword_classifier", "sentiment_classifier", "review_analysis"
MODELS = (KEYWORD_MODEL, SENTIMENT_MODEL, ENSEMBLE)
HEADER = "# Written by `python -m export` from export/config.py: change it there.\n"

Target = Literal["cpu", "gpu"]
Accelerator = Literal["cuda", "tensorrt"]
Tensor = tuple[str, str, tuple[int, ...]]

MAX_BATCH_SIZE = 256
# Shapes of the warm-up, and of the engine that TensorRT builds then: rows x tokens.
SMALLEST, USUAL = (1, 8), (64, 64)
TOKENS: tuple[Tensor, ...] = (("input_ids", "TYPE_INT64", (-1,)), ("attention_mask", "TYPE_INT64", (-1,)))


@dataclass(frozen=True)
class Serving:
    """All that the three configurations say.

    ``labels_sha256`` is the digest of the ``labels.json`` that is served. ``threads`` are onnxruntime's threads a model
    on a CPU, 0 for one a core. ``accelerator`` counts on a GPU: ``tensorrt`` compiles the keyword model, which does
    nearly all of the work, on its first start (minutes; the engine is kept in ``engine_cache``); the sentiment model,
    whose rows are known only inside its graph, stays with ``cuda``.
    """

    labels: Labels
    labels_sha256: str
    version: int
    target: Target = "cpu"
    threads: int = 0
    accelerator: Accelerator = "cuda"
    engine_cache: str = "/tmp/reviewlens-engines"  # noqa: S108 - a path on the server, which only Triton writes

    @property
    def keyword_probs(self) -> Tensor:
        return "keyword_probs", "TYPE_FP32", (len(self.labels.keywords),)

    @property
    def sentiment_probs(self) -> Tensor:
        return "sentiment_probs", "TYPE_FP32", (len(self.labels.all_labels), len(self.labels.sentiments))

    def render(self) -> dict[str, str]:
        """The text of ``config.pbtxt`` for each model."""
        return {config.name: HEADER + _text(config) for config in self._configs()}

    def _configs(self) -> tuple[Any, Any, Any]:
        return (
            self._classifier(KEYWORD_MODEL, TOKENS, self.keyword_probs, self.accelerator),
            self._classifier(SENTIMENT_MODEL, (*TOKENS, self.keyword_probs), self.sentiment_probs, "cuda"),
            self._ensemble(),
        )

    def _base(self, name: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Any:
        return triton.ModelConfig(
            name=name,
            max_batch_size=MAX_BATCH_SIZE,
            version_policy={"specific": {"versions": [self.version]}},
            input=[{"name": n, "data_type": kind, "dims": dims} for n, kind, dims in inputs],
            output=[{"name": n, "data_type": kind, "dims": dims} for n, kind, dims in outputs],
        )

    def _classifier(self, name: str, inputs: Sequence[Tensor], output: Tensor, accelerator: Accelerator) -> Any:
        config = self._base(name, inputs, [output])
        config.backend = "onnxruntime"
        # Nothing waits for company: requests of equal shape that queue behind a running batch are merged.
        config.dynamic_batching.max_queue_delay_microseconds = 0
        if self.target == "cpu":
            config.instance_group.add(kind="KIND_CPU", count=1)
            config.dynamic_batching.preferred_batch_size[:] = [16, 64]
            config.parameters["intra_op_thread_count"].string_value = str(self.threads)
            # Shapes vary with every batch: without it, the arena keeps the sum of what the largest of each took.
            config.parameters["memory.enable_memory_arena_shrinkage"].string_value = "cpu:0"
            return config
        config.instance_group.add(kind="KIND_GPU", count=1)
        config.dynamic_batching.preferred_batch_size[:] = [64, MAX_BATCH_SIZE]
        for rows, tokens in (SMALLEST, USUAL):
            warmup = config.model_warmup.add(name=f"{rows}x{tokens}", batch_size=rows)
            for tensor, kind, dims in inputs:
                sizes = [tokens if size == -1 else size for size in dims]
                warmup.inputs[tensor].CopyFrom(triton.ModelWarmup.Input(data_type=kind, dims=sizes, zero_data=True))
        parameters = self._tensorrt() if accelerator == "tensorrt" else {}
        config.optimization.execution_accelerators.gpu_execution_accelerator.add(
            name=accelerator, parameters=parameters
        )
        return config

    def _tensorrt(self) -> dict[str, str]:
        def shapes(rows: int, tokens: int) -> str:
            return ",".join(f"{name}:{rows}x{tokens}" for name, _, _ in TOKENS)

        return {
            "precision_mode": "FP16",
            "trt_engine_cache_enable": "true",
            "trt_engine_cache_path": self.engine_cache,
            "trt_profile_min_shapes": shapes(1, 2),
            "trt_profile_opt_shapes": shapes(*USUAL),
            "trt_profile_max_shapes": shapes(MAX_BATCH_SIZE, self.labels.max_length),
        }

    def _ensemble(self) -> Any:
        config = self._base(ENSEMBLE, TOKENS, [self.keyword_probs, self.sentiment_probs])
        config.platform = "ensemble"
        tokens = [name for name, _, _ in TOKENS]
        for model, inputs, output in (
            (KEYWORD_MODEL, tokens, "keyword_probs"),
            (SENTIMENT_MODEL, [*tokens, "keyword_probs"], "sentiment_probs"),
        ):
            config.ensemble_scheduling.step.add(
                model_name=model,
                model_version=self.version,
                input_map={name: name for name in inputs},
                output_map={output: output},
            )
        for key, value in {
            "tokenizer_sha256": self.labels.tokenizer_sha256,
            "labels_sha256": self.labels_sha256,
            "model_version": self.labels.model_version,
        }.items():
            config.parameters[key].string_value = value
        return config


def _text(config: Any) -> str:
    return text_format.MessageToString(config, as_utf8=True, use_short_repeated_primitives=True)
