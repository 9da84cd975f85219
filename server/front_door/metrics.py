"""Prometheus metrics of the front door. docs/observability.md explains each.

Names and units follow https://prometheus.io/docs/practices/naming/. No label's values come from callers, so their
number is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    start_http_server,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics import Gauge
from prometheus_client.registry import Collector
from reviewlens.v1.review_analysis_service_pb2 import ServedModel

from client.errors import ReviewLensError
from client.row_batcher import QueueSnapshot
from client.timings import Timings

# From a cached answer to the longest usual deadline, about three steps for each power of ten.
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
TOKENS = (32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
STAGES = tuple(field.name.removesuffix("_s") for field in fields(Timings))
HASH_DIGITS = 12


class Metrics:
    """What the front door counts. It is the ``BatchObserver`` of every analyzer."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Register in ``registry``; None makes one that has the process's memory, CPU and garbage collection too."""
        if registry is None:
            registry = CollectorRegistry()
            for collector in (ProcessCollector, PlatformCollector, GCCollector):
                collector(registry=registry)
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second time series for each, which PromQL has no use for
        self.registry = registry
        self._requests = Counter("reviewlens_requests", "Calls finished", ["method", "code"], registry=registry)
        self._requests_in_flight = Gauge(
            "reviewlens_requests_in_flight", "Calls under way", ["method"], registry=registry
        )
        self._request_seconds = Histogram(
            "reviewlens_request_seconds", "Duration of calls", ["method"], buckets=SECONDS, registry=registry
        )
        self._reviews = Counter(
            "reviewlens_reviews", "Reviews answered, by OK or their error", ["code"], registry=registry
        )
        stage_seconds = Histogram(
            "reviewlens_stage_seconds", "Time of an answer in each stage", ["stage"], buckets=SECONDS, registry=registry
        )
        self._stage_seconds = {stage: stage_seconds.labels(stage) for stage in STAGES}
        self._tokens = Counter("reviewlens_tokens", "Tokens computed, without padding", ["model"], registry=registry)
        self._padding = Counter("reviewlens_padding_tokens", "Padding computed with them", ["model"], registry=registry)
        self._batch_rows = Histogram(
            "reviewlens_batch_rows", "Rows of a batch", ["model"], buckets=ROWS, registry=registry
        )
        self._batch_tokens = Histogram(
            "reviewlens_batch_tokens", "Tokens of a batch, with padding", ["model"], buckets=TOKENS, registry=registry
        )
        self._batch_seconds = Histogram(
            "reviewlens_batch_seconds", "Duration of a batch in Triton", ["model"], buckets=SECONDS, registry=registry
        )
        self._batch_queue_seconds = Histogram(
            "reviewlens_batch_queue_seconds",
            "Longest time that a row of a batch waited",
            ["model"],
            buckets=SECONDS,
            registry=registry,
        )
        self._batch_errors = Counter(
            "reviewlens_batch_errors", "Batches that failed", ["model", "code"], registry=registry
        )
        self._cache_lookups = Counter(
            "reviewlens_cache_lookups", "Reviews looked up in the cache", ["result"], registry=registry
        )
        self._calls_by_model = Counter(
            "reviewlens_calls_by_model",
            "Answers by the version that gave them",
            ["model_version", "role"],
            registry=registry,
        )
        self._fallbacks = Counter(
            "reviewlens_challenger_fallbacks",
            "Calls that the challenger failed on and the champion answered",
            ["code"],
            registry=registry,
        )
        self._shadow_reviews = Counter(
            "reviewlens_shadow_reviews", "Reviews given to a challenger for comparison", ["result"], registry=registry
        )
        self._rollout_switches = Counter("reviewlens_rollout_switches", "Changes of what is served", registry=registry)
        self._watched = _Watched()
        registry.register(self._watched)

    def call_started(self, method: str) -> None:
        """A call of a method that the server has."""
        self._requests_in_flight.labels(method).inc()

    def call_finished(self, method: str, code: str, seconds: float) -> None:
        """The same call ended with a gRPC status name."""
        self._requests_in_flight.labels(method).dec()
        self._requests.labels(method, code).inc()
        self._request_seconds.labels(method).observe(seconds)

    def reviews_finished(self, codes: Mapping[str, int]) -> None:
        """Numbers of reviews by "OK" or the code of their error."""
        for code, count in codes.items():
            self._reviews.labels(code).inc(count)

    def stage_times(self, timings: Timings) -> None:
        """Where the time of an answer went."""
        for stage, seconds in self._stage_seconds.items():
            seconds.observe(getattr(timings, f"{stage}_s"))

    def cache_lookup(self, hit: bool) -> None:
        """A review was looked up in the cache."""
        self._cache_lookups.labels("hit" if hit else "miss").inc()

    def call_answered(self, model_version: str, role: str) -> None:
        """A call, or a review of a stream, was answered by the "champion" or the "challenger"."""
        self._calls_by_model.labels(model_version, role).inc()

    def challenger_failed(self, code: str) -> None:
        """The champion has to answer a call in the challenger's place."""
        self._fallbacks.labels(code).inc()

    def shadow_reviews(self, result: str, count: int) -> None:
        """Reviews of shadow traffic were "compared", "failed" or "dropped"."""
        self._shadow_reviews.labels(result).inc(count)

    def rollout_switched(self) -> None:
        """Other versions, or other shares of them, are served from now on."""
        self._rollout_switches.inc()

    def batch_finished(
        self,
        model: str,
        rows: int,
        tokens: int,
        padded_tokens: int,
        queue_s: float,
        compute_s: float,
        error: ReviewLensError | None,
    ) -> None:
        """A batch has been computed, or failed: then only the failure is counted."""
        if error is not None:
            self._batch_errors.labels(model, error.code).inc()
            return
        self._tokens.labels(model).inc(tokens)
        self._padding.labels(model).inc(padded_tokens - tokens)
        self._batch_rows.labels(model).observe(rows)
        self._batch_tokens.labels(model).observe(padded_tokens)
        self._batch_seconds.labels(model).observe(compute_s)
        self._batch_queue_seconds.labels(model).observe(queue_s)

    def watch_queue(self, snapshot: Callable[[], QueueSnapshot]) -> None:
        """Report what waits for Triton; asked at each scrape, on the thread of the metrics server."""
        self._watched.snapshot = snapshot

    def watch_models(self, served: Callable[[], Iterable[ServedModel]]) -> None:
        """Report the versions that answer calls; asked at each scrape, on the thread of the metrics server."""
        self._watched.served = served

    def watch_rollout(self, problem: Callable[[], bool]) -> None:
        """Report whether what is to be served cannot be; asked at each scrape, on the thread of the metrics server."""
        self._watched.rollout_problem = problem

    def watch_readiness(self, ready: Callable[[], bool]) -> None:
        """Report whether both models answer; asked at each scrape, on the thread of the metrics server."""
        self._watched.ready = ready


class _Watched(Collector):
    """What is asked for when somebody looks."""

    def __init__(self) -> None:
        self.snapshot: Callable[[], QueueSnapshot] = lambda: QueueSnapshot(0, 0, 0, 0.0)
        self.served: Callable[[], Iterable[ServedModel]] = tuple
        self.ready: Callable[[], bool] = lambda: False
        self.rollout_problem: Callable[[], bool] = lambda: False

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges, with their values of now."""
        queue = self.snapshot()
        yield GaugeMetricFamily("reviewlens_queue_tokens", "Tokens waiting for Triton", value=queue.queued_tokens)
        yield GaugeMetricFamily(
            "reviewlens_admitted_tokens",
            "Tokens that the calls under way should still need, which limits.max_queued_tokens bounds",
            value=queue.admitted_tokens,
        )
        yield GaugeMetricFamily("reviewlens_queue_rows", "Rows waiting for Triton", value=queue.queued_rows)
        yield GaugeMetricFamily("reviewlens_batches_in_flight", "Batches in Triton", value=queue.in_flight_batches)
        yield GaugeMetricFamily(
            "reviewlens_tokens_per_second",
            "Measured speed, which retry hints are made of",
            value=queue.tokens_per_second,
        )
        yield GaugeMetricFamily("reviewlens_ready", "1 while both models answer inferences", value=self.ready())
        yield GaugeMetricFamily(
            "reviewlens_rollout_problem",
            "1 while something else is to be served than can be; the log says why",
            value=self.rollout_problem(),
        )
        info = GaugeMetricFamily(
            "reviewlens_model_info",
            "1 for each version that answers calls",
            labels=("model_version", "tokenizer_sha256", "labels_sha256"),
        )
        share = GaugeMetricFamily(
            "reviewlens_model_traffic_share", "Share of calls that a version answers", labels=("model_version",)
        )
        try:
            served = list(self.served())
        except ReviewLensError:  # none yet
            served = []
        for model in served:
            hashes = (model.tokenizer_sha256[:HASH_DIGITS], model.labels_sha256[:HASH_DIGITS])
            info.add_metric((model.model_version, *hashes), 1)
            share.add_metric((model.model_version,), model.traffic_share)
        yield info
        yield share


def start_metrics_server(metrics: Metrics, host: str, port: int) -> Callable[[], None]:
    """Serve /metrics over HTTP on a thread of its own; the result stops it.

    Raises:
        OSError: the address is in use, or not of this machine.
    """
    server, thread = start_http_server(port, host.strip("[]"), metrics.registry)

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop
