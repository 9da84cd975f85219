"""Cluster outliers: reviews that HDBSCAN puts into none of the clusters of the pool's sentence embeddings."""

from __future__ import annotations

import logging
import time

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import HDBSCAN
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from training.selection.strategies import Ranking

log = logging.getLogger("selection")

COMPONENTS = 16
# Reviews are one continuum with few dense spots: HDBSCAN's own defaults find two small clusters there and leave nine in
# ten reviews outside, these values two to four in ten.
LEAST_CLUSTER = 10
CORE_SAMPLES = 2
NEIGHBOURS = 5
# HDBSCAN compares all pairs, so time grows with the square of the pool.
MOST_CLUSTERED = 20_000


def clustered_rows(size: int, seed: int, most: int = MOST_CLUSTERED) -> NDArray[np.int64]:
    """Rows of a pool of ``size`` to look for outliers in: all, or a random ``most`` of them, ascending."""
    if size <= most:
        return np.arange(size)
    log.info("outliers: a random %d of the pool's %d reviews are clustered; the others cannot be outliers", most, size)
    return np.sort(np.random.default_rng(seed).choice(size, most, replace=False))


def cluster_outliers(embeddings: NDArray[np.float32]) -> Ranking:
    """Rows that belong to no cluster, those in the emptiest surroundings first.

    ``embeddings`` are FP32 ``[N, D]``. They are scaled to unit length, so that distance is by direction, and cut to
    their first principal components, where densities differ more. HDBSCAN (Campello et al. 2013,
    doi:10.1007/978-3-642-37456-2_14) leaves what lies in no dense region without a cluster. The order is by the
    distance to the fifth nearest review, told as a multiple of the pool's median. Empty where no cluster was found.
    """
    if len(embeddings) <= LEAST_CLUSTER:
        log.info("outliers: %d reviews are too few for clusters", len(embeddings))
        return []
    began = time.monotonic()
    directions = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-9)
    points = PCA(min(COMPONENTS, *directions.shape), random_state=0).fit_transform(directions)
    labels = (
        HDBSCAN(min_cluster_size=LEAST_CLUSTER, min_samples=CORE_SAMPLES, allow_single_cluster=True, copy=True)
        .fit(points)
        .labels_
    )
    clusters, rows = labels.max() + 1, np.flatnonzero(labels < 0)
    took = time.monotonic() - began
    log.info("outliers: %d clusters, %d of %d reviews in none, %.0f s", clusters, len(rows), len(labels), took)
    if not clusters:
        return []
    distances, _ = NearestNeighbors(n_neighbors=NEIGHBOURS + 1).fit(points).kneighbors(points)
    times = distances[:, -1] / max(np.median(distances[:, -1]), 1e-9)
    where = f"the pool's {clusters} clusters" if clusters > 1 else "the pool's one cluster"
    return [
        (int(row), f"outside of {where}: its nearest reviews are {times[row]:.1f} times as far as usual")
        for row in rows[np.argsort(-times[rows], kind="stable")]
    ]
