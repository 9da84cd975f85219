"""What a front door serves at this moment, read from its metrics."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections import defaultdict

from prometheus_client.parser import text_string_to_metric_families

from client.errors import InvalidInputError, ServerUnavailableError

TIMEOUT_S = 5.0


def serving(metrics_url: str) -> list[str]:
    """Lines about the versions that answer calls: their share, and what they have answered since the start.

    Raises:
        InvalidInputError: this is no address of metrics.
        ServerUnavailableError: nothing answers there.
    """
    if not metrics_url.startswith(("http://", "https://")):
        raise InvalidInputError(f"--metrics {metrics_url}: give the whole address, as http://127.0.0.1:9500/metrics")
    try:
        with urllib.request.urlopen(metrics_url, timeout=TIMEOUT_S) as answer:  # noqa: S310  (the scheme is checked)
            text = answer.read().decode("utf-8")
    except (OSError, urllib.error.URLError) as error:
        raise ServerUnavailableError(f"--metrics {metrics_url}: {error}; is the front door running?") from None
    shares: dict[str, float] = {}
    answers: dict[str, float] = defaultdict(float)
    others: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "reviewlens_model_traffic_share":
                shares[sample.labels["model_version"]] = sample.value
            elif sample.name == "reviewlens_calls_by_model_total":
                answers[sample.labels["model_version"]] += sample.value
            elif sample.name in ("reviewlens_challenger_fallbacks_total", "reviewlens_shadow_reviews_total"):
                others[f"{family.name.removeprefix('reviewlens_')} {' '.join(sample.labels.values())}"] = sample.value
            elif sample.name == "reviewlens_rollout_problem" and sample.value:
                others["the last change failed; the server's log says why"] = sample.value
    lines = [f"{version}: share {share:.2%}, {answers[version]:,.0f} answers" for version, share in shares.items()]
    return [*lines, *(f"{name}: {value:,.0f}" for name, value in others.items())] or ["no version is ready"]
