"""What kinds of events teach, and how much: views are a weaker sign than purchases, and a target only where asked."""

import dataclasses
import random

import msgspec
import numpy as np
import pytest
import torch

from contracts.errors import DataError
from contracts.events import EventType
from contracts.project import Learning
from training.baselines.popularity import Popularity, purchase_counts
from training.cases import TEST, TRAIN, next_basket_cases
from training.examples import draw_baskets, examples_of
from training.fit_teacher import TeacherRecipe, fit_teacher
from training.new_item_labels import NewItemLabeller
from training.prepared import Prepared
from training.protocols import cases_for
from training.segments import fit_segments
from training.soft_labels import label_new_items
from training.teacher import Teacher, TeacherShape, attribute_codes

PEOPLE, GOODS = 12, 10
BAIT = range(GOODS + 1, 2 * GOODS + 1)  # looked at all the time, never bought
ITEMS, LENGTH = 2 * GOODS, 16
SHAPE = TeacherShape(width=14, heads=2, recent=4, dropout=0.0)


def learning(prepared: Prepared, **settings) -> Prepared:
    return dataclasses.replace(prepared, record=msgspec.structs.replace(prepared.record, learning=Learning(**settings)))


@pytest.fixture(scope="module")
def shop(logs) -> Prepared:
    """Everybody looks at three baits every day and buys two goods every fourth."""
    draw, baskets = random.Random(3), []
    for day in range((logs.end_ms - logs.start_ms) // 86_400_000):
        for person in range(PEOPLE):
            at = logs.start_ms + day * 86_400_000 + person * 1000
            baskets.append(logs.basket(person, at, sorted(draw.sample(BAIT, 3)), EventType.VIEW))
            if (day + person) % 4 == 0:
                bought = [(item, EventType.PURCHASE) for item in draw.sample(range(1, GOODS + 1), 2)]
                looked = [(item, EventType.VIEW) for item in (bought[0][0], draw.choice(BAIT))]
                baskets.append(logs.Basket(person, at + 3_600_000, tuple(bought + looked)))
    return logs.prepared(baskets, items=ITEMS)


VIEWS = {"targets": (EventType.VIEW,)}


@pytest.mark.parametrize(("settings", "foreseen"), [({}, range(1, GOODS + 1)), (VIEWS, range(1, ITEMS + 1))])
def test_only_targets_are_cases_and_examples(shop: Prepared, settings: dict, foreseen: range) -> None:
    prepared = learning(shop, **settings)
    kind = 9 if not settings else 5
    held = [
        {int(item) for item in prepared.events.item[start:stop][prepared.events.event[start:stop] == kind]}
        for start, stop in zip(prepared.basket_start, prepared.basket_start[1:], strict=False)
    ]
    cases = next_basket_cases(prepared, TEST)
    targets = cases.targets.toarray()
    assert [set(np.flatnonzero(row)) for row in targets] == [held[basket] for basket in cases.baskets]
    assert set(np.flatnonzero(targets.sum(0))) <= set(foreseen)
    drawn = draw_baskets(prepared, TRAIN, 40, 0)
    examples = examples_of(prepared, drawn, LENGTH, fit_segments(prepared, 0))
    batch = examples.batch(np.arange(len(examples)))
    for row, basket in enumerate(drawn):
        assert held[basket] == set(batch.target[batch.example == row]) != set()
    assert np.bincount(batch.example, batch.share) == pytest.approx(np.ones(len(drawn)))
    assert set(np.unique(examples.histories.items)) > set(BAIT)  # what was looked at is history all the same


def test_a_view_weighs_less_than_a_purchase_in_what_is_learned(shop: Prepared) -> None:
    views = np.bincount(
        shop.events.item[(shop.basket_split == TRAIN)[shop.events.basket] & (shop.events.event == 5)],
        minlength=ITEMS + 1,
    )
    counts = purchase_counts(shop)
    assert counts[BAIT] == pytest.approx(views[BAIT] * 2 / 64)
    heavier = purchase_counts(learning(shop, weights={EventType.VIEW: 0.5}))
    assert heavier[BAIT] == pytest.approx(views[BAIT] * 0.5)
    without = purchase_counts(learning(shop, weights={EventType.VIEW: 0.0}))
    assert without[BAIT].tolist() == [0.0] * len(BAIT)
    assert (without[1 : GOODS + 1] == np.floor(without[1 : GOODS + 1])).all()


def test_targets_of_several_types_share_a_basket_by_weight(logs) -> None:
    kinds = {1: EventType.PURCHASE, 2: EventType.VIEW, 3: EventType.ADD_TO_CART}
    baskets = [logs.basket(0, logs.start_ms, [1]), logs.Basket(0, logs.start_ms + 10**8, tuple(kinds.items()))]
    prepared = learning(logs.prepared(baskets, items=3), targets=tuple(kinds.values()), weights={EventType.VIEW: 0.25})
    batch = examples_of(prepared, np.array([1]), LENGTH, fit_segments(prepared, 0)).batch(np.array([0]))
    assert dict(zip(batch.target.tolist(), batch.share.tolist(), strict=True)) == pytest.approx(
        {1: 1 / 1.5, 2: 0.25 / 1.5, 3: 0.25 / 1.5}
    )


@pytest.mark.parametrize(("settings", "wanted"), [({}, range(1, GOODS + 1)), (VIEWS, BAIT)])
def test_a_teacher_foresees_what_its_targets_are(shop: Prepared, settings: dict, wanted: range) -> None:
    """The same log: purchases as targets put goods first, views as targets what is looked at."""
    prepared = learning(shop, **settings)
    examples = examples_of(prepared, draw_baskets(prepared, TRAIN, 300, 0), LENGTH, fit_segments(prepared, 0))
    labels = label_new_items(NewItemLabeller(prepared), examples)
    torch.manual_seed(0)
    teacher = Teacher(SHAPE, attribute_codes(prepared.items), purchase_counts(prepared))
    recipe = TeacherRecipe(SHAPE, steps=60, batch=32, rate=2e-2, copy_rate=2e-2)
    fit_teacher(teacher, recipe, examples, labels, 0, lambda *_: None, device="cpu")
    best = teacher.scores(examples.histories[:50])[:, 1:].argsort(descending=True)[:, :5].numpy() + 1
    assert np.isin(best, wanted).mean() > 0.8


def test_popularity_learns_from_weighted_events(shop: Prepared) -> None:
    cases = next_basket_cases(shop, TEST)
    best = Popularity(shop).score(cases, np.arange(1))[0].argsort()[-GOODS:]
    assert set(best) == set(range(1, GOODS + 1))


def test_the_other_protocols_hold_out_targets_only(logs, shop: Prepared) -> None:
    cases = cases_for(logs.under("global_time", shop), TEST)
    assert len(cases) == PEOPLE
    assert not cases.targets.toarray()[:, GOODS + 1 :].any()
    last = logs.under("leave_one_out", shop)
    held_out = cases_for(last, TEST)
    assert len(held_out) == PEOPLE
    for basket, person in zip(held_out.baskets, held_out.person, strict=True):
        later = np.arange(basket + 1, shop.person_start[person + 1])
        assert shop.has_target[basket]
        assert not shop.has_target[later].any()
        assert (last.basket_split[later] == TEST).all()  # nor is what came later learned from


def test_a_log_without_any_target_is_refused(shop: Prepared) -> None:
    prepared = learning(shop, targets=(EventType.ADD_TO_CART,))
    with pytest.raises(DataError, match="none of the 0 baskets of the test part"):
        next_basket_cases(prepared, TEST)
    with pytest.raises(DataError, match="nothing to learn from"):
        draw_baskets(prepared, TRAIN, 10, 0)
