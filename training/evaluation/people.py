"""Quality for each person: averaged within a person first, so that all people weigh alike."""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from training.cases import Cases
from training.evaluation.ranking import gains, top_items

BATCH = 512

Score = Callable[[NDArray[np.int64]], NDArray[np.float32] | torch.Tensor]
"""Rows of the cases -> float32 [rows, items + 1], the score of every item."""


@dataclass(frozen=True)
class ListMetrics:
    """Of the lists of ten that people were shown: each person's mean over their cases, NaN for people without one."""

    ndcg: NDArray[np.float64]  # [people]
    recall: NDArray[np.float64]
    mrr: NDArray[np.float64]  # mean reciprocal rank
    hit_rate: NDArray[np.float64]
    novelty: NDArray[np.float64]  # mean self-information of what was shown, bits (Zhou et al., PNAS 2010)
    shown: sp.csr_matrix  # bool [people, items + 1]: who was shown what at all

    def of(self, people: NDArray[np.integer] | NDArray[np.bool_]) -> "ListMetrics":
        """The metrics of some people."""
        return ListMetrics(*(getattr(self, field.name)[people] for field in fields(self)))

    @property
    def coverage(self) -> float:
        """Share of the catalogue that somebody was shown."""
        return len(np.unique(self.shown.indices)) / (self.shown.shape[1] - 1)


MEANS = tuple(field.name for field in fields(ListMetrics) if field.name != "shown")
"""The metrics that are a number for each person."""


@dataclass(frozen=True)
class PersonMetrics:
    all_items: ListMetrics
    new_items: ListMetrics  # everything the person ever bought is masked

    @property
    def ndcg(self) -> NDArray[np.float64]:
        return self.all_items.ndcg

    @property
    def recall(self) -> NDArray[np.float64]:
        return self.all_items.recall

    @property
    def new_ndcg(self) -> NDArray[np.float64]:
        return self.new_items.ndcg

    def of(self, people: NDArray[np.integer] | NDArray[np.bool_]) -> "PersonMetrics":
        """The metrics of some people."""
        return PersonMetrics(self.all_items.of(people), self.new_items.of(people))


def by_person(values: NDArray[np.float64], person: NDArray[np.int32], people: int) -> NDArray[np.float64]:
    """float64 [people]: mean of the cases that count, NaN for people without one."""
    counted = ~np.isnan(values)
    total = np.bincount(person[counted], values[counted], minlength=people)
    number = np.bincount(person[counted], minlength=people)
    return np.where(number, total / np.maximum(number, 1), np.nan)


def evaluate(
    score: Score, cases: Cases, people: int, progress: Callable[[int, int], None] | None = None
) -> PersonMetrics:
    """Score every item for every case and average within people."""
    tops: tuple[list[NDArray[np.int64]], ...] = ([], [])
    for first in range(0, len(cases), BATCH):
        rows = np.arange(first, min(first + BATCH, len(cases)))
        scores = torch.as_tensor(score(rows))
        tops[0].append(top_items(scores))
        seen = cases.weights[rows].tocoo()
        scores = scores.clone()
        scores[torch.from_numpy(seen.row.astype(np.int64)), torch.from_numpy(seen.col.astype(np.int64))] = -torch.inf
        best = top_items(scores)
        best[np.isneginf(np.take_along_axis(scores.numpy(), best, axis=1))] = 0  # the person had everything else
        tops[1].append(best)
        if progress:
            progress(first + len(rows), len(cases))
    return PersonMetrics(
        *(list_metrics(np.concatenate(each), cases, people, bool(new_only)) for new_only, each in enumerate(tops))
    )


def list_metrics(top: NDArray[np.integer], cases: Cases, people: int, new_only: bool) -> ListMetrics:
    """Metrics of one list for every case.

    Args:
        top: int [cases, up to CUTOFF], best first, 0 where nothing is left to recommend.
        cases: the task.
        people: in the log.
        new_only: only targets the person never bought count, and the lists hold nothing they bought.
    """
    found = [np.zeros((4, 0))]
    for first in range(0, len(cases), BATCH):
        rows = np.arange(first, min(first + BATCH, len(cases)))
        found.append(gains(top[rows], cases, rows, new_only))
    values = np.concatenate(found, axis=1)
    scored = ~np.isnan(values[0])  # a list is shown where there was something to find
    ndcg, recall, mrr, hit_rate = (by_person(each, cases.person, people) for each in values)
    person = np.repeat(cases.person[scored], top.shape[1])
    item = top[scored].ravel()
    person, item = person[item > 0], item[item > 0]
    shown = sp.csr_matrix((np.ones(len(item), bool), (person, item)), shape=(people, cases.targets.shape[1]))
    novelty = np.full(people, np.nan)
    if cases.information is not None:
        novelty = by_person(cases.information[item].astype(np.float64), person, people)
    return ListMetrics(ndcg, recall, mrr, hit_rate, novelty, shown)


def nothing_shown(people: int, items: int) -> ListMetrics:
    """Metrics of a task that was not asked: nobody has any.

    Args:
        people: in the log.
        items: of the catalogue.
    """
    nobody = {name: np.full(people, np.nan) for name in MEANS}
    return ListMetrics(**nobody, shown=sp.csr_matrix((people, items + 1), dtype=bool))
