"""Each protocol against a plain reckoning over the baskets as people made them."""

from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import DataError
from training.cases import TEST, TRAIN, VALIDATION, next_basket_cases
from training.protocols import PROTOCOLS, cases_for, leave_one_out, split_for

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
    prepared = logs.prepared(baskets, phones=PHONES)
    if not expected:
        with pytest.raises(DataError):
            cases_for(prepared, "global_time", split)
        return
    cases = cases_for(split_for(prepared, "global_time"), "global_time", split)
    assert cases.person.tolist() == sorted(expected)
    for row, person in enumerate(cases.person.tolist()):
        assert (items_of(cases.targets, row), items_of(cases.weights, row)) == expected[person]
    assert set(cases.targets.data.tolist()) == {1.0}
    assert cases.information is not None


@given(seeds)
def test_leave_one_out_holds_out_the_last_basket_of_each_person_and_the_one_before(logs, seed: int) -> None:
    baskets = logs.ordered(logs.draw(seed))
    prepared = leave_one_out(logs.prepared(baskets, phones=PHONES))
    expected = []
    for _, own in groupby(baskets, lambda basket: basket.person):
        number = len(list(own))
        expected += [TRAIN] * (number - 2) + [VALIDATION, TEST] if number >= 3 else [TRAIN] * number
    assert prepared.basket_split.tolist() == expected
    for split in (VALIDATION, TEST):
        cases = cases_for(prepared, "leave_one_out", split)
        assert len(set(cases.person.tolist())) == len(cases)
        for row, number in enumerate(cases.baskets.tolist()):
            assert expected[number] == split
            basket = baskets[number]
            assert items_of(cases.targets, row) == {item for item, _ in basket.lines}
            assert items_of(cases.weights, row) == seen_before(baskets, basket.person, basket.time_ms)


@given(seeds, splits)
def test_the_next_basket_is_asked_for_by_time(logs, seed: int, split: int) -> None:
    prepared = logs.prepared(logs.draw(seed), phones=PHONES)
    assert split_for(prepared, "next_basket") is prepared
    cases = cases_for(prepared, "next_basket", split)
    assert cases.baskets.tolist() == next_basket_cases(prepared, split).baskets.tolist()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_held_out_is_not_trained_on(logs, protocol: str) -> None:
    prepared = split_for(logs.prepared(logs.draw(4), phones=PHONES), protocol)
    held_out = np.concatenate([cases_for(prepared, protocol, split).baskets for split in (VALIDATION, TEST)])
    assert (prepared.basket_split[held_out] != TRAIN).all()
