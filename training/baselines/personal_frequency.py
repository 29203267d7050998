"""The person's own purchases over the full history, fading; what the person never bought follows by popularity."""

import numpy as np
from numpy.typing import NDArray

from training.baselines.baseline import Baseline
from training.baselines.popularity import purchase_counts
from training.cases import Cases
from training.prepared import Prepared


class PersonalFrequency(Baseline):
    name = "personal_frequency"

    def __init__(self, prepared: Prepared) -> None:
        counts = purchase_counts(prepared)
        self._tie_break = 1e-6 * counts / max(float(counts.max()), 1.0)

    def score(self, cases: Cases, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return cases.weights[rows].toarray() + self._tie_break
