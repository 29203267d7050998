"""Items bought by the same people: cosine between items, each with its nearest neighbours (Sarwar et al., WWW 2001)."""

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from training.baselines.baseline import Baseline, person_matrix
from training.cases import Cases
from training.prepared import Prepared

NEIGHBOURS = 100
CHUNK = 1024  # items whose similarities are held at once


class ItemKnn(Baseline):
    name = "item_knn"

    def __init__(self, prepared: Prepared) -> None:
        bought = person_matrix(prepared)
        bought.data = np.log1p(bought.data)
        norms = np.sqrt(np.asarray(bought.multiply(bought).sum(0)).ravel())
        unit = (bought @ sp.diags((1.0 / np.maximum(norms, 1e-9)).astype(np.float32))).tocsc()
        self._similar = sp.vstack([self._nearest(unit, first) for first in range(0, unit.shape[1], CHUNK)]).tocsr()

    @staticmethod
    def _nearest(unit: sp.csc_matrix, first: int) -> sp.csr_matrix:
        cosine = (unit[:, first : first + CHUNK].T @ unit).toarray()
        cosine[np.arange(len(cosine)), first + np.arange(len(cosine))] = 0.0
        kept = min(NEIGHBOURS, cosine.shape[1] - 1)
        columns = np.argpartition(-cosine, kept, axis=1)[:, :kept]
        rows = np.repeat(np.arange(len(cosine)), kept)
        values = np.take_along_axis(cosine, columns, axis=1)
        return sp.csr_matrix((values.ravel(), (rows, columns.ravel())), shape=cosine.shape)

    def score(self, cases: Cases, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        history = cases.weights[rows].copy()
        history.data = np.log1p(history.data)
        return (history @ self._similar).toarray()
