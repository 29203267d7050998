"""Soft labels for new items: what a person's neighbours buy, of the kinds the person buys, as the season has it.

The next new item of one person is one of tens of thousands, and of a shop's few thousand people a free model learns by
heart who bought what rather than who will. Neighbours never include the person, so their votes are labels without that
leak, and they are dense. Multiplied by how much the person leans to the item's category and kind, and by whether the
item is on the rise, they rank new items better than any baseline alone.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from training.baselines.baseline import training_baskets
from training.baselines.popularity import purchase_counts
from training.baselines.user_knn import UserKnn
from training.cases import Cases, basket_matrix
from training.prepared import Prepared

LABELS = 64  # items per example
# Chosen on the validation weeks, as are all that follow.
SHARPNESS = 2  # shares are scores to this power: only the best ranks are ever shown, so they should be learned best
NEIGHBOURS = 120
LEAN_POWER = 0.12  # of the category's and of the kind's lift
LEAN_SMOOTHING = 0.3
POPULARITY_SHARE = 1e-3  # of the popularity, beside the votes: items that no neighbour bought stay in order
TREND_POWER = 0.15
TREND_HOURS = 28 * 24  # the last of the training weeks
TREND_SMOOTHING = 0.1


@dataclass(frozen=True)
class NewItemLabels:
    """The most likely new items of n examples."""

    items: NDArray[np.int32]  # [n, LABELS] best first
    share: NDArray[np.float32]  # [n, LABELS] sums to 1


class _Lean:
    """How much more a person buys of an item's group than people do, to the power of `LEAN_POWER`."""

    def __init__(self, groups: list[str], popularity: NDArray[np.floating]) -> None:
        _, self._group = np.unique(np.array(groups), return_inverse=True)
        items, number = len(groups), int(self._group.max()) + 1
        ones = np.ones(items, np.float32)
        self._member = sp.csr_matrix((ones, (np.arange(items), self._group)), shape=(items, number))
        self._usual = np.bincount(self._group, popularity, number) + 1e-9

    def __call__(self, damped: sp.csr_matrix) -> NDArray[np.float32]:
        """float32 [n, items + 1] from damped counts float32 [n, items + 1]."""
        bought = (damped @ self._member).toarray()
        bought /= np.maximum(bought.sum(1, keepdims=True), 1e-9)
        lift = ((bought + LEAN_SMOOTHING * self._usual) / self._usual) ** LEAN_POWER
        return lift.astype(np.float32)[:, self._group]


class NewItemLabeller:
    """Fitted on the training baskets of central people."""

    def __init__(self, prepared: Prepared) -> None:
        items = prepared.items
        self._neighbours = UserKnn(prepared, NEIGHBOURS)
        counts = purchase_counts(prepared)
        popularity = counts / counts.sum()
        self._floor = POPULARITY_SHARE * popularity
        self._trend = _trend(prepared, counts)
        kinds = [f"{category}\n{name}" for category, name in zip(items.category, items.name, strict=True)]
        self._leans = (_Lean(items.category, popularity), _Lean(kinds, popularity))

    def scores(self, weights: sp.csr_matrix, person: NDArray[np.int32]) -> NDArray[np.float32]:
        """float32 [n, items + 1]: higher is likelier; 0 where the person has the item.

        Args:
            weights: float32 [n, items + 1], fading counts of each history.
            person: int32 [n], whose votes are left out.
        """
        cases = Cases(np.zeros(len(person), np.int64), person, weights, weights, 0)
        found = self._neighbours.score(cases, np.arange(len(person)))
        found /= np.maximum(found.sum(1, keepdims=True), 1e-9)
        found += self._floor
        found *= self._trend
        damped = weights.copy()
        damped.data = np.log1p(damped.data)
        for lean in self._leans:
            found *= lean(damped)
        seen = weights.tocoo()
        found[seen.row, seen.col] = 0.0
        found[:, 0] = 0.0
        return found

    def labels(self, weights: sp.csr_matrix, person: NDArray[np.int32]) -> NewItemLabels:
        """The best `LABELS` items of each row and their shares."""
        found = self.scores(weights, person)
        kept = min(LABELS, found.shape[1] - 1)
        best_scores, best = torch.from_numpy(found).topk(kept, dim=1)
        relative = (best_scores / best_scores[:, :1].clamp(min=1e-30)) ** SHARPNESS
        share = relative / relative.sum(1, keepdim=True).clamp(min=1e-12)
        return NewItemLabels(best.numpy().astype(np.int32), share.numpy())


def _trend(prepared: Prepared, counts: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [items + 1]: an item's share of the last training weeks against its share of all, to `TREND_POWER`."""
    baskets = training_baskets(prepared)
    hours = prepared.basket_hour[baskets]
    last = baskets[hours > hours.max() - TREND_HOURS]
    recent = np.asarray(basket_matrix(prepared, last).sum(0)).ravel()
    usual = (counts + 1.0) / (counts.sum() + len(counts))
    return ((TREND_SMOOTHING + recent / recent.sum() / usual) ** TREND_POWER).astype(np.float32)
