"""Triton over gRPC: one connection to one model version, with deadlines, bounded retries and checked answers."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from collections.abc import Awaitable, Callable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferInput, InferRequestedOutput, InferResult
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

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
CONNECT_TIMEOUT_S = 10.0
ATTEMPTS = 5
FIRST_PAUSE_S = 0.1

_CHANNEL_ARGUMENTS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # gRPC's own reconnect pause is a second at first, longer than the pauses between our attempts.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
    # Triton is private: a proxy from the environment must never see reviews, nor break loopback.
    ("grpc.enable_http_proxy", 0),
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
        self._sentiment_count = len(artifact.labels.sentiments)
        self._request_timeout_s = request_timeout_s
        self._reachable = True
        self._client = InferenceServerClient(url, channel_args=_CHANNEL_ARGUMENTS)

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
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64], deadline: float = math.inf
    ) -> NDArray[np.float32]:
        """Keyword probabilities [B,K] of token rows [B,L]. ``deadline`` is a time of the event loop's clock."""
        (keyword_probs,) = await self._infer(
            KEYWORD_CLASSIFIER, input_ids, attention_mask, {"keyword_probs": (self._keyword_count,)}, deadline
        )
        return keyword_probs

    async def infer_analysis(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64], deadline: float = math.inf
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Keyword probabilities [B,K] and sentiment probabilities [B,K+1,S] of token rows [B,L].

        The last row of the sentiments is the overall label; rows of keywords that were not predicted are 0.
        """
        shapes: dict[str, tuple[int, ...]] = {
            "keyword_probs": (self._keyword_count,),
            "sentiment_probs": (self._keyword_count + 1, self._sentiment_count),
        }
        keyword_probs, sentiment_probs = await self._infer(ENSEMBLE, input_ids, attention_mask, shapes, deadline)
        return keyword_probs, sentiment_probs

    async def _infer(
        self,
        model: str,
        input_ids: NDArray[np.int64],
        attention_mask: NDArray[np.int64],
        shapes: dict[str, tuple[int, ...]],
        deadline: float,
    ) -> list[NDArray[np.float32]]:
        """One request. ``shapes`` names the outputs with their shape behind the batch dimension."""
        inputs = []
        for name, values in (("input_ids", input_ids), ("attention_mask", attention_mask)):
            inputs.append(InferInput(name, list(values.shape), "INT64").set_data_from_numpy(values))
        outputs = [InferRequestedOutput(name) for name in shapes]

        own_deadline = asyncio.get_running_loop().time() + self._request_timeout_s
        result = await self._call(
            self._client.infer,
            min(deadline, own_deadline),
            model_name=model,
            inputs=inputs,
            model_version=self.version,
            outputs=outputs,
        )
        return [_checked_output(result, model, name, (len(input_ids), *shape)) for name, shape in shapes.items()]

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
    """An output tensor of probabilities.

    Raises:
        InferenceError: it is missing, of another type or shape, or holds values that are no probabilities.
    """
    try:
        values = result.as_numpy(name)
    except ValueError as error:
        raise InferenceError(f"{model}: {name}: the bytes do not fill the shape: {error}") from None
    if values is None:
        raise InferenceError(f"{model}: {name}: missing in the answer; export the model again")
    if values.dtype != np.float32 or values.shape != shape:
        raise InferenceError(f"{model}: {name}: {values.dtype} {values.shape}, expected float32 {shape}")
    # Written so that NaN fails it too.
    if not np.all((values >= 0) & (values <= 1)):
        raise InferenceError(
            f"{model}: {name}: holds values outside [0, 1]; the model's weights or precision are broken"
        )
    probabilities: NDArray[np.float32] = values
    return probabilities
