"""How often an item is bought at all."""

import numpy as np
from numpy.typing import NDArray

from training.baselines.baseline import Baseline, training_baskets
from training.cases import Cases, basket_matrix
from training.prepared import Prepared


def purchase_counts(prepared: Prepared) -> NDArray[np.float32]:
    """float32 [items + 1]: training baskets of central people that hold the item."""
    return np.asarray(basket_matrix(prepared, training_baskets(prepared)).sum(0), np.float32).ravel()


class Popularity(Baseline):
    name = "popularity"

    def __init__(self, prepared: Prepared) -> None:
        self._counts = purchase_counts(prepared)

    def score(self, cases: Cases, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.repeat(self._counts[None], len(rows), axis=0)
