"""What the most similar people buy: cosine over damped counts, items weighted by their rarity."""

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from training.baselines.baseline import Baseline, person_matrix
from training.cases import Cases
from training.prepared import Prepared

NEIGHBOURS = 70  # chosen on the validation weeks
SHARPNESS = 2  # a neighbour's vote is its cosine to this power, chosen likewise


class UserKnn(Baseline):
    name = "user_knn"

    def __init__(self, prepared: Prepared, neighbours: int = NEIGHBOURS) -> None:
        self._kept = neighbours
        damped = person_matrix(prepared)
        damped.data = np.log1p(damped.data)
        people = np.bincount(damped.indices, minlength=damped.shape[1])
        buyers = np.count_nonzero(damped.getnnz(axis=1))
        self._rarity = np.log(buyers / (1.0 + people)).clip(0.0).astype(np.float32)
        self._damped = damped
        self._unit = self._normalised(damped)

    def _normalised(self, matrix: sp.csr_matrix) -> sp.csr_matrix:
        weighted = matrix.multiply(self._rarity[None]).tocsr()
        norms = np.sqrt(np.asarray(weighted.multiply(weighted).sum(1)).ravel())
        return (sp.diags((1.0 / np.maximum(norms, 1e-9)).astype(np.float32)) @ weighted).tocsr()

    def votes(self, cases: Cases, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 [rows, people]: the nearest neighbours' shares, the person's own is 0."""
        history = cases.weights[rows].copy()
        history.data = np.log1p(history.data)
        cosine = (self._normalised(history) @ self._unit.T).toarray()
        cosine[np.arange(len(rows)), cases.person[rows]] = 0.0
        kept = min(self._kept, cosine.shape[1] - 1)
        bound = -np.partition(-cosine, kept, axis=1)[:, kept][:, None]
        votes = np.where(cosine > bound, cosine, 0.0) ** SHARPNESS
        return (votes / np.maximum(votes.sum(1, keepdims=True), 1e-12)).astype(np.float32)

    def score(self, cases: Cases, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return (sp.csr_matrix(self.votes(cases, rows)) @ self._damped).toarray()
