"""Segments by k-means (Lloyd 1982), started by k-means++ (Arthur and Vassilvitskii 2007)."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from training.segments.clustering import Clustering

STARTS = 4  # of which the best is kept


def kmeans_labels(points: NDArray[np.float64], seed: int, count: int) -> NDArray[np.int64]:
    """int64 [n]: the cluster of each point, from 0."""
    from sklearn.cluster import KMeans

    return KMeans(count, n_init=STARTS, random_state=seed).fit_predict(points).astype(np.int64)


def kmeans(points: NDArray[np.float64], seed: int) -> Clustering:
    labels = partial(kmeans_labels, points, seed)
    return Clustering(points, labels, labels)
