"""Quality of an artifact as it ships: every test basket asked of its own runtime, as an app would ask."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from contracts.bundle import ArtifactQuality
from export.runtimes import Evaluator, Feed, Ranked
from training.cases import TEST, Cases
from training.context import context_of
from training.evaluation import CUTOFF, PersonMetrics, gains, list_metrics, nothing_shown, quality
from training.histories import Histories, histories_of
from training.prepared import Prepared
from training.protocols import cases_for
from training.segments import Segments

WORKERS = 2  # artifacts evaluated at once, each on one thread
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Task:
    """Test baskets and what the device model reads before each, once for anything and once for new items only."""

    cases: Cases
    anything: Histories
    new: Histories
    people: int  # in the log

    def subset(self, rows: NDArray[np.int64]) -> "Task":
        """The task of some cases, by increasing row."""
        cases = replace(
            self.cases,
            baskets=self.cases.baskets[rows],
            person=self.cases.person[rows],
            weights=self.cases.weights[rows],
            targets=self.cases.targets[rows],
        )
        return Task(cases, self.anything[rows], self.new[rows], self.people)

    def of_some_people(self, count: int, seed: int) -> "Task":
        """The task of at most `count` people, drawn by the seed, with all of their baskets."""
        people = np.unique(self.cases.person)
        drawn = np.random.default_rng(seed).permutation(people)[:count]
        return self.subset(np.flatnonzero(np.isin(self.cases.person, drawn)))

    def one_of_each(self, count: int, seed: int) -> "Task":
        """The task of at most `count` cases, of as many people where there are so many, else of further baskets."""
        order = np.random.default_rng(seed).permutation(len(self.cases))
        _, first = np.unique(self.cases.person[order], return_index=True)
        first.sort()
        further = np.setdiff1d(np.arange(len(order)), first)
        return self.subset(np.sort(order[np.concatenate([first, further])[:count]]))


def test_task(prepared: Prepared, segments: Segments, history_length: int) -> Task:
    """What the project is tested on."""
    return task_of(prepared, segments, history_length, TEST)


def task_of(prepared: Prepared, segments: Segments, history_length: int, split: int) -> Task:
    """The task of a part by the project's protocol, `training.cases.VALIDATION` or `TEST`."""
    cases = cases_for(prepared, split)
    anything = histories_of(
        prepared, cases.baskets, history_length, context_of(prepared, cases.baskets, segments, "anything")
    )
    new = replace(anything, context=context_of(prepared, cases.baskets, segments, "new"))
    return Task(cases, anything, new, len(prepared.pseudonym))


test_task.__test__ = False  # type: ignore[attr-defined]  # its name is the field's, not a test's


def evaluate_artifacts(
    evaluators: Mapping[str, Evaluator],
    task: Task,
    progress: Progress = lambda what, done, total: None,
    new_items: bool = True,
) -> dict[str, PersonMetrics]:
    """Every artifact's quality, a few at a time.

    Args:
        evaluators: by name.
        task: what is asked.
        progress: called now and then with what is done, how far it is, and how far it goes.
        new_items: whether to ask for new items as well; if not, their metric is NaN.
    """
    total, done, lock = (1 + new_items) * len(task.cases) * len(evaluators), 0, Lock()

    def count() -> None:
        nonlocal done
        with lock:
            done += 1
            if done % 100 == 0 or done == total:
                progress("test baskets", done, total)

    with ThreadPoolExecutor(WORKERS) as workers:
        running = {name: workers.submit(_evaluate, each, task, count, new_items) for name, each in evaluators.items()}
        return {name: each.result() for name, each in running.items()}


def as_quality(metrics: PersonMetrics, evaluator: str, seed: int) -> ArtifactQuality:
    """Means over people with intervals, as the manifest and the model card state them."""
    found = quality(metrics, seed)
    return ArtifactQuality(
        evaluator=evaluator, ndcg_at_10=found.ndcg_at_10, new_items_ndcg_at_10=found.new_items_ndcg_at_10
    )


def _evaluate(evaluator: Evaluator, task: Task, count: Callable[[], None], new_items: bool) -> PersonMetrics:
    cases = task.cases
    anything, new = (np.zeros((len(cases), CUTOFF), np.int64) for _ in range(2))
    for row, feed in enumerate(task.anything.feeds()):
        _put(anything[row], evaluator.rank(feed)[0])
        count()
    all_items = list_metrics(anything, cases, task.people, new_only=False)
    if not new_items:
        return PersonMetrics(all_items, nothing_shown(task.people, cases.targets.shape[1] - 1))
    for row, feed in enumerate(task.new.feeds()):
        candidates = evaluator.rank(feed)[0]
        _put(new[row], candidates[~np.isin(candidates, cases.weights[row].indices)])
        count()
    return PersonMetrics(all_items, list_metrics(new, cases, task.people, new_only=True))


def _put(row: NDArray[np.int64], items: NDArray[np.integer]) -> None:
    row[: min(CUTOFF, len(items))] = items[:CUTOFF]


class Recorded:
    """An evaluator that keeps the top of every answer it gave."""

    def __init__(self, evaluator: Evaluator) -> None:
        self.name = evaluator.name
        self.tops: list[NDArray[np.integer]] = []
        self._evaluator = evaluator

    def rank(self, feed: Feed) -> Ranked:
        answer = self._evaluator.rank(feed)
        self.tops.append(answer[0][:CUTOFF])
        return answer


def ndcg_of(tops: Sequence[NDArray[np.integer]], cases: Cases) -> NDArray[np.float64]:
    """float64 [n]: NDCG@10 of one answer per case."""
    return gains(np.stack(tops), cases, np.arange(len(cases)), new_only=False)[0]
