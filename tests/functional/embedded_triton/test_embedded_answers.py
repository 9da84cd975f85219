"""The embedded Triton with the stand-in backend answers over gRPC as numpy does, alone and under load."""

from __future__ import annotations

import re
import shutil
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException

from server.embedded import CHANNEL_ARGUMENTS, EmbeddedTriton
from tests.functional.embedded_triton.tiny_models import (
    KEYWORDS,
    VOCABULARY,
    expected_keywords,
    expected_sentiments,
)

Ids = npt.NDArray[np.int64]
BOTH = ["keyword_probs", "sentiment_probs"]


def tokens(batch: int, length: int, seed: int = 0) -> tuple[Ids, Ids]:
    """Random input_ids and a mask whose rows end at different tokens, both [batch, length]."""
    random = np.random.default_rng([seed, batch, length])
    ids = random.integers(0, VOCABULARY, (batch, length))
    ends = random.integers(1, length + 1, (batch, 1))
    return ids, (np.arange(length) < ends).astype(np.int64)


def infer(
    client: triton_grpc.InferenceServerClient, model: str, ids: Ids, mask: Ids, outputs: list[str]
) -> dict[str, npt.NDArray[Any]]:
    inputs = []
    for name, array in (("input_ids", ids), ("attention_mask", mask)):
        tensor = triton_grpc.InferInput(name, list(array.shape), "INT64")
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    asked = [triton_grpc.InferRequestedOutput(name) for name in outputs]
    result = client.infer(model, inputs, outputs=asked, client_timeout=20)
    return {output.name: result.as_numpy(output.name) for output in result.get_response().outputs}


@pytest.mark.parametrize(("batch", "length"), [(1, 1), (1, 9), (5, 4), (64, 2)])
def test_model_answers_with_the_right_numbers_types_and_shapes(
    client: triton_grpc.InferenceServerClient, batch: int, length: int
) -> None:
    ids, mask = tokens(batch, length)
    answer = infer(client, "keyword_classifier", ids, mask, ["keyword_probs", "token_count"])
    assert answer["keyword_probs"].dtype == np.float32
    assert answer["keyword_probs"].shape == (batch, KEYWORDS)
    np.testing.assert_allclose(answer["keyword_probs"], expected_keywords(ids, mask), rtol=1e-5)
    assert answer["token_count"].dtype == np.int64
    np.testing.assert_array_equal(answer["token_count"], mask.sum(axis=1, keepdims=True))


def test_only_the_outputs_asked_for_come_back(client: triton_grpc.InferenceServerClient) -> None:
    ids, mask = tokens(2, 3)
    assert list(infer(client, "keyword_classifier", ids, mask, ["token_count"])) == ["token_count"]


def test_ensemble_chains_the_models(client: triton_grpc.InferenceServerClient) -> None:
    ids, mask = tokens(3, 6)
    answer = infer(client, "review_analysis", ids, mask, BOTH)
    keywords = expected_keywords(ids, mask)
    np.testing.assert_allclose(answer["keyword_probs"], keywords, rtol=1e-5)
    np.testing.assert_allclose(answer["sentiment_probs"], expected_sentiments(keywords), rtol=1e-5, atol=1e-6)


def test_concurrent_requests_of_different_shapes_are_all_answered_right(
    client: triton_grpc.InferenceServerClient,
) -> None:
    requests = [tokens(batch=1 + i % 4, length=1 + i % 7, seed=i) for i in range(80)]
    with ThreadPoolExecutor(16) as pool:
        answers = pool.map(lambda r: infer(client, "review_analysis", r[0], r[1], BOTH), requests)
        for (ids, mask), answer in zip(requests, answers, strict=True):
            np.testing.assert_allclose(answer["keyword_probs"], expected_keywords(ids, mask), rtol=1e-5)


def test_requests_of_one_shape_share_a_run_and_a_bad_one_fails_alone(
    client: triton_grpc.InferenceServerClient,
) -> None:
    requests = [tokens(batch=1, length=5, seed=i) for i in range(12)]
    requests[4][0][0, 2] = VOCABULARY + 1
    before = executions(client)

    def attempt(request: tuple[Ids, Ids]) -> npt.NDArray[Any] | InferenceServerException:
        try:
            return infer(client, "keyword_classifier", *request, ["keyword_probs"])["keyword_probs"]
        except InferenceServerException as error:
            return error

    with ThreadPoolExecutor(len(requests)) as pool:
        answers = list(pool.map(attempt, requests))
    assert executions(client) - before < len(requests), "no two requests were merged"
    failure = answers.pop(4)
    assert isinstance(failure, InferenceServerException)
    assert failure.status() == "StatusCode.INVALID_ARGUMENT"
    assert "keyword_classifier" in failure.message()
    assert "indices element out of data bounds" in failure.message()
    del requests[4]
    for (ids, mask), answer in zip(requests, answers, strict=True):
        assert isinstance(answer, np.ndarray)
        np.testing.assert_allclose(answer, expected_keywords(ids, mask), rtol=1e-5)


def executions(client: triton_grpc.InferenceServerClient) -> int:
    """How many batches the backend has run for the keyword model, those that failed included."""

    def counted() -> int:
        return int(client.get_inference_statistics("keyword_classifier").model_stats[0].execution_count)

    # Triton counts a batch after its answer has left: wait until the count stands still.
    last, count = -1, counted()
    while count != last:
        time.sleep(0.2)
        last, count = count, counted()
    return count


def test_server_listens_on_loopback_only(triton: EmbeddedTriton) -> None:
    ports = {int(re.findall(r":(\d+)", url)[0]) for url in (triton.grpc_url, triton.metrics_url)}
    listening = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
            local, _, state = line.split()[1:4]
            address, port = local.split(":")
            if state == "0A" and int(port, 16) in ports:
                listening[int(port, 16)] = address
    # The kernel prints 127.0.0.1 byte-reversed, behind a prefix where the socket speaks IPv6 too.
    assert {port: address[-8:] for port, address in listening.items()} == dict.fromkeys(ports, "0100007F")


def test_metrics_count_requests(client: triton_grpc.InferenceServerClient, triton: EmbeddedTriton) -> None:
    infer(client, "keyword_classifier", *tokens(1, 2), ["keyword_probs"])
    with urllib.request.urlopen(triton.metrics_url, timeout=5) as answer:  # noqa: S310 - a loopback http address
        text = answer.read().decode()
    assert re.search(r'nv_inference_request_success\{model="keyword_classifier",version="1"\} [1-9]', text)


def test_second_server_starts_within_ten_seconds_beside_the_first(
    triton: EmbeddedTriton, client: triton_grpc.InferenceServerClient, shared_repository: Path
) -> None:
    ids, mask = tokens(2, 4)
    started = time.monotonic()
    with EmbeddedTriton(shared_repository, threads=1) as second:
        assert time.monotonic() - started < 10
        assert second.grpc_url != triton.grpc_url
        assert second.pid != triton.pid
        with triton_grpc.InferenceServerClient(second.grpc_url, channel_args=CHANNEL_ARGUMENTS) as other:
            for connection in (client, other):
                answer = infer(connection, "review_analysis", ids, mask, BOTH)
                np.testing.assert_allclose(answer["keyword_probs"], expected_keywords(ids, mask), rtol=1e-5)
    assert client.is_server_ready()


def test_model_without_a_batch_dimension_is_never_merged(repository: Path) -> None:
    shutil.rmtree(repository / "review_analysis")
    shutil.rmtree(repository / "sentiment_classifier")
    config = repository / "keyword_classifier" / "config.pbtxt"
    text = re.sub("dynamic_batching.*", "", config.read_text(encoding="utf-8"))
    for old, new in (("max_batch_size: 64", "max_batch_size: 0"), ("dims: [", "dims: [-1, ")):
        text = text.replace(old, new)
    config.write_text(text, encoding="utf-8")
    with (
        EmbeddedTriton(repository) as triton,
        triton_grpc.InferenceServerClient(triton.grpc_url, channel_args=CHANNEL_ARGUMENTS) as client,
        ThreadPoolExecutor(4) as pool,
    ):
        requests = [tokens(batch=1 + i % 2, length=3, seed=i) for i in range(8)]
        answers = pool.map(lambda r: infer(client, "keyword_classifier", r[0], r[1], ["keyword_probs"]), requests)
        for (ids, mask), answer in zip(requests, answers, strict=True):
            np.testing.assert_allclose(answer["keyword_probs"], expected_keywords(ids, mask), rtol=1e-5)
        assert executions(client) == len(requests)
