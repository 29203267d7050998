"""What a baseline is."""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from contracts.summary import HALF_LIFE_HOURS
from training.cases import TRAIN, Cases, basket_matrix
from training.prepared import Prepared

BASELINES: dict[str, type["Baseline"]] = {}
"""Every baseline by its name in the report; a class registers itself by being defined."""


class Baseline(ABC):
    """Statistics of the training weeks of central people, and a score of every item for a case."""

    name: ClassVar[str]

    def __init_subclass__(cls) -> None:
        if cls.name in BASELINES:
            raise TypeError(f"two baselines are named {cls.name!r}: {BASELINES[cls.name].__module__}, {cls.__module__}")
        BASELINES[cls.name] = cls

    @abstractmethod
    def __init__(self, prepared: Prepared) -> None:
        """Fit on the training baskets of people who are not phones."""

    @abstractmethod
    def score(self, cases: Cases, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 [rows, items + 1]: higher is better; column 0 is padding and not read."""


def training_baskets(prepared: Prepared) -> NDArray[np.int64]:
    """Numbers of the training baskets of central people, increasing."""
    central = ~prepared.is_phone[prepared.basket_person]
    return np.flatnonzero(central & (prepared.basket_split == TRAIN)).astype(np.int64)


def person_matrix(prepared: Prepared) -> sp.csr_matrix:
    """float32 [people, items + 1]: counts of the training weeks, fading with HALF_LIFE_HOURS towards their end."""
    baskets = training_baskets(prepared)
    hours = prepared.basket_hour[baskets].astype(np.float64)
    fade = 2.0 ** ((hours - hours.max()) / HALF_LIFE_HOURS)
    people = len(prepared.pseudonym)
    select = sp.csr_matrix(
        (fade.astype(np.float32), (prepared.basket_person[baskets], np.arange(len(baskets)))),
        shape=(people, len(baskets)),
    )
    return (select @ basket_matrix(prepared, baskets)).tocsr()
