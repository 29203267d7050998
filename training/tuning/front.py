"""What came out of a tuning: every trial, whether it is on the Pareto front, and the choice."""

import msgspec

from contracts.bundle import Estimate
from training.tuning.space import Candidate


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One choice and what it is worth."""

    number: int  # from 1, in the order in which they were tried; the first has the settings that the search began with
    candidate: Candidate
    finished: bool  # else it was stopped early, and the figures are those it had reached
    ndcg_at_10: Estimate  # on all items
    new_items_ndcg_at_10: Estimate
    training_flops: int  # floating-point operations of a whole training
    parameters: int
    seconds: float  # that it took here; no objective, since it is the machine's
    on_front: bool
    why: str  # it is chosen, on the front, dominated by another, or was stopped


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """The answer.

    The best of many on the same people is flattered by its figures; the test weeks, which tuning never reads, are not.
    """

    segment: str | None
    people: int  # who was measured, on their baskets of the validation weeks
    trials: tuple[Trial, ...]
    chosen: int  # number of the trial
    against_start: dict[str, Estimate]  # NDCG@10 of the choice / that of the first trial - 1, paired
    lines: tuple[str, ...]  # of [teacher] in the project file
