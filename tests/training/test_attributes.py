"""Price bands: where a price stands within its category, and the same whatever stands beside it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.attributes import UNKNOWN_PRICE, price_bands
from training.teacher import attribute_codes

shelves = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 12)), min_size=1, max_size=40)
numbers = st.integers(1, 6)


@given(shelves, numbers)
def test_it_agrees_with_a_plain_reckoning(shelf: list[tuple[str, int]], bands: int) -> None:
    category, price = zip(*shelf, strict=True)
    found = price_bands(list(category), np.array(price), bands)
    for (kind, own), band in zip(shelf, found, strict=True):
        others = [each for name, each in shelf if name == kind and each]
        if not own:
            assert band == UNKNOWN_PRICE
            continue
        cheaper, alike = sum(each < own for each in others), others.count(own)
        assert band == 1 + (bands * (2 * cheaper + alike)) // (2 * len(others))
        assert 1 <= band <= bands


@given(shelves, numbers, st.randoms())
def test_neither_the_order_nor_other_categories_nor_the_currency_matter(shelf, bands: int, draw) -> None:
    order = draw.sample(range(len(shelf)), len(shelf))
    found = price_bands([kind for kind, _ in shelf], np.array([price for _, price in shelf]), bands)
    shuffled = [shelf[at] for at in order]
    again = price_bands([kind for kind, _ in shuffled], 100 * np.array([price for _, price in shuffled]), bands)
    assert again.tolist() == found[order].tolist()
    alone = [at for at, (kind, _) in enumerate(shelf) if kind == "a"]
    part = price_bands(["a"] * len(alone), np.array([shelf[at][1] for at in alone], np.int64), bands)
    assert part.tolist() == found[alone].tolist()


def test_a_band_is_an_attribute_only_where_asked(logs) -> None:
    items = logs.prepared(logs.draw(1), items=14).items
    assert attribute_codes(items).shape == (3, 15)
    banded = attribute_codes(items, 4)
    assert banded.shape == (4, 15)
    assert (banded[:3] == attribute_codes(items)).all()
    assert banded[3, 0] == 0
    assert len(set(banded[3, 1:])) == 1  # every item is alone in its category


@pytest.mark.parametrize("bands", [1, 5])
def test_equal_prices_are_in_one_band(bands: int) -> None:
    assert price_bands(["a"] * 4, np.full(4, 7), bands).tolist() == [1 + bands // 2] * 4
