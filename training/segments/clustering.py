"""What a way to find segments must give, so that the number of segments can be chosen the same way for all."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Labels = Callable[[int], NDArray[np.int64]]
"""Number of clusters -> int64 [n], the cluster of each point, from 0; none is empty."""


@dataclass(frozen=True)
class Clustering:
    """A method that has seen the points.

    Attributes:
        space: float64 [n, m], where distances mean something: the points, or what they were embedded as.
        propose: clusters in that space, quick enough to try many numbers of them.
        finish: the method's own last word on one number.
    """

    space: NDArray[np.float64]
    propose: Labels
    finish: Labels
