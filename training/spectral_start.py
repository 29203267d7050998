"""Item vectors to start from: items that are new to the same people begin close to each other.

Gradient steps reach the vectors of rare items late, if ever; a truncated singular value decomposition of the positive
log lift (Levy and Goldberg 2014, "Neural word embedding as implicit matrix factorization") places all of them at once.
"""

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from training.new_item_labels import NewItemLabels

NORM = 0.7  # mean length of a vector, chosen on the validation weeks
POWER_ITERATIONS = 3


def spectral_vectors(
    labels: NewItemLabels, log_popularity: NDArray[np.floating], width: int, seed: int
) -> NDArray[np.float32]:
    """float32 [items + 1, width]; columns beyond the rank of what is known are 0.

    Args:
        labels: of the training examples.
        log_popularity: float [items + 1], logarithm of each item's share.
        width: of a vector.
        seed: of the randomized decomposition (Halko, Martinsson and Tropp 2011).
    """
    from sklearn.utils.extmath import randomized_svd

    examples, kept = labels.items.shape
    shape = (examples, len(log_popularity))
    with np.errstate(divide="ignore"):
        lift = np.maximum(np.log(labels.share) - log_popularity[labels.items], 0.0)
    rows = np.repeat(np.arange(examples), kept)
    matrix = sp.csr_matrix((lift.ravel().astype(np.float32), (rows, labels.items.ravel())), shape=shape)
    rank = min(width, *shape)
    _, strength, directions = randomized_svd(matrix, rank, n_iter=POWER_ITERATIONS, random_state=seed)
    vectors = np.zeros((shape[1], width), np.float32)
    vectors[:, :rank] = directions.T * np.sqrt(strength)
    vectors[0] = 0.0
    length = np.linalg.norm(vectors, axis=1).mean()
    return vectors * np.float32(NORM / length) if length > 0 else vectors
