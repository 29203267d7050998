"""Item-to-item counts over the next baskets: "who bought this, bought that g baskets later", weighted 1 / g.

Source: Ludewig and Jannach 2018 (arXiv:1803.09587), sequential rules, here over baskets.
"""

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from training.baselines.baseline import Baseline, training_baskets
from training.cases import Cases, basket_matrix
from training.prepared import Prepared

GAPS = 5  # baskets


class SequenceRules(Baseline):
    name = "sequence_rules"

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        baskets = training_baskets(prepared)
        held = basket_matrix(prepared, baskets)
        person = prepared.basket_person[baskets]
        rules = sp.csr_matrix((held.shape[1], held.shape[1]), dtype=np.float32)
        for gap in range(1, GAPS + 1):
            same = np.flatnonzero(person[gap:] == person[:-gap])
            rules = rules + (held[same].T @ held[same + gap]).tocsr() * np.float32(1.0 / gap)
        occurrences = np.asarray(held.sum(0)).ravel()
        self._rules = (sp.diags((1.0 / np.maximum(occurrences, 1.0)).astype(np.float32)) @ rules).tocsr()

    def score(self, cases: Cases, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        prepared = self._prepared
        baskets = cases.baskets[rows]
        recent = sp.csr_matrix((len(rows), len(prepared.items.item_id)), dtype=np.float32)
        for gap in range(1, GAPS + 1):
            earlier = np.maximum(baskets - gap, 0)
            mine = baskets - gap >= prepared.person_start[prepared.basket_person[baskets]]
            before = mine & (prepared.basket_time_ms[earlier] < prepared.basket_time_ms[baskets])
            recent = recent + sp.diags(before * np.float32(1.0 / gap)) @ basket_matrix(prepared, earlier)
        return (recent.tocsr() @ self._rules).toarray()
