"""Triton over gRPC: one connection to one model version, with deadlines, bounded retries and checked answers."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferInput, InferRequestedOutput, InferResult
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from client.artifact import Artifact
from client.errors import (
    ArtifactError,
    DeadlineExceededError,
    InferenceError,
    ModelMismatchError,
    ServerUnavailableError,
)

ENSEMBLE = "review_analysis"
KEYWORD_CLASSIFIER = "keyword_classifier"
SENTIMENT_CLASSIFIER = "sentiment_classifier"
CONNECT_TIMEOUT_S = 10.0
ATTEMPTS = 5
FIRST_PAUSE_S = 0.1
# A connection on which nothing has arrived for so long while a request waits is tried with a ping, and left if that is
# not answered in time: the other end may be gone without having said so.
KEEPALIVE_MS, KEEPALIVE_TIMEOUT_MS = 10_000, 10_000

_CHANNEL_ARGUMENTS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # gRPC's own reconnect pause is a second at first, longer than the pauses between our attempts.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
    # Triton is private: a proxy from the environment must never see reviews, nor break loopback.
    ("grpc.enable_http_proxy", 0),
    ("grpc.http2.max_pings_without_data", 0),
    # A name with several addresses is several Tritons: each gets its share of the requests.
    ("grpc.lb_policy_name", "round_robin"),
]


class TritonTransport:
    """Inference requests pinned to the artifact's version. Make one with ``connect``, end it with ``close``.

    ``max_rows`` is the largest batch that both models take. Every ``infer_*`` raises DeadlineExceededError,
    ServerUnavailableError (retries used up) or InferenceError.
    """

    def __init__(self, url: str, artifact: Artifact, *, request_timeout_s: float = 30.0) -> None:
        """``request_timeout_s`` bounds each inference request together with its retries.

        Raises:
            ArtifactError: the artifact's folder is not named by a version, so there is nothing to pin.
        """
        self.url = url
        self.version = artifact.folder.resolve().name
        if not self.version.isdigit():
            raise ArtifactError(
                f"{artifact.folder}: not a version folder of a model repository, as .../review_analysis/1"
            )
        self.max_rows = 0
        self._artifact = artifact
        self._keyword_count = len(artifact.labels.keywords)
        # Of the outputs, behind the batch dimension.
        self._keywords: tuple[int, ...] = (self._keyword_count,)
        self._sentiments: tuple[int, ...] = (self._keyword_count + 1, len(artifact.labels.sentiments))
        self._request_timeout_s = request_timeout_s
        self._reachable = True
        keepalive = [
            ("grpc.keepalive_time_ms", KEEPALIVE_MS),
            ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
            # The same for a ping that gRPC has under way for a reason of its own; it waits for a minute otherwise.
            ("grpc.http2.ping_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ]
        self._client = InferenceServerClient(url, channel_args=[*_CHANNEL_ARGUMENTS, *keepalive])

    @classmethod
    async def connect(cls, url: str, artifact: Artifact, *, request_timeout_s: float = 30.0) -> Self:
        """Open the connection and check that the server runs exactly the artifact's model.

        Raises:
            ServerUnavailableError: nothing answers at ``url``, or it is not ready.
            ModelMismatchError: the server has another version, tokenizer or label set.
            ArtifactError: the artifact's folder is not a version folder.
        """
        transport = cls(url, artifact, request_timeout_s=request_timeout_s)
        try:
            await transport._verify()
        except BaseException:
            await transport.close()
            raise
        return transport

    async def close(self) -> None:
        """Close the channel; requests in flight are cancelled."""
        await self._client.close()

    async def infer_keywords(
        self,
        input_ids: NDArray[np.int64],
        attention_mask: NDArray[np.int64],
        deadline: float = math.inf,
        metadata: Mapping[str, str] | None = None,
    ) -> NDArray[np.float32]:
        """Keyword probabilities [B,K] of token rows [B,L].

        ``deadline`` is a time of the event loop's clock, ``metadata`` the request's gRPC metadata.
        """
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        (probs,) = await self._infer(KEYWORD_CLASSIFIER, inputs, {"keyword_probs": self._keywords}, deadline, metadata)
        return probs

    async def infer_sentiments(
        self,
        input_ids: NDArray[np.int64],
        attention_mask: NDArray[np.int64],
        keyword_probs: NDArray[np.float32],
        deadline: float = math.inf,
        metadata: Mapping[str, str] | None = None,
    ) -> NDArray[np.float32]:
        """Sentiment probabilities [B,K+1,S] of token rows [B,L], for the keywords that ``keyword_probs`` [B,K] predict.

        The last row of the sentiments is the overall label; rows of keywords that are not predicted are 0.
        """
        tokens = {"input_ids": input_ids, "attention_mask": attention_mask}
        inputs: dict[str, NDArray[Any]] = {**tokens, "keyword_probs": keyword_probs}
        (probs,) = await self._infer(
            SENTIMENT_CLASSIFIER, inputs, {"sentiment_probs": self._sentiments}, deadline, metadata
        )
        return probs

    async def infer_analysis(
        self,
        input_ids: NDArray[np.int64],
        attention_mask: NDArray[np.int64],
        deadline: float = math.inf,
        metadata: Mapping[str, str] | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Both in one request: keyword probabilities [B,K] and the sentiment probabilities [B,K+1,S] that they ask."""
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        shapes = {"keyword_probs": self._keywords, "sentiment_probs": self._sentiments}
        keyword_probs, sentiment_probs = await self._infer(ENSEMBLE, inputs, shapes, deadline, metadata)
        return keyword_probs, sentiment_probs

    async def compute_seconds(self, model: str, deadline: float) -> tuple[float, int]:
        """Seconds that Triton has spent in the model's graph since it was loaded, and the rows computed in them.

        Raises:
            ServerUnavailableError, DeadlineExceededError, InferenceError: Triton does not tell.
        """
        answer = await self._call(
            self._client.get_inference_statistics, deadline, model_name=model, model_version=self.version
        )
        (statistics,) = answer.model_stats
        return statistics.inference_stats.compute_infer.ns / 1e9, statistics.inference_count

    async def _infer(
        self,
        model: str,
        inputs: Mapping[str, NDArray[Any]],
        shapes: Mapping[str, tuple[int, ...]],
        deadline: float,
        metadata: Mapping[str, str] | None,
    ) -> list[NDArray[np.float32]]:
        """One request. ``shapes`` names the outputs with their shape behind the batch dimension."""
        sent = [
            InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype)).set_data_from_numpy(values)
            for name, values in inputs.items()
        ]
        own_deadline = asyncio.get_running_loop().time() + self._request_timeout_s
        result = await self._call(
            self._client.infer,
            min(deadline, own_deadline),
            model_name=model,
            inputs=sent,
            model_version=self.version,
            outputs=[InferRequestedOutput(name) for name in shapes],
            headers=metadata,
        )
        rows = len(inputs["input_ids"])
        return [_checked_output(result, model, name, (rows, *shape)) for name, shape in shapes.items()]

    async def _call(self, method: Callable[..., Awaitable[Any]], deadline: float, **arguments: Any) -> Any:
        """Call a method of the Triton client, again while the server is unavailable, until ``deadline``."""
        clock = asyncio.get_running_loop().time
        for attempt in itertools.count(1):
            remaining = deadline - clock()
            if remaining <= 0:
                raise DeadlineExceededError(f"Triton at {self.url}: the deadline passed; send less or allow more time")
            try:
                answer = await method(**arguments, client_timeout=remaining)
            except InferenceServerException as error:
                status = str(error.status()).removeprefix("StatusCode.")
                if status == "DEADLINE_EXCEEDED":
                    raise DeadlineExceededError(
                        f"Triton at {self.url} did not answer within the deadline; send less or allow more time"
                    ) from None
                if status != "UNAVAILABLE":
                    raise InferenceError(f"Triton at {self.url}: {status}: {error.message()}") from None
                pause = FIRST_PAUSE_S * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)  # noqa: S311
                # Once a request has used up its attempts, the ones behind it do not wait as long again each.
                if attempt == ATTEMPTS or not self._reachable or clock() + pause >= deadline:
                    self._reachable = False
                    raise ServerUnavailableError(
                        f"no Triton answers at {self.url} ({error.message()}); is it running, and is the address right?"
                    ) from None
                await asyncio.sleep(pause)
            except asyncio.CancelledError:
                if (task := asyncio.current_task()) and task.cancelling():
                    raise
                # Not this task was cancelled, but the request: that is how the channel's end shows.
                raise ServerUnavailableError(f"the connection to Triton at {self.url} was closed") from None
            else:
                self._reachable = True
                return answer
        raise AssertionError("itertools.count never ends")

    async def _verify(self) -> None:
        """Check readiness, version, hashes and label count against the artifact, and read ``max_rows``."""
        deadline = asyncio.get_running_loop().time() + CONNECT_TIMEOUT_S
        try:
            if not await self._call(self._client.is_server_ready, deadline):
                raise ServerUnavailableError(f"Triton at {self.url} is not ready; see its log for a model that fails")
            for model in (ENSEMBLE, KEYWORD_CLASSIFIER):
                await self._verify_version(model, deadline)
            ensemble, keyword_classifier = [
                await self._call(self._client.get_model_config, deadline, model_name=model, model_version=self.version)
                for model in (ENSEMBLE, KEYWORD_CLASSIFIER)
            ]
        except DeadlineExceededError:
            raise ServerUnavailableError(f"no Triton answers at {self.url} within {CONNECT_TIMEOUT_S:g} s") from None
        self._verify_config(ensemble.config)
        self.max_rows = min(ensemble.config.max_batch_size, keyword_classifier.config.max_batch_size)

    async def _verify_version(self, model: str, deadline: float) -> None:
        if await self._call(self._client.is_model_ready, deadline, model_name=model, model_version=self.version):
            return
        index = await self._call(self._client.get_model_repository_index, deadline)
        served = sorted(f"{m.name}/{m.version or '?'} {m.state}" for m in index.models)
        raise ModelMismatchError(
            f"Triton at {self.url} does not serve {model} version {self.version}, which {self._artifact.folder} "
            f"belongs to; it has {', '.join(served) or 'no models'}. Point the client and the server to the same "
            "model repository"
        )

    def _verify_config(self, config: Any) -> None:
        labels = self._artifact.labels
        for parameter, local in (
            ("tokenizer_sha256", labels.tokenizer_sha256),
            ("labels_sha256", self._artifact.labels_sha256),
        ):
            remote = config.parameters[parameter].string_value
            if remote != local:
                raise ModelMismatchError(
                    f"Triton at {self.url}: {parameter} is {remote or 'not set'}, but {self._artifact.folder} has "
                    f"{local}; point the client to a copy of the model repository that the server runs"
                )
        dims = {output.name: tuple(output.dims) for output in config.output}
        if dims.get("keyword_probs") != (self._keyword_count,):
            raise ModelMismatchError(
                f"Triton at {self.url}: keyword_probs has dims {dims.get('keyword_probs')}, but "
                f"{self._artifact.folder} has {self._keyword_count} keywords; export the model again"
            )


def _checked_output(result: InferResult, model: str, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """An output tensor; its values are not checked (``row_answers`` does that).

    Raises:
        InferenceError: it is missing, or of another type or shape.
    """
    try:
        values = result.as_numpy(name)
    except ValueError as error:
        raise InferenceError(f"{model}: {name}: the bytes do not fill the shape: {error}") from None
    if values is None:
        raise InferenceError(f"{model}: {name}: missing in the answer; export the model again")
    if values.dtype != np.float32 or values.shape != shape:
        raise InferenceError(f"{model}: {name}: {values.dtype} {values.shape}, expected float32 {shape}")
    tensor: NDArray[np.float32] = values
    return tensor
