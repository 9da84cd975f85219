"""Dashboard and alerts: their queries parse, and every metric in them is one that the servers have."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from server.front_door.metrics import Metrics

DOCKER = Path(__file__).parents[2] / "docker"
DASHBOARD: dict[str, Any] = json.loads((DOCKER / "grafana/dashboards/reviewlens.json").read_text(encoding="utf-8"))
ALERTS: dict[str, Any] = yaml.safe_load((DOCKER / "prometheus/alerts.yaml").read_text(encoding="utf-8"))
# https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/metrics.html; a functional
# test asks a running Triton for those that need no GPU.
GPU_METRICS = {"nv_gpu_utilization", "nv_gpu_memory_used_bytes", "nv_gpu_memory_total_bytes"}
SAMPLES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}


def expressions() -> Iterator[tuple[str, str]]:
    """Title and PromQL of every panel and alert."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"].replace("$__rate_interval", "5m").replace("$instance", ".*")
    for group in ALERTS["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]
    query = DASHBOARD["templating"]["list"][0]["query"]["query"]
    yield "variable", re.sub(r"label_values\((\w+), \w+\)", r"\1", query)


def metric_names(expression: object) -> Iterator[str]:
    """Names of the metrics in a parsed expression."""
    if isinstance(expression, promql_parser.VectorSelector):
        assert expression.name is not None
        yield expression.name
    for part in ("expr", "lhs", "rhs", "vector_selector"):
        if (inner := getattr(expression, part, None)) is not None and not isinstance(inner, str):
            yield from metric_names(inner)
    for argument in getattr(expression, "args", None) or []:
        yield from metric_names(argument)


def served_names() -> set[str]:
    """Names of the samples that the front door's metrics have."""
    families = Metrics().registry.collect()
    return {family.name + end for family in families for end in SAMPLES.get(family.type, ("",))}


@pytest.mark.parametrize(("title", "promql"), list(expressions()))
def test_query_parses_and_its_metrics_exist(title: str, promql: str) -> None:
    names = set(metric_names(promql_parser.parse(promql)))
    assert names, f"{title}: no metric at all"
    assert {name for name in names if not name.startswith("nv_")} <= served_names() | {"up"}


def test_names_of_all_parts_are_found() -> None:
    query = 'histogram_quantile(0.5, sum by (le) (rate(a_bucket[5m]))) / on () (b{c="d"} > 1) and absent(e == 1)'
    assert set(metric_names(promql_parser.parse(query))) == {"a_bucket", "b", "e"}


def test_every_metric_of_ours_is_on_the_dashboard() -> None:
    """What is measured and not looked at would go unnoticed."""
    used = {name for _, promql in expressions() for name in metric_names(promql_parser.parse(promql))}
    ours = {name for name in served_names() if name.startswith("reviewlens_") and not re.search("_(sum|count)$", name)}
    # Their sums and counts are shown as means.
    means = {"reviewlens_batch_rows_bucket", "reviewlens_batch_tokens_bucket"}
    assert ours - used - means == set()


def test_panels_do_not_overlap_and_have_their_source() -> None:
    places: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not places & cells, panel["title"]
        assert at["x"] + at["w"] <= 24
        places |= cells
        for target in panel.get("targets", []):
            assert target["datasource"]["uid"] == "prometheus"
    identifiers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(identifiers)) == len(identifiers)


@pytest.mark.parametrize(
    "rule", [rule for group in ALERTS["groups"] for rule in group["rules"]], ids=lambda r: r["alert"]
)
def test_alert_says_what_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert {"summary", "description"} <= rule["annotations"].keys()
    assert re.fullmatch(r"\d+[mh]", rule["for"])
    # A label in the text must survive the aggregation of the query.
    for label in re.findall(r"\$labels\.(\w+)", str(rule["annotations"])):
        assert label == "instance" or re.search(rf"by \([^)]*\b{label}\b", rule["expr"])


def test_kubernetes_has_the_same_alerts() -> None:
    rule = yaml.safe_load((DOCKER / "kubernetes/components/monitoring/alerts.yaml").read_text(encoding="utf-8"))
    assert rule["kind"] == "PrometheusRule"
    assert rule["spec"] == ALERTS
