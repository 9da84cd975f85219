"""config.pbtxt: what it says, and that the shipped one is what the code renders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from client.artifact import Artifact, newest_artifact_folder
from export.config import MODELS, Serving

SHIPPED = Path(__file__).resolve().parent.parent.parent / "model_repository"


@pytest.fixture
def serving(artifact: Artifact) -> Serving:
    return Serving(artifact.labels, artifact.labels_sha256, 7)


def _parsed(serving: Serving) -> dict[str, Any]:
    return {name: text_format.Parse(text, model_config_pb2.ModelConfig()) for name, text in serving.render().items()}


def _shape(tensors: Any) -> dict[str, tuple[str, list[int]]]:
    return {t.name: (model_config_pb2.DataType.Name(t.data_type), list(t.dims)) for t in tensors}


TOKENS = {"input_ids": ("TYPE_INT64", [-1]), "attention_mask": ("TYPE_INT64", [-1])}
KEYWORDS = {"keyword_probs": ("TYPE_FP32", [4])}
SENTIMENTS = {"sentiment_probs": ("TYPE_FP32", [5, 5])}


def test_every_model_is_pinned_to_the_version(serving: Serving) -> None:
    configs = _parsed(serving)
    assert tuple(configs) == MODELS
    for config in configs.values():
        assert list(config.version_policy.specific.versions) == [7]
        assert config.max_batch_size == 256
    assert [step.model_version for step in configs["review_analysis"].ensemble_scheduling.step] == [7, 7]


def test_tensors(serving: Serving) -> None:
    keyword, sentiment, ensemble = _parsed(serving).values()
    assert (_shape(keyword.input), _shape(keyword.output)) == (TOKENS, KEYWORDS)
    assert (_shape(sentiment.input), _shape(sentiment.output)) == (TOKENS | KEYWORDS, SENTIMENTS)
    assert (_shape(ensemble.input), _shape(ensemble.output)) == (TOKENS, KEYWORDS | SENTIMENTS)


def test_ensemble_chains_the_models(serving: Serving) -> None:
    ensemble = _parsed(serving)["review_analysis"]
    first, second = ensemble.ensemble_scheduling.step
    assert (first.model_name, second.model_name) == ("keyword_classifier", "sentiment_classifier")
    assert dict(second.input_map) == {name: name for name in (*TOKENS, "keyword_probs")}
    assert dict(second.output_map) == {"sentiment_probs": "sentiment_probs"}
    assert ensemble.platform == "ensemble"


def test_ensemble_names_what_belongs_to_it(serving: Serving, artifact: Artifact) -> None:
    parameters = {key: value.string_value for key, value in _parsed(serving)["review_analysis"].parameters.items()}
    assert parameters == {
        "tokenizer_sha256": artifact.labels.tokenizer_sha256,
        "labels_sha256": artifact.labels_sha256,
        "model_version": "1",
    }


def test_cpu(serving: Serving) -> None:
    for name in ("keyword_classifier", "sentiment_classifier"):
        config = _parsed(replace(serving, threads=3))[name]
        assert config.backend == "onnxruntime"
        assert [group.kind for group in config.instance_group] == [model_config_pb2.ModelInstanceGroup.KIND_CPU]
        assert config.parameters["intra_op_thread_count"].string_value == "3"
        assert not config.HasField("optimization")
        assert config.HasField("dynamic_batching")


@pytest.mark.parametrize("accelerator", ["cuda", "tensorrt"])
def test_gpu(serving: Serving, accelerator: Any) -> None:
    configs = _parsed(replace(serving, target="gpu", accelerator=accelerator))
    found = {}
    for name in ("keyword_classifier", "sentiment_classifier"):
        config = configs[name]
        assert [group.kind for group in config.instance_group] == [model_config_pb2.ModelInstanceGroup.KIND_GPU]
        (found[name],) = config.optimization.execution_accelerators.gpu_execution_accelerator
        for warmup in config.model_warmup:
            assert set(warmup.inputs) == {tensor.name for tensor in config.input}
            assert all(-1 not in tensor.dims for tensor in warmup.inputs.values())
    assert found["keyword_classifier"].name == accelerator
    # How many rows the sentiment model has is known only inside its graph: no engine can be built for it beforehand.
    assert found["sentiment_classifier"].name == "cuda"
    if accelerator == "tensorrt":
        parameters = found["keyword_classifier"].parameters
        assert parameters["precision_mode"] == "FP16"
        assert parameters["trt_profile_max_shapes"] == "input_ids:256x32,attention_mask:256x32"


def test_shipped_repository_is_what_the_code_renders() -> None:
    folder = newest_artifact_folder(SHIPPED)
    artifact = Artifact.load(folder)
    rendered = Serving(artifact.labels, artifact.labels_sha256, int(folder.name)).render()
    shipped = {name: (SHIPPED / name / "config.pbtxt").read_text(encoding="utf-8") for name in MODELS}
    assert shipped == rendered, "run: python -m export --configs-only --repository model_repository"
