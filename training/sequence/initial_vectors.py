"""Where the teacher's item vectors start: factors of what is taken near what.

Positive pointwise mutual information of items that stand near one another in people's sequences, factored: what word
vectors implicitly are (Levy and Goldberg, NIPS 2014). A table that starts so knows after no step what a random one
knows after several epochs.
"""

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, eigsh

from training.sequence.sequences import Sequences
from training.sequence.transformer import INITIAL_DEVIATION, NextItemTransformer, TransformerShape

GAPS = 10  # events between two items that are near
SMOOTHING = 0.75  # power of the counts of what is near, against rare pairs (Levy, Goldberg and Dagan, TACL 2015)


def new_transformer(shape: TransformerShape, sequences: Sequences, seed: int) -> NextItemTransformer:
    """An untrained teacher whose vectors come from the sequences that it will learn from."""
    torch.manual_seed(seed)
    model = NextItemTransformer(shape, sequences.items)
    vectors = initial_vectors(sequences, shape.width, seed)
    with torch.no_grad():
        model.table.weight[:, : vectors.shape[1]] = torch.from_numpy(vectors)
    return model


def initial_vectors(sequences: Sequences, width: int, seed: int) -> NDArray[np.float32]:
    """Vectors of a standard deviation of `INITIAL_DEVIATION`.

    Args:
        sequences: to learn from.
        width: of the vectors.
        seed: of the factorisation's start.

    Returns:
        float32 [items + 1, at most width], strongest column first; fewer where the catalogue has no more.
    """
    information = _information(sequences)
    size = information.shape[0]
    columns = min(width, size - 1, information.nnz)
    if not columns:
        return np.zeros((size, 0), np.float32)
    # Left singular vectors as eigenvectors: svds restarts from coins of its own where items fall apart into worlds.
    squared = LinearOperator((size, size), lambda vector: information @ (information.T @ vector), dtype=np.float64)
    rng = np.random.default_rng(seed)
    strength, left = eigsh(squared, columns, v0=rng.normal(size=size), rng=rng)
    vectors = left[:, ::-1] * strength[::-1].clip(0) ** 0.25  # the square root of a singular value
    return (vectors * (INITIAL_DEVIATION / max(float(vectors.std()), 1e-12))).astype(np.float32)


def _information(sequences: Sequences) -> sp.csr_matrix:
    """float64 [items + 1, items + 1]: 0 where two items are near no more often than by chance."""
    item, size = sequences.item, sequences.items + 1
    person = np.repeat(np.arange(len(sequences)), sequences.sizes())
    near = sp.csr_matrix((size, size))
    for gap in range(1, GAPS + 1):
        same = person[gap:] == person[:-gap]
        weight = np.full(int(same.sum()), gap**-0.5)
        near = near + sp.csr_matrix((weight, (item[:-gap][same], item[gap:][same])), shape=(size, size))
    pairs = (near + near.T).tocoo()
    often = np.asarray(pairs.tocsr().sum(1)).ravel()
    smooth = often**SMOOTHING
    found = np.log(pairs.data * smooth.sum() / (often[pairs.row] * smooth[pairs.col]))
    positive = found > 0
    return sp.csr_matrix((found[positive], (pairs.row[positive], pairs.col[positive])), shape=(size, size))
