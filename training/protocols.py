"""Ways to hold out what a model must find; every one ranks the whole catalogue.

* `next_basket`: each basket of the later weeks, from all that its person did before it. What a phone lives through.
* `global_time`: all that a person takes in the later weeks, from what they did before these began. Nothing that
  happened later is known of anybody, in training or in a history (Ji et al., "A critical study on data leakage in
  recommender system offline evaluation", TOIS 2023).
* `leave_one_out`: each person's last basket (where every event has a time of its own, their last item), from all
  before it. What most published tables use; other people's later events are known, so its figures are higher.
"""

from dataclasses import replace
from typing import Literal, get_args

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from training.cases import Cases, cases_of, next_basket_cases, target_matrix
from training.prepared import Prepared
from training.split import TEST, TRAIN, VALIDATION

Protocol = Literal["next_basket", "global_time", "leave_one_out"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
LEAST_BASKETS = 3  # of a person one of whose baskets is held out: one each to learn from, to choose by and to test


def split_for(prepared: Prepared, protocol: Protocol) -> Prepared:
    """The log split as a protocol asks: train on this one's `TRAIN` baskets, then call `cases_for` with it."""
    return leave_one_out(prepared) if protocol == "leave_one_out" else prepared


def cases_for(prepared: Prepared, protocol: Protocol, split: int) -> Cases:
    """The cases of a part.

    Args:
        prepared: as `split_for` made it.
        protocol: the same.
        split: `VALIDATION` or `TEST`.

    Raises:
        DataError: if there is none.
    """
    return period_cases(prepared, split) if protocol == "global_time" else next_basket_cases(prepared, split)


def leave_one_out(prepared: Prepared) -> Prepared:
    """The same log, each person's last basket in the test part and the one before it in the validation part.

    Counted are baskets that hold a target; one that holds none belongs to the part of the last one before it.
    """
    counted = np.flatnonzero(prepared.has_target)
    start = np.searchsorted(prepared.basket_person[counted], np.arange(len(prepared.pseudonym) + 1))
    enough = np.flatnonzero(np.diff(start) >= LEAST_BASKETS)
    split = np.full(len(prepared.basket_start) - 1, TRAIN, np.int8)
    for person in enough:
        validation, test = counted[start[person + 1] - 2 : start[person + 1]]
        split[validation:test], split[test : prepared.person_start[person + 1]] = VALIDATION, TEST
    return replace(prepared, split=split)


def period_cases(prepared: Prepared, split: int) -> Cases:
    """One case for each person: all that was to be foreseen of them in a split, from what they did before it began.

    Raises:
        DataError: if nobody has both.
    """
    later = np.flatnonzero((prepared.basket_split == split) & prepared.has_target)
    asked = np.isin(prepared.basket_person, prepared.basket_person[later])
    cases = cases_of(prepared, _first_of_each(prepared, split) & asked, split)
    owner = np.full(len(prepared.pseudonym), -1)
    owner[cases.person] = np.arange(len(cases))
    later = later[owner[prepared.basket_person[later]] >= 0]
    rows = owner[prepared.basket_person[later]]
    gather = sp.csr_matrix((np.ones(len(later), np.float32), (rows, np.arange(len(later)))), (len(cases), len(later)))
    taken = (gather @ target_matrix(prepared, later)).tocsr()
    taken.data[:] = 1.0
    return replace(cases, targets=taken)


def _first_of_each(prepared: Prepared, split: int) -> NDArray[np.bool_]:
    """bool [baskets]: each person's first basket of a split."""
    inside = np.flatnonzero(prepared.basket_split == split)
    found = np.zeros(len(prepared.basket_split), bool)
    found[inside[np.unique(prepared.basket_person[inside], return_index=True)[1]]] = True
    return found
