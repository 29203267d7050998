"""Soft labels for new items: what a person's neighbours buy, in the categories the person buys from.

The next new item of one person is one of tens of thousands, and of a shop's few thousand people a free model learns by
heart who bought what rather than who will. Neighbours never include the person, so their votes are labels without that
leak, and they are dense. Multiplied by how much the person leans to the item's category, they rank new items better
than any baseline alone.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from training.baselines.popularity import purchase_counts
from training.baselines.user_knn import UserKnn
from training.cases import Cases
from training.prepared import Prepared

LABELS = 64  # items per example
CATEGORY_POWER = 0.25  # chosen on the validation weeks, as are the next two
POPULARITY_SHARE = 1e-3
CATEGORY_SMOOTHING = 0.3


@dataclass(frozen=True)
class NewItemLabels:
    """The most likely new items of n examples."""

    items: NDArray[np.int32]  # [n, LABELS] best first
    share: NDArray[np.float32]  # [n, LABELS] sums to 1


class NewItemLabeller:
    """Fitted on the training baskets of central people."""

    def __init__(self, prepared: Prepared) -> None:
        self._neighbours = UserKnn(prepared)
        counts = purchase_counts(prepared)
        self._popularity = counts / counts.sum()
        _, self._category = np.unique(np.array(prepared.items.category), return_inverse=True)
        categories = int(self._category.max()) + 1
        items = len(self._category)
        ones = np.ones(items, np.float32)
        self._in_category = sp.csr_matrix((ones, (np.arange(items), self._category)), shape=(items, categories))
        self._category_share = np.bincount(self._category, self._popularity, categories) + 1e-9

    def scores(self, weights: sp.csr_matrix, person: NDArray[np.int32]) -> NDArray[np.float32]:
        """float32 [n, items + 1]: higher is likelier; 0 where the person has the item.

        Args:
            weights: float32 [n, items + 1], fading counts of each history.
            person: int32 [n], whose votes are left out.
        """
        cases = Cases(np.zeros(len(person), np.int64), person, weights, weights, 0)
        votes = self._neighbours.score(cases, np.arange(len(person)))
        damped = weights.copy()
        damped.data = np.log1p(damped.data)
        lean = (damped @ self._in_category).toarray()
        lean /= np.maximum(lean.sum(1, keepdims=True), 1e-9)
        lift = ((lean + CATEGORY_SMOOTHING * self._category_share) / self._category_share) ** CATEGORY_POWER
        found = (votes + POPULARITY_SHARE * self._popularity) * lift[:, self._category]
        seen = weights.tocoo()
        found[seen.row, seen.col] = 0.0
        found[:, 0] = 0.0
        return found.astype(np.float32)

    def labels(self, weights: sp.csr_matrix, person: NDArray[np.int32]) -> NewItemLabels:
        """The best `LABELS` items of each row and their shares."""
        found = self.scores(weights, person)
        kept = min(LABELS, found.shape[1] - 1)
        share, best = torch.from_numpy(found).topk(kept, dim=1)
        share = share / share.sum(1, keepdim=True).clamp(min=1e-12)
        return NewItemLabels(best.numpy().astype(np.int32), share.numpy())
