"""Ways to hold out what a model must find, of which a project chooses one; every one ranks the whole catalogue.

* `next_basket`: each basket of the later weeks, from all that its person did before it. What a phone lives through.
* `global_time`: all that a person takes in the later weeks, from what they did before these began, asked for at the
  moment of their first. Nothing that happened later is known of anybody, in training or in a history (Ji et al., "A
  critical study on data leakage in recommender system offline evaluation", TOIS 2023).
* `leave_one_out`: each person's last basket (where every event is an order of its own, their last item), from all
  before it. What most published tables use; other people's later events are known, so its figures are higher.

Which baskets are held out, `training.split` decides once, when the log is prepared; here is what is asked of them.
"""

from dataclasses import replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from contracts.project import Protocol
from training.cases import Cases, cases_of, next_basket_cases, target_matrix
from training.prepared import Prepared

TASKS: dict[Protocol, str] = {
    "next_basket": "the next basket, from what was known strictly before it",
    "global_time": "all that a person takes in the test weeks, from what was known before these began",
    "leave_one_out": "each person's last basket (leave-one-out), from what was known strictly before it",
}
"""What is asked of every model, as reports say it."""


def cases_for(prepared: Prepared, split: int) -> Cases:
    """The cases of a part by the project's protocol: what every model is measured on, whoever measures it.

    Args:
        prepared: the log.
        split: `VALIDATION` or `TEST`.

    Raises:
        DataError: if there is none.
    """
    if prepared.record.protocol == "global_time":
        return period_cases(prepared, split)
    return next_basket_cases(prepared, split)


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
