"""Whether a teacher that went on from another takes its place: not if the newest week shows it to be worse.

Both are measured on the same people's baskets of the last seven days, which neither has seen, and compared paired: the
people are resampled (Efron and Tibshirani 1993, percentile bootstrap). A model is refused where the whole 95 % interval
of the relative difference lies below zero, on all items or on new ones. A difference that chance explains does not
refuse: on few people it would refuse every model.
"""

import msgspec
import numpy as np

from contracts.bundle import Estimate
from contracts.errors import DataError
from training.cases import TEST, Cases, next_basket_cases
from training.evaluation import PersonMetrics, relative_difference
from training.prepared import Prepared
from training.split import WEEK_MS

LEAST_PEOPLE = 2


class GateDecision(msgspec.Struct, frozen=True, kw_only=True):
    """The decision and what it rests on."""

    accepted: bool
    all_items: Estimate  # NDCG@10 of the new teacher relative to the old one's, minus 1
    new_items: Estimate
    people: int
    begin_ms: int  # of the week, milliseconds since 1970

    @property
    def reason(self) -> str:
        """What was found, in words."""
        told = [
            f"NDCG@10 {what} {found.value:+.1%} [{found.low:+.1%}, {found.high:+.1%}]"
            for what, found in (("on all items", self.all_items), ("on new items", self.new_items))
        ]
        return f"{' and '.join(told)} over {self.people:,} people of the newest week"


def newest_week(prepared: Prepared) -> Cases:
    """The test baskets of the log's last seven days.

    Raises:
        DataError: if they are of fewer than two people.
    """
    cases = next_basket_cases(prepared, TEST)
    rows = np.flatnonzero(prepared.basket_time_ms[cases.baskets] >= prepared.record.end_ms - WEEK_MS)
    people = len(np.unique(cases.person[rows]))
    if people < LEAST_PEOPLE:
        raise DataError(
            f"the log's newest week has baskets of {people} people with a past, the gate needs {LEAST_PEOPLE}: "
            "continue when more has happened, or train without --from"
        )
    return Cases(cases.baskets[rows], cases.person[rows], cases.weights[rows], cases.targets[rows], excluded=0)


def judge(new: PersonMetrics, old: PersonMetrics, begin_ms: int, seed: int) -> GateDecision:
    """Compare two models on the same people.

    Args:
        new, old: quality of each person on the newest week.
        begin_ms: when that week begins, milliseconds since 1970.
        seed: of the resampling.
    """
    differences = (
        relative_difference(new.ndcg, old.ndcg, seed),
        relative_difference(new.new_ndcg, old.new_ndcg, seed),
    )
    return GateDecision(
        accepted=all(found.high >= 0.0 for found in differences),
        all_items=differences[0],
        new_items=differences[1],
        people=int((~np.isnan(new.ndcg) & ~np.isnan(old.ndcg)).sum()),
        begin_ms=begin_ms,
    )
