"""What the embedded Triton refuses to whoever reaches its port."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from server.embedded import CHANNEL_ARGUMENTS, EmbeddedTriton


@pytest.fixture
def client(tiny_triton: EmbeddedTriton) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(tiny_triton.grpc_url, channel_args=CHANNEL_ARGUMENTS) as client:
        yield client


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.get_system_shared_memory_status(),
        lambda client: client.register_system_shared_memory("region", "/reviewlens", 64),
        lambda client: client.unregister_cuda_shared_memory(),
        lambda client: client.get_trace_settings(),
        lambda client: client.update_trace_settings(settings={"trace_file": "/tmp/trace"}),  # noqa: S108
        lambda client: client.update_log_settings({"log_verbose_level": 1}),
    ],
)
def test_shared_memory_traces_and_logging_are_closed(
    client: InferenceServerClient, call: Callable[[InferenceServerClient], object]
) -> None:
    with pytest.raises(InferenceServerException, match="This protocol is restricted"):
        call(client)


def test_models_cannot_be_loaded_or_unloaded(client: InferenceServerClient) -> None:
    for call in (client.load_model, client.unload_model):
        with pytest.raises(InferenceServerException, match="not allowed"):
            call("review_analysis")


def test_what_the_front_door_needs_is_open(client: InferenceServerClient) -> None:
    assert client.is_server_ready()
    assert client.get_model_config("review_analysis").config.name == "review_analysis"
    assert len(client.get_model_repository_index().models) == 3
    assert client.get_inference_statistics().model_stats
    rows = np.ones((1, 8), np.int64)
    inputs = [InferInput(name, [1, 8], "INT64") for name in ("input_ids", "attention_mask")]
    for tensor in inputs:
        tensor.set_data_from_numpy(rows)
    assert client.infer("review_analysis", inputs).as_numpy("keyword_probs").shape[0] == 1
