"""Cluster outliers, on points whose clusters are known."""

from __future__ import annotations

import logging
import re

import numpy as np
import pytest
from numpy.typing import NDArray

from training.selection.outliers import cluster_outliers, clustered_rows


def blobs(outliers: int) -> NDArray[np.float32]:
    """Three clusters of 40 directions, and then ``outliers`` directions of their own, each farther from all."""
    random = np.random.default_rng(1)
    centers = np.eye(20)[:3] * 10
    members = np.repeat(centers, 40, axis=0) + random.normal(size=(120, 20), scale=0.5)
    others = np.stack([centers.mean(0) + np.eye(20)[5 + n] * 10 * (n + 2) for n in range(outliers)])
    return np.asarray(np.concatenate([members, others]), np.float32)


def test_what_lies_apart_is_found_the_farthest_first() -> None:
    ranking = cluster_outliers(blobs(3))
    assert [row for row, _ in ranking] == [122, 121, 120]
    assert re.fullmatch(
        r"outside of the pool's 3 clusters: its nearest reviews are 5\.\d times as far as usual", ranking[0][1]
    )


def test_distance_is_by_direction() -> None:
    points = blobs(3)
    scaled = points * np.random.default_rng(2).uniform(0.1, 10, size=(len(points), 1)).astype(np.float32)
    assert [row for row, _ in cluster_outliers(scaled)] == [row for row, _ in cluster_outliers(points)]


@pytest.mark.parametrize("size", [1, 10])
def test_a_few_reviews_have_no_clusters(size: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert cluster_outliers(np.eye(size, 40, dtype=np.float32)) == []
    assert f"{size} reviews are too few for clusters" in caplog.text


def test_a_large_pool_is_sampled_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert clustered_rows(50, seed=1, most=50).tolist() == list(range(50))
    assert not caplog.messages
    rows = clustered_rows(1000, seed=1, most=50)
    assert len(set(rows.tolist())) == 50
    assert (np.diff(rows) > 0).all()
    assert "a random 50 of the pool's 1000 reviews are clustered" in caplog.text
