"""Each protocol against a plain reckoning over the baskets as people made them."""

import random
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import DataError
from contracts.project import Protocol
from training.baselines import BASELINES
from training.cases import TEST, TRAIN, VALIDATION, cases_of, next_basket_cases
from training.examples import draw_baskets, examples_of
from training.new_item_labels import NewItemLabeller
from training.prepared import Prepared
from training.private.examples import latest_baskets, training_sequences
from training.protocols import TASKS, cases_for
from training.segments import fit_segments
from training.sequence.train import first_takes
from training.soft_labels import label_new_items

PHONES = (2, 5)
seeds = st.integers(0, 10**6)
splits = st.sampled_from([VALIDATION, TEST])


def seen_before(baskets, person: int, time_ms: int) -> set[int]:
    return {item for one in baskets if one.person == person and one.time_ms < time_ms for item, _ in one.lines}


def items_of(matrix, row: int) -> set[int]:
    return set(matrix[row].nonzero()[1].tolist())


@given(seeds, splits)
def test_a_global_time_split_asks_for_all_of_a_period_from_what_was_before_it(logs, seed: int, split: int) -> None:
    baskets = logs.ordered(logs.draw(seed))
    begin, end = {
        VALIDATION: (logs.train_end_ms, logs.validation_end_ms),
        TEST: (logs.validation_end_ms, logs.end_ms),
    }[split]
    expected = {}
    for person in range(9):
        inside = {
            item for one in baskets if one.person == person and begin <= one.time_ms < end for item, _ in one.lines
        }
        before = seen_before(baskets, person, begin)
        if person not in PHONES and inside and before:
            expected[person] = (inside, before)
    prepared = logs.under("global_time", logs.prepared(baskets, phones=PHONES))
    if not expected:
        with pytest.raises(DataError):
            cases_for(prepared, split)
        return
    cases = cases_for(prepared, split)
    assert cases.person.tolist() == sorted(expected)
    for row, person in enumerate(cases.person.tolist()):
        assert (items_of(cases.targets, row), items_of(cases.weights, row)) == expected[person]
    assert set(cases.targets.data.tolist()) == {1.0}
    assert cases.information is not None


@given(seeds)
def test_leave_one_out_holds_out_the_last_basket_of_each_person_and_the_one_before(logs, seed: int) -> None:
    baskets = logs.ordered(logs.draw(seed))
    prepared = logs.under("leave_one_out", logs.prepared(baskets, phones=PHONES))
    expected = []
    for _, own in groupby(baskets, lambda basket: basket.person):
        number = len(list(own))
        expected += [TRAIN] * (number - 2) + [VALIDATION, TEST] if number >= 3 else [TRAIN] * number
    assert prepared.basket_split.tolist() == expected
    for split in (VALIDATION, TEST):
        cases = cases_for(prepared, split)
        assert len(set(cases.person.tolist())) == len(cases)
        for row, number in enumerate(cases.baskets.tolist()):
            assert expected[number] == split
            basket = baskets[number]
            assert items_of(cases.targets, row) == {item for item, _ in basket.lines}
            assert items_of(cases.weights, row) == seen_before(baskets, basket.person, basket.time_ms)


@given(seeds, splits)
def test_the_next_basket_is_asked_for_by_time(logs, seed: int, split: int) -> None:
    prepared = logs.prepared(logs.draw(seed), phones=PHONES)
    cases = cases_for(prepared, split)
    assert cases.baskets.tolist() == next_basket_cases(prepared, split).baskets.tolist()


@pytest.mark.parametrize("protocol", TASKS)
def test_what_is_held_out_is_not_trained_on(logs, protocol: Protocol) -> None:
    prepared = logs.under(protocol, logs.prepared(logs.draw(4), phones=PHONES))
    held_out = np.concatenate([cases_for(prepared, split).baskets for split in (VALIDATION, TEST)])
    assert (prepared.basket_split[held_out] != TRAIN).all()


@pytest.mark.parametrize("protocol", TASKS)
@given(seed=seeds)
def test_what_is_held_out_teaches_nothing(logs, protocol: Protocol, seed: int) -> None:
    """Had people taken other things in what is held out, everything learned would be the same."""
    draw, baskets = random.Random(seed), logs.ordered(logs.draw(seed))
    parts = logs.under(protocol, logs.prepared(baskets)).basket_split
    others = [one if part == TRAIN else logs.change(one, draw) for one, part in zip(baskets, parts, strict=True)]
    one, other = (learned(logs.under(protocol, logs.prepared(each))) for each in (baskets, others))
    for name, found in one.items():
        np.testing.assert_array_equal(found, other[name], err_msg=name)


def learned(prepared: Prepared) -> dict[str, np.ndarray]:
    """All that is learned from a log before a model is fitted, and what a model is fitted to."""
    asked = cases_of(prepared, prepared.basket_split == TRAIN, TRAIN)
    segments = fit_segments(prepared, 0)
    examples = examples_of(prepared, draw_baskets(prepared, TRAIN, 20, 0), 8, segments)
    batch, labels = examples.batch(np.arange(len(examples))), label_new_items(NewItemLabeller(prepared), examples)
    taken, private = first_takes(prepared, TRAIN), training_sequences(prepared, np.random.default_rng(0).random)
    return {name: kind(prepared).score(asked, np.arange(len(asked))) for name, kind in BASELINES.items()} | {
        "segments": segments.person,
        "examples": examples.baskets,
        "histories": examples.histories.counts,
        "targets": np.stack([batch.example, batch.target]),
        "new items": labels.items,
        "shares": labels.share,
        "first takes": taken.item,
        "private": private.item,
        "latest": latest_baskets(prepared, 2),
    }
