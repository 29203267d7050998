"""The next-basket task against a plain reckoning over the baskets as people made them."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import DataError
from contracts.events import EventType
from contracts.summary import HOUR_MS, fading_count, weights_at
from training.cases import TEST, TRAIN, VALIDATION, basket_matrix, next_basket_cases, target_matrix

PHONES = (2, 5)
seeds = st.integers(0, 10**6)
splits = st.sampled_from([TRAIN, VALIDATION, TEST])


def part(logs, basket) -> int:
    return (basket.time_ms >= logs.train_end_ms) + (basket.time_ms >= logs.validation_end_ms)


@given(seeds, splits)
def test_it_agrees_with_a_plain_reckoning(logs, seed: int, split: int) -> None:
    baskets = logs.ordered(logs.draw(seed))
    expected, excluded = {}, 0
    for number, basket in enumerate(baskets):
        if part(logs, basket) != split or basket.person in PHONES:
            continue
        earlier = [one for one in baskets if one.person == basket.person and one.time_ms < basket.time_ms]
        if not earlier:
            excluded += 1
            continue
        counts: dict[int, float] = {}
        for one in earlier:
            hour = one.time_ms // HOUR_MS
            for item, _ in one.lines:
                share = fading_count(weights_at(hour), basket.time_ms // HOUR_MS)
                counts[item] = counts.get(item, 0.0) + share
        expected[number] = (basket.person, {item for item, _ in basket.lines}, counts)
    cases = next_basket_cases(logs.prepared(baskets, phones=PHONES), split)

    assert cases.baskets.tolist() == sorted(expected)
    assert cases.excluded == excluded
    assert len(cases) == len(expected)
    assert cases.person.tolist() == [expected[number][0] for number in cases.baskets]
    targets, weights = cases.targets.toarray(), cases.weights.toarray()
    assert targets.shape == weights.shape == (len(expected), 15)
    for row, number in enumerate(cases.baskets):
        _, wanted, counts = expected[number]
        assert set(np.flatnonzero(targets[row])) == wanted
        assert dict(zip(np.flatnonzero(weights[row]), weights[row][weights[row] > 0], strict=True)) == pytest.approx(
            counts, rel=1e-6
        )


@given(seeds, splits)
def test_phones_neither_are_cases_nor_change_one(logs, seed: int, split: int) -> None:
    """Their baskets are others, in number too; only the numbers of the baskets shift."""
    draw = random.Random(seed)
    baskets = logs.ordered(logs.draw(seed))
    with_phones = next_basket_cases(logs.prepared(baskets, phones=PHONES), split)
    changed = [logs.change(one, draw) if one.person in PHONES else one for one in baskets]
    changed += [one for one in logs.draw(seed + 1) if one.person in PHONES]
    other = next_basket_cases(logs.prepared(changed, phones=PHONES), split)
    assert not set(with_phones.person) & set(PHONES)
    assert with_phones.person.tolist() == other.person.tolist()
    assert with_phones.excluded == other.excluded
    for name in ("weights", "targets"):
        assert (getattr(with_phones, name) != getattr(other, name)).nnz == 0


@given(seeds)
def test_a_basket_holds_an_item_once_by_its_weightiest_event(logs, seed: int) -> None:
    draw = random.Random(seed)
    kinds = (EventType.PURCHASE, EventType.VIEW, EventType.ADD_TO_CART)
    baskets = logs.ordered(
        logs.Basket(person, logs.start_ms + number, tuple({(draw.randint(1, 5), draw.choice(kinds)) for _ in range(6)}))
        for person in range(2)
        for number in range(3)
    )
    chosen = np.array(sorted(draw.sample(range(6), k=4)))
    matrix = basket_matrix(logs.prepared(baskets, items=5), chosen)
    assert matrix.dtype == np.float32
    shares = {EventType.PURCHASE: 1.0, EventType.VIEW: 2 / 64, EventType.ADD_TO_CART: 16 / 64}
    naive = [
        [max((shares[kind] for one, kind in baskets[number].lines if one == item), default=0.0) for item in range(6)]
        for number in chosen
    ]
    assert matrix.toarray().tolist() == naive
    wanted = target_matrix(logs.prepared(baskets, items=5), chosen)
    assert wanted.toarray().tolist() == [[float(weight == 1.0) for weight in row] for row in naive]


def test_a_split_in_which_nothing_can_be_measured_is_refused(logs) -> None:
    first_ever = [logs.basket(person, logs.validation_end_ms + person, [1, 2]) for person in range(3)]
    with pytest.raises(DataError, match="none of the 3 baskets of the test part has anything of its person before"):
        next_basket_cases(logs.prepared(first_ever), TEST)
    with pytest.raises(DataError, match="none of the 0 baskets of the validation part"):
        next_basket_cases(logs.prepared(first_ever), VALIDATION)
