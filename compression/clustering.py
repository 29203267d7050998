"""Clustering of dense weights with TFMOT: each layer keeps few distinct values, which pays in a download's size.

Source: Han, Mao and Dally 2016, Deep Compression (arXiv:1510.00149), section 3.
"""

from typing import TYPE_CHECKING

import numpy as np
import tf_keras

from compression.compression_pass import Pass
from compression.recipe import Recipe

if TYPE_CHECKING:
    from compression.device_model import DeviceModel


class ClusterDense(Pass):
    """Moves each weight to the nearest of its layer's centroids, which are evenly spaced; zeros stay zeros.

    Weights that have so few values already stay as they are: training has moved their centroids.
    """

    name = "clustering"

    def wanted(self, recipe: Recipe) -> bool:
        return bool(recipe.clusters)

    def apply(self, model: "DeviceModel", recipe: Recipe) -> None:
        from tensorflow_model_optimization.clustering import keras as clustering
        from tensorflow_model_optimization.python.core.clustering.keras.experimental import cluster as experimental

        def wrap(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
            if not isinstance(layer, tf_keras.layers.Dense) or _clustered(layer.kernel.numpy(), recipe.clusters):
                return layer
            return experimental.cluster_weights(
                layer,
                number_of_clusters=recipe.clusters,
                cluster_centroids_init=clustering.CentroidInitialization.LINEAR,
                preserve_sparsity=True,
            )

        for name in ("token_encoder", "query_encoder"):
            wrapped = tf_keras.models.clone_model(getattr(model, name), clone_function=wrap)
            setattr(model, name, clustering.strip_clustering(wrapped))


def _clustered(kernel: np.ndarray, clusters: int) -> bool:
    """Whether a kernel has no more values than clusters, beside zero."""
    return len(np.setdiff1d(kernel, 0.0)) <= clusters
