"""How many segments: the number that both silhouette and Davies-Bouldin like, with enough people in each."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from contracts.segments import Considered
from training.segments.clustering import Labels

FEWEST, MOST = 3, 10  # two segments, more and less, say nothing that the number of purchases does not say alone
LEAST_PEOPLE = 10  # of a segment: fewer are no group but somebody


def scores(space: NDArray[np.float64], labels: NDArray[np.int64]) -> tuple[float, float]:
    """Silhouette and Davies-Bouldin of at least two clusters of fewer than n different points."""
    from sklearn.metrics import davies_bouldin_score, silhouette_score

    return float(silhouette_score(space, labels)), float(davies_bouldin_score(space, labels))


def counts_to_try(people: int, distinct: int) -> range:
    """Numbers of segments that so many people allow; none where they are too few for two."""
    most = min(MOST, people // LEAST_PEOPLE, distinct - 1)
    return range(min(FEWEST, max(most, 2)), most + 1)


def consider(space: NDArray[np.float64], propose: Labels, counts: Sequence[int]) -> tuple[Considered, ...]:
    """Score every number of segments that the clustering can give."""
    found = []
    for count in counts:
        labels = propose(count)
        sizes = np.bincount(labels, minlength=count)
        if np.count_nonzero(sizes) == count:
            silhouette, davies_bouldin = scores(space, labels)
            found.append(
                Considered(count=count, silhouette=silhouette, davies_bouldin=davies_bouldin, smallest=int(sizes.min()))
            )
    return tuple(found)


def choose(considered: Sequence[Considered]) -> int:
    """The number of the best rank by both scores together, the smaller one of two as good; 1 where there is none.

    A number that leaves a segment with fewer than `LEAST_PEOPLE` is passed over: a few strange people far from all
    others would win every score.
    """
    fit = [each for each in considered if each.smallest >= LEAST_PEOPLE]
    if not fit:
        return 1

    def rank(each: Considered) -> int:
        better_silhouette = sum(other.silhouette > each.silhouette for other in fit)
        better_davies_bouldin = sum(other.davies_bouldin < each.davies_bouldin for other in fit)
        return better_silhouette + better_davies_bouldin

    return min(fit, key=lambda each: (rank(each), each.count)).count
