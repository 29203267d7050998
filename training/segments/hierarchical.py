"""Segments by agglomeration: the two clusters whose union adds least variance are joined first (Ward 1963)."""

import numpy as np
from numpy.typing import NDArray

from training.segments.clustering import Clustering


def hierarchical(points: NDArray[np.float64], seed: int) -> Clustering:
    """One tree, cut at any number of clusters; nothing is drawn, whatever the seed."""
    from scipy.cluster.hierarchy import cut_tree, ward

    tree = ward(points)

    def cut(count: int) -> NDArray[np.int64]:
        return cut_tree(tree, n_clusters=count)[:, 0].astype(np.int64)

    return Clustering(points, cut, cut)
