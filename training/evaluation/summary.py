"""What is said of models: every metric over all people, and over those of one segment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.bundle import Estimate
from training.evaluation.intervals import estimates
from training.evaluation.people import MEANS, ListMetrics, PersonMetrics

LEAST_MEASURED = 30  # people: of fewer an interval says more about them than about a model


@dataclass(frozen=True)
class ListQuality:
    """Of lists of ten, over people."""

    ndcg: Estimate
    recall: Estimate
    mrr: Estimate
    hit_rate: Estimate
    novelty: Estimate  # bits
    coverage: float  # share of the catalogue that somebody was shown; grows with the number of people


@dataclass(frozen=True)
class Quality:
    all_items: ListQuality
    new_items: ListQuality

    @property
    def ndcg_at_10(self) -> Estimate:
        return self.all_items.ndcg

    @property
    def new_items_ndcg_at_10(self) -> Estimate:
        return self.new_items.ndcg


@dataclass(frozen=True)
class SegmentQuality:
    """Of the test people of one segment."""

    name: str
    people: int  # with a test basket
    quality: dict[str, Quality] | None  # of each model; None where the people are too few to say anything


def quality(metrics: PersonMetrics, seed: int) -> Quality:
    """All metrics of one model."""
    return qualities({"model": metrics}, seed)["model"]


def qualities(people: Mapping[str, PersonMetrics], seed: int) -> dict[str, Quality]:
    """All metrics of each model."""
    lists = [each for metrics in people.values() for each in (metrics.all_items, metrics.new_items)]
    stated = iter(_list_qualities(lists, seed))
    return {name: Quality(next(stated), next(stated)) for name in people}


def _list_qualities(lists: Sequence[ListMetrics], seed: int) -> list[ListQuality]:
    found = iter(estimates([getattr(each, name) for each in lists for name in MEANS], seed))
    return [ListQuality(**{name: next(found) for name in MEANS}, coverage=each.coverage) for each in lists]


def segment_qualities(
    people: Mapping[str, PersonMetrics], names: Sequence[str], codes: NDArray[np.integer], seed: int
) -> list[SegmentQuality]:
    """All metrics of each model over each segment.

    Args:
        people: model -> metrics, of the same test people.
        names: of the segments, from code 1.
        codes: int [people], each person's segment.
        seed: of the intervals.
    """
    found = []
    for code, name in enumerate(names, start=1):
        mine = codes == code
        number = max((int((~np.isnan(metrics.ndcg[mine])).sum()) for metrics in people.values()), default=0)
        enough = number >= LEAST_MEASURED
        some = {model: metrics.of(mine) for model, metrics in people.items()} if enough else {}
        found.append(SegmentQuality(name, number, qualities(some, seed) if enough else None))
    return found
