"""The person's own frequency, with what similar people buy added below it."""

import numpy as np
from numpy.typing import NDArray

from training.baselines.baseline import Baseline
from training.baselines.user_knn import UserKnn
from training.cases import Cases
from training.prepared import Prepared

NEIGHBOUR_SHARE = 0.3  # chosen on the validation weeks


class FrequencyUserKnn(Baseline):
    name = "frequency_user_knn"

    def __init__(self, prepared: Prepared) -> None:
        self._neighbours = UserKnn(prepared)

    def score(self, cases: Cases, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return cases.weights[rows].toarray() + NEIGHBOUR_SHARE * self._neighbours.score(cases, rows)
