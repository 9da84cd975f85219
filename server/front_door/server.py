"""The front door in one object: the gRPC server with everything around it, from start to drain.

async with FrontDoor(Settings(listen="127.0.0.1:0")) as door:
    print(door.address)
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import logging
import math
from collections.abc import Callable
from typing import Self

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from client.errors import InvalidInputError, ReviewLensError, ServerUnavailableError
from server.front_door.answering import Answering
from server.front_door.cache import ResultCache
from server.front_door.metrics import Metrics, start_metrics_server
from server.front_door.models import Models
from server.front_door.observer import CallObserver
from server.front_door.readiness import Readiness
from server.front_door.rollout.follow import RolloutFollower
from server.front_door.rollout.shadow import Shadow
from server.front_door.security import check_listen, client_identity, server_credentials, token_authenticator
from server.front_door.service import SERVICE, ReviewAnalysisService
from server.front_door.settings import Settings, split_address
from server.front_door.tracing import configure_tracing

SERVED_NAMES = ("", SERVICE.full_name)
# A health service of this name is SERVING while the process runs, whatever the models do.
LIVENESS = "liveness"
# Messages up to this many times the limit are read, so as to refuse them with words; gRPC itself refuses larger ones.
REFUSED_WITH_WORDS = 2
# A client that vanished without a word is noticed in about their sum, and its work is stopped.
KEEPALIVE_MS, KEEPALIVE_TIMEOUT_MS = 30_000, 10_000
# Fewer streams of a connection are advised against: RFC 9113, section 6.5.2.
LEAST_STREAMS = 100
# A call that gRPC has accepted reaches its handler within this time.
ACCEPTED_S = 0.1
# What is left for answers on their way, and for clients that watch our health, once all calls are answered.
LAST_ANSWERS_S = 0.3

_log = logging.getLogger(__name__)


class FrontDoor:
    """The server. ``start`` and ``drain`` it, or use it as an async context, which begins when the models are ready."""

    def __init__(self, settings: Settings) -> None:
        """Nothing runs yet.

        Raises:
            InvalidInputError: a certificate, key or token file cannot be used, or the address is unsafe without TLS.
            ArtifactError: the model repository cannot be used.
        """
        check_listen(settings.listen, settings.tls)
        self.address = ""
        self.metrics = Metrics()
        self._settings = settings
        self._credentials = server_credentials(settings.tls)
        self._tracing = configure_tracing(settings.tracing)
        self._authenticator = token_authenticator(settings.auth)
        self.models = Models(settings, self.metrics)
        self._follower = RolloutFollower(self.models, settings, self.metrics)
        self._shadow = Shadow(settings.rollout, settings.limits.max_deadline_s, self.metrics)
        cache = ResultCache(settings.cache.entries, self.metrics.cache_lookup)
        self._service = ReviewAnalysisService(
            self.models,
            Answering(self.models, cache, self._shadow, self.metrics),
            settings,
            self.metrics,
            client_identity,
            importlib.metadata.version("reviewlens"),
        )
        self._health = health.aio.HealthServicer()
        self._readiness = Readiness(self.models, settings.health, self._announce)
        self.metrics.watch_queue(self.models.snapshot)
        self.metrics.watch_models(self.models.served)
        self.metrics.watch_readiness(lambda: self._readiness.is_ready() and not self._draining)
        self.metrics.watch_rollout(lambda: self.rollout_problem is not None)
        self._draining = False
        self._server: grpc.aio.Server | None = None
        self._watches: list[asyncio.Task[None]] = []
        self._stop_metrics: Callable[[], None] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        try:
            await self.ready()
        except BaseException:
            await self.drain(0)
            raise
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.drain(self._settings.drain_s)

    async def start(self) -> None:
        """Listen at ``address``, and get the models ready in the background; until then calls get UNAVAILABLE.

        Raises:
            InvalidInputError: an address cannot be bound.
            EmbeddedTritonError: the embedded Triton does not start.
        """
        await self._announce(False)
        await self._health.set(LIVENESS, health_pb2.HealthCheckResponse.SERVING)
        try:
            self._server = self._make_server()
            await self._server.start()
            self._stop_metrics = self._start_metrics()
            _log.info("listening on %s", self.address)
            await self.models.start()
        except BaseException:
            await self.drain(0)
            raise
        self._shadow.start()
        self._watches = [asyncio.create_task(watch()) for watch in (self._readiness.watch, self._follower.watch)]

    @property
    def rollout_problem(self) -> ReviewLensError | None:
        """Why what is to be served is not; None while it is."""
        return self._follower.problem

    def reload(self) -> None:
        """Look for changes of what is to be served now, not at the next of the regular looks."""
        self._follower.reload()

    async def ready(self, timeout_s: float = 60.0) -> None:
        """Wait until both models answer.

        Raises:
            ServerUnavailableError: they do not in time; says what the last probe failed with.
        """
        try:
            await asyncio.wait_for(self._readiness.ready(), timeout_s)
        except TimeoutError:
            raise ServerUnavailableError(f"not ready after {timeout_s:g} s: {self._readiness.problem}") from None

    async def drain(self, grace_s: float, *, process_ends: bool = False) -> None:
        """Refuse new calls, let accepted ones finish within ``grace_s`` seconds, and stop everything.

        ``process_ends`` leaves it to the end of this process, which must follow, to close the connections. gRPC's own
        stop answers calls that come before their clients have noticed with CANCELLED, which nobody retries; calls on a
        connection that ends are UNAVAILABLE.
        """
        self._draining = True
        await self._announce(False)
        self._service.drain()
        server, self._server = self._server, None
        if server is not None:
            await asyncio.sleep(min(ACCEPTED_S, grace_s))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._service.calls.idle(), grace_s)
            last_answers_s = min(LAST_ANSWERS_S, grace_s)
            await (asyncio.sleep(last_answers_s) if process_ends else server.stop(last_answers_s))
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        await self._shadow.close()
        await self.models.close()
        if self._stop_metrics is not None:
            await asyncio.to_thread(self._stop_metrics)
            self._stop_metrics = None
        if self._tracing is not None:
            await asyncio.to_thread(self._tracing.shutdown)

    async def _announce(self, ready: bool) -> None:
        state = health_pb2.HealthCheckResponse
        status = state.SERVING if ready and not self._draining else state.NOT_SERVING
        for name in SERVED_NAMES:
            await self._health.set(name, status)

    def _make_server(self) -> grpc.aio.Server:
        tracer = self._tracing.get_tracer("reviewlens") if self._tracing is not None else None
        interceptors: list[grpc.aio.ServerInterceptor] = [CallObserver(self.metrics, tracer)]
        if self._authenticator is not None:
            interceptors.append(self._authenticator)
        server = grpc.aio.server(
            interceptors=interceptors,
            options=[
                ("grpc.max_receive_message_length", REFUSED_WITH_WORDS * self._settings.limits.max_message_bytes),
                ("grpc.max_send_message_length", -1),
                # Calls beyond these wait at the client: messages are in memory before their calls can be refused.
                ("grpc.max_concurrent_streams", max(LEAST_STREAMS, 2 * self._settings.limits.max_calls_per_client)),
                ("grpc.so_reuseport", 0),  # a second server on the port is a mistake that must show
                ("grpc.keepalive_time_ms", KEEPALIVE_MS),
                ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
                ("grpc.http2.ping_timeout_ms", KEEPALIVE_TIMEOUT_MS),
                ("grpc.max_connection_age_ms", _milliseconds(self._settings.connections.max_age_s)),
                ("grpc.max_connection_idle_ms", _milliseconds(self._settings.connections.max_idle_s)),
                # No compression: gRPC would unpack a message without a bound before it looks at its size.
                ("grpc.compression_enabled_algorithms_bitset", 1 << grpc.Compression.NoCompression),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ],
        )
        server.add_generic_rpc_handlers((self._service.handler(),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        if self._settings.reflection:
            names = (SERVICE.full_name, health.SERVICE_NAME, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, server)
        self.address = self._bind(server)
        return server

    def _bind(self, server: grpc.aio.Server) -> str:
        listen = self._settings.listen
        try:
            if self._credentials is None:
                port = server.add_insecure_port(listen)
            else:
                port = server.add_secure_port(listen, self._credentials)
        except RuntimeError:
            raise InvalidInputError(
                f"listen: {listen}: the address is in use, or not one of this machine; choose another one"
            ) from None
        return f"{split_address(listen)[0]}:{port}"

    def _start_metrics(self) -> Callable[[], None] | None:
        listen = self._settings.metrics.listen
        if not listen:
            return None
        host, port = split_address(listen)
        try:
            return start_metrics_server(self.metrics, host, port)
        except OSError as error:
            raise InvalidInputError(f"metrics.listen: {listen}: {error.strerror}; choose another one") from None


def _milliseconds(seconds: float) -> int:
    """For gRPC's options, which are 32-bit numbers: about 24 days at most."""
    return min(math.ceil(1000 * seconds), 2**31 - 1)
