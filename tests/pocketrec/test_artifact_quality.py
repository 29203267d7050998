"""Artifacts are evaluated by asking them: held against the evaluation that scores the whole catalogue at once."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from contracts.bundle import CATALOGUE, WISHES
from contracts.events import EVENT_CODES, EventType
from contracts.project import Columns, Data, Fleet, Project, Protocol, Split
from export.catalogue import write_catalogue
from export.inference.catalogue import Catalogue
from export.inference.context import SEGMENT
from export.runtimes import Feed, Ranked
from pocketrec.artifact_quality import Task, evaluate_artifacts, test_task
from pocketrec.bundling import catalogue_contents
from pocketrec.households import traits_of
from pocketrec.quality import BASELINES, bars, comparison
from training.evaluation import MEANS, PersonMetrics, evaluate, nothing_shown
from training.prepare import prepare
from training.prepared import Prepared
from training.protocols import TASKS
from training.pseudonym import key_from_seed
from training.segments import fit_segments
from training.split import TEST, WEEK_MS

START_MS = 1_700_000_400_000
LENGTH, ITEMS, PEOPLE = 12, 40, 14


def prepare_log(folder: Path, split: Split, phones: int) -> Prepared:
    draw = random.Random(4)
    rows = []
    for person in range(PEOPLE):
        for order in range(30):
            time = START_MS + draw.randrange(12 * WEEK_MS)
            rows += [(f"p{person}", f"i{item}", time, f"{person}-{order}") for item in draw.sample(range(ITEMS), 4)]
    source = folder / "log.parquet"
    pl.DataFrame(rows, ["person", "item", "time", "order"], orient="row").write_parquet(source)
    project = Project(
        data=Data(source=str(source), columns=Columns(order="order")),
        split=split,
        fleet=Fleet(phones=phones),
    )
    (folder / "prepared").mkdir()
    return prepare(project, folder / "prepared", key_from_seed(1))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare_log(tmp_path_factory.mktemp("log"), Split(test_weeks=3, validation_weeks=2), phones=3)


@pytest.fixture(scope="module")
def task(prepared: Prepared) -> Task:
    return test_task(prepared, fit_segments(prepared, 1), LENGTH)


class Fixed:
    """An artifact that ranks by one fixed score per item, without the history's items where new ones are asked."""

    name = "fixed"

    def __init__(self, scores: np.ndarray, candidates: int) -> None:
        self._scores, self._candidates = scores, candidates

    def rank(self, feed: Feed) -> Ranked:
        scores = self._scores.copy()
        scores[0] = -np.inf
        if feed["context"][0, -1] == WISHES["new"]:
            scores[feed["items"][0]] = -np.inf
        best = np.argsort(-scores, kind="stable")[: self._candidates]
        return best.astype(np.int32), scores[best].astype(np.float32)


def test_the_answers_of_an_artifact_give_the_quality_of_its_scores(prepared: Prepared, task: Task) -> None:
    scores = np.random.default_rng(2).permutation(len(prepared.items.item_id)).astype(np.float32)
    artifact = Fixed(scores, candidates=len(scores) - 1)
    found = evaluate_artifacts({"fixed": artifact}, task)["fixed"]
    expected = evaluate(lambda rows: np.tile(scores, (len(rows), 1)), task.cases, len(prepared.pseudonym))
    for lists in ("all_items", "new_items"):
        one, other = getattr(found, lists), getattr(expected, lists)
        for metric in MEANS:
            np.testing.assert_array_equal(getattr(one, metric), getattr(other, metric))
        assert (one.shown != other.shown).nnz == 0
    assert np.nanmean(found.ndcg) > 0


def test_a_subset_of_people_keeps_all_of_their_baskets(prepared: Prepared, task: Task) -> None:
    some = task.of_some_people(4, seed=3)
    people = np.unique(some.cases.person)
    assert len(people) == 4
    assert not prepared.is_phone[people].any()
    np.testing.assert_array_equal(some.cases.baskets, task.cases.baskets[np.isin(task.cases.person, people)])
    artifact = Fixed(np.arange(len(prepared.items.item_id), dtype=np.float32), 20)
    whole, part = (evaluate_artifacts({"a": artifact}, each, new_items=False)["a"] for each in (task, some))
    np.testing.assert_array_equal(part.ndcg[people], whole.ndcg[people])
    assert np.isnan(part.new_ndcg).all()
    assert (task.of_some_people(10_000, seed=3).cases.baskets == task.cases.baskets).all()


@pytest.mark.parametrize("count", [5, 11, 30])
def test_the_histories_compared_are_of_as_many_people_as_there_are(task: Task, count: int) -> None:
    some = task.one_of_each(count, seed=3)
    assert len(some.cases) == count
    assert len(np.unique(some.cases.person)) == min(count, len(np.unique(task.cases.person)))
    assert (np.diff(some.cases.baskets) > 0).all()
    assert np.isin(some.cases.baskets, task.cases.baskets).all()


def test_popularity_of_segments_counts_central_people_before_the_test_weeks(prepared: Prepared) -> None:
    segments = fit_segments(prepared, 1)
    contents = catalogue_contents(prepared, segments)
    assert [item.item_id for item in contents.items] == prepared.items.item_id[1:]
    events = prepared.events
    for code, name in enumerate(segments.names, start=1):
        had: dict[int, set[int]] = {}
        for person, item, time in zip(
            events.person.tolist(), events.item.tolist(), events.time_ms.tolist(), strict=True
        ):
            central = not prepared.is_phone[person] and segments.person[person] == code
            if central and time < prepared.record.validation_end_ms:
                had.setdefault(item, set()).add(person)
        expected = sorted(had, key=lambda item: (-len(had[item]), item))
        assert contents.popularity[name] == expected
    assert contents.popularity[""] == list(range(1, len(contents.items) + 1))


@pytest.mark.parametrize("protocol", TASKS)
def test_what_is_held_out_is_not_popular(protocol: Protocol, tmp_path: Path) -> None:
    """Had everybody taken one and the same thing in the test part, no list would know."""
    split = Split(protocol=protocol, test_weeks=3, validation_weeks=2)
    log = prepare_log(tmp_path, split, phones=0 if protocol == "leave_one_out" else 3)
    held_out = log.basket_split[log.events.basket] == TEST
    assert held_out.any()
    item = np.where(held_out, ITEMS - 1, log.events.item).astype(np.int32)
    other = replace(log, events=replace(log.events, item=item))
    one, two = (catalogue_contents(each, fit_segments(each, 1)).popularity for each in (log, other))
    assert one == two


def test_who_only_looked_is_a_small_part_of_a_buyer(prepared: Prepared) -> None:
    """The most popular item, had everybody only looked at it, would come last."""
    event = np.where(prepared.events.item == 1, EVENT_CODES[EventType.VIEW], prepared.events.event).astype(np.int8)
    looked = replace(prepared, events=replace(prepared.events, event=event))
    contents = catalogue_contents(looked, fit_segments(prepared, 1))
    for ranked in contents.popularity.values():
        assert ranked[-1] == 1
    assert contents.popularity[""][:-1] == catalogue_contents(prepared, fit_segments(prepared, 1)).popularity[""][1:]


def test_a_new_person_is_shown_what_their_segment_takes(prepared: Prepared, tmp_path: Path) -> None:
    """From the log to the phone: the segment's name that a phone is told finds the list that the log gave."""
    segments = fit_segments(prepared, 1)
    contents = catalogue_contents(prepared, segments)
    write_catalogue(tmp_path / CATALOGUE, contents)
    catalogue = Catalogue(tmp_path / CATALOGUE)
    told = traits_of(prepared, segments)
    assert told
    for person, traits in told.items():
        name = segments.names[segments.person[person] - 1]
        assert catalogue.popular(traits[SEGMENT], 5) == tuple(contents.popularity[name][:5])
    assert catalogue.popular("of another bundle", 5) == tuple(contents.popularity[""][:5])


def people_with(ndcg: np.ndarray, new: np.ndarray) -> PersonMetrics:
    lists = nothing_shown(len(ndcg), ITEMS)
    return PersonMetrics(replace(lists, ndcg=ndcg), replace(lists, ndcg=new))


def test_bars_rest_on_the_lower_bound_against_the_best_baseline() -> None:
    rng = np.random.default_rng(0)
    base, new = rng.uniform(0.1, 0.4, 200), rng.uniform(0.01, 0.05, 200)
    people = {name: people_with(base * 0.5, new * 0.5) for name in BASELINES}
    people |= {"item_knn": people_with(base, new * 0.5), "user_knn": people_with(base * 0.5, new)}
    people["model.tflite"] = people_with(base * 0.99, new * 1.01)
    found = comparison(people, seed=1)
    assert (found["all_items"]["best_baseline"], found["new_items"]["best_baseline"]) == ("item_knn", "user_knn")
    assert found["all_items"]["relative_difference"]["value"] == pytest.approx(-0.01)
    assert bars(found) == {"all_items": True, "new_items": True}
    assert found["all_items"]["p_value"] < 0.001  # 1 % less for everybody is no chance
    people["model.tflite"] = people_with(base * 0.97, new)
    assert bars(comparison(people, seed=1)) == {"all_items": False, "new_items": False}
