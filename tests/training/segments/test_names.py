"""Names are readable, all different, and follow the centres."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.segments import FEATURES, FREQUENCY, RECENCY, VALUE
from training.segments.names import EVERYONE, segment_names

centre = st.fixed_dictionaries({name: st.floats(-3, 3) for name in FEATURES})
centres = st.lists(centre, min_size=2, max_size=20)


@given(centres)
def test_all_are_different_and_say_who_comes_and_spends(found: list[dict[str, float]]) -> None:
    names = segment_names(found)
    assert len(set(names)) == len(found)
    for name in names:
        habit, spending, *_ = name.split(", ")
        assert habit in ("loyal", "regular", "occasional", "lapsing")
        assert spending.split(" ")[:2][1] == "value"


@given(centres, st.integers(0, 10**6))
def test_the_order_of_centres_changes_no_name(found: list[dict[str, float]], seed: int) -> None:
    names = segment_names(found)
    order = random.Random(seed).sample(range(len(found)), len(found))
    shuffled = segment_names([found[at] for at in order])
    for at, name in zip(order, shuffled, strict=True):
        if not (name[-1].isdigit() or names[at][-1].isdigit()):
            assert name == names[at]


@pytest.mark.parametrize(
    ("frequency", "value", "recency", "name"),
    [
        (1.0, 0.9, -0.7, "loyal, high value"),
        (1.0, -0.9, -0.7, "loyal, low value"),
        (0.0, 0.1, 0.0, "regular, medium value"),
        (-1.0, 0.9, 0.0, "occasional, high value"),
        (-1.0, -0.9, 1.2, "lapsing, low value"),
    ],
)
def test_what_a_centre_is_called(frequency: float, value: float, recency: float, name: str) -> None:
    other = {FREQUENCY: 3.0, VALUE: 0.0, RECENCY: 0.0}
    assert segment_names([{FREQUENCY: frequency, VALUE: value, RECENCY: recency}, other])[0] == name


def test_namesakes_are_told_apart_by_what_parts_them() -> None:
    alike = {FREQUENCY: 1.0, VALUE: 1.0}
    names = segment_names([alike | {"basket_size": 0.9}, alike | {"basket_size": -0.2}, {VALUE: -1.0}])
    assert names == ("loyal, high value, large baskets", "loyal, high value, small baskets", "regular, low value")
    assert segment_names([alike, alike]) == ("loyal, high value 1", "loyal, high value 2")


def test_without_prices_nothing_is_said_of_value() -> None:
    names = segment_names(
        [{FREQUENCY: 1.0, RECENCY: -0.7}, {FREQUENCY: 0.1, RECENCY: 0.2}, {FREQUENCY: -1.3, RECENCY: 1.0}]
    )
    assert names == ("loyal", "regular", "lapsing")


def test_one_segment_is_everyone() -> None:
    assert segment_names([{}]) == (EVERYONE,)
    assert segment_names([]) == ()
