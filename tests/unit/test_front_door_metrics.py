"""The metrics as Prometheus reads them."""

from __future__ import annotations

import socket
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from reviewlens.v1.review_analysis_service_pb2 import ServedModel

from client.errors import InferenceError, ServerUnavailableError
from client.row_batcher import QueueSnapshot
from client.timings import Timings
from server.front_door.metrics import Metrics, start_metrics_server

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "observability.md"


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_a_batch_counts_tokens_padding_and_time_by_model() -> None:
    metrics = Metrics()
    metrics.batch_finished("keywords", 3, 80, 96, 0.01, 0.02, None)
    metrics.batch_finished("keywords", 1, 20, 32, 0.0, 0.01, None)
    metrics.batch_finished("analysis", 9, 900, 999, 1.0, 1.0, InferenceError("broken"))
    assert value(metrics, "reviewlens_tokens_total", model="keywords") == 100
    assert value(metrics, "reviewlens_padding_tokens_total", model="keywords") == 28
    assert value(metrics, "reviewlens_batch_rows_sum", model="keywords") == 4
    assert value(metrics, "reviewlens_batch_tokens_sum", model="keywords") == 128
    assert value(metrics, "reviewlens_batch_seconds_sum", model="keywords") == pytest.approx(0.03)
    assert value(metrics, "reviewlens_batch_queue_seconds_sum", model="keywords") == pytest.approx(0.01)
    assert value(metrics, "reviewlens_batch_errors_total", model="analysis", code="INTERNAL") == 1
    assert value(metrics, "reviewlens_tokens_total", model="analysis") is None, "what failed is no throughput"


def test_calls_reviews_and_stages_are_counted() -> None:
    metrics = Metrics()
    for code in ("OK", "CANCELLED"):
        metrics.call_started("s/Analyze")
        assert value(metrics, "reviewlens_requests_in_flight", method="s/Analyze") == 1
        metrics.call_finished("s/Analyze", code, 0.004)
    assert value(metrics, "reviewlens_requests_in_flight", method="s/Analyze") == 0
    assert value(metrics, "reviewlens_requests_total", method="s/Analyze", code="CANCELLED") == 1
    assert value(metrics, "reviewlens_request_seconds_bucket", method="s/Analyze", le="0.005") == 2
    assert value(metrics, "reviewlens_request_seconds_bucket", method="s/Analyze", le="0.002") == 0

    metrics.reviews_finished({"OK": 3, "INVALID_ARGUMENT": 1})
    assert value(metrics, "reviewlens_reviews_total", code="OK") == 3
    metrics.stage_times(Timings(tokenization_s=0.001, queue_s=0.3, keyword_s=0.1, sentiment_s=0.2, highlight_s=0.5))
    assert value(metrics, "reviewlens_stage_seconds_sum", stage="queue") == pytest.approx(0.3)
    assert value(metrics, "reviewlens_stage_seconds_count", stage="highlight") == 1
    metrics.cache_lookup(hit=True)
    metrics.cache_lookup(hit=False)
    assert value(metrics, "reviewlens_cache_lookups_total", result="hit") == 1


def test_the_queue_and_the_models_are_asked_at_each_scrape() -> None:
    metrics = Metrics()
    snapshots = [QueueSnapshot(4, 512, 2, 1000.0, 2048), QueueSnapshot(0, 0, 0, 1000.0)]
    metrics.watch_queue(lambda: snapshots[0])
    assert value(metrics, "reviewlens_queue_tokens") == 512
    assert value(metrics, "reviewlens_queue_rows") == 4
    assert value(metrics, "reviewlens_admitted_tokens") == 2048
    assert value(metrics, "reviewlens_batches_in_flight") == 2
    snapshots.pop(0)
    assert value(metrics, "reviewlens_queue_tokens") == 0

    assert value(metrics, "reviewlens_ready") == 0
    metrics.watch_readiness(lambda: True)
    assert value(metrics, "reviewlens_ready") == 1

    models = [ServedModel(model_version="v1", traffic_share=0.9, tokenizer_sha256="ab" * 32, labels_sha256="cd" * 32)]
    metrics.watch_models(lambda: models)
    hashes = {"tokenizer_sha256": "ab" * 6, "labels_sha256": "cd" * 6}
    assert value(metrics, "reviewlens_model_info", model_version="v1", **hashes) == 1
    models[0] = ServedModel(model_version="v2", traffic_share=1.0)
    assert value(metrics, "reviewlens_model_traffic_share", model_version="v2") == 1
    assert value(metrics, "reviewlens_model_traffic_share", model_version="v1") is None


def test_a_scrape_works_before_a_model_is_there() -> None:
    def served() -> list[ServedModel]:
        raise ServerUnavailableError("no model is ready yet")

    metrics = Metrics()
    metrics.watch_models(served)
    assert value(metrics, "reviewlens_ready") == 0


def test_the_metrics_server_answers_and_stops() -> None:
    metrics = Metrics()
    metrics.reviews_finished({"OK": 5})
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
    stop = start_metrics_server(metrics, "127.0.0.1", port)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            families = {family.name for family in text_string_to_metric_families(answer.read().decode())}
        assert {"reviewlens_reviews", "process_resident_memory_bytes", "python_info"} <= families
        with pytest.raises(OSError, match="in use"):
            start_metrics_server(metrics, "127.0.0.1", port)
    finally:
        stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1)
    start_metrics_server(metrics, "127.0.0.1", port)()


def test_every_metric_is_documented_as_it_is() -> None:
    """The table of docs/observability.md has each metric with its type and labels, and no other."""
    documented = set()
    for line in DOCUMENTATION.read_text(encoding="utf-8").splitlines():
        if line.startswith("| `reviewlens_"):
            name, kind, labels = (cell.strip().strip("`") for cell in line.split("|")[1:4])
            documented.add((name, kind, labels.replace("`", "")))
    assert documented == set(registered(Metrics()))


def registered(metrics: Metrics) -> list[tuple[str, str, str]]:
    """Name in PromQL, type and labels of each metric of ours."""
    metrics.watch_models(lambda: [ServedModel(model_version="v1")])
    metrics.batch_finished("keywords", 1, 1, 1, 0.0, 0.0, None)
    metrics.batch_finished("keywords", 1, 1, 1, 0.0, 0.0, InferenceError("broken"))
    metrics.call_started("m")
    metrics.call_finished("m", "OK", 0.0)
    metrics.reviews_finished({"OK": 1})
    metrics.stage_times(Timings())
    metrics.cache_lookup(hit=True)
    metrics.call_answered("v1", "champion")
    metrics.challenger_failed("UNAVAILABLE")
    metrics.shadow_reviews("compared", 1)
    found = []
    for family in metrics.registry.collect():
        if family.name.startswith("reviewlens_"):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels = [label for label in family.samples[0].labels if label != "le"]
            found.append((name, family.type, ", ".join(labels)))
    return found
