"""Training and device give the same codes for the same moment."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.bundle import WISH, WISHES
from export.inference.context import HOUR_OF_WEEK, SEGMENT, encode_context, hour_of_week
from training.context import DEVICE_CLASSES, context_fields, context_of
from training.segments import Segments

NAMES = ("value_1", "value_2", "value_3")


@given(
    st.lists(st.integers(631_152_000_000, 4_102_444_799_999), min_size=1, max_size=12, unique=True),
    st.lists(st.integers(0, len(NAMES)), min_size=3, max_size=3),
    st.sampled_from(sorted(WISHES)),
)
def test_the_codes_are_those_of_the_device(logs, times: list[int], codes: list[int], wish: str) -> None:
    segments = Segments(NAMES, np.array(codes, np.int32))
    baskets = logs.ordered(logs.basket(number % 3, time_ms, [1]) for number, time_ms in enumerate(times))
    chosen = np.arange(len(baskets))[::2]
    found = context_of(logs.prepared(baskets), chosen, segments, wish)
    assert found.dtype == np.int32
    for row, number in zip(found, chosen, strict=True):
        basket = baskets[number]
        values = {HOUR_OF_WEEK: str(hour_of_week(basket.time_ms)), WISH: wish}
        if codes[basket.person]:
            values[SEGMENT] = NAMES[codes[basket.person] - 1]
        assert tuple(row) == encode_context(context_fields(segments), values)


@pytest.mark.parametrize("names", [(), ("value_1",), NAMES])
def test_every_code_fits_its_field_and_none_is_unknowns(names: tuple[str, ...]) -> None:
    fields = context_fields(Segments(names, np.zeros(1, np.int32)))
    assert [field.size - 1 for field in fields] == [168, len(DEVICE_CLASSES), len(names), len(WISHES)]
    for field in fields:
        assert sorted(field.codes.values()) == list(range(1, field.size))
