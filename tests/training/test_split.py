"""The split by time never leaks, whatever the log."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import DataError
from contracts.project import Split
from contracts.summary import HOUR_MS
from training.split import TEST, TRAIN, VALIDATION, WEEK_MS, split_by_time

times = st.lists(st.integers(0, 2 * 10**12), min_size=2, max_size=50)
weeks = st.builds(Split, test_weeks=st.integers(1, 60), validation_weeks=st.integers(1, 60))


@given(times, weeks)
def test_every_part_lies_before_the_next(times: list[int], weeks: Split) -> None:
    taken = (weeks.test_weeks + weeks.validation_weeks) * WEEK_MS
    if max(times) - min(times) < taken - HOUR_MS:
        with pytest.raises(DataError):
            split_by_time(min(times), max(times), weeks)
        return
    try:
        boundaries = split_by_time(min(times), max(times), weeks)
    except DataError:
        assert max(times) - min(times) <= taken  # the rounding to whole hours decided
        return
    moments = np.array(times, np.int64)
    parts = boundaries.parts(moments)
    for earlier, later in ((TRAIN, VALIDATION), (VALIDATION, TEST), (TRAIN, TEST)):
        if (parts == earlier).any() and (parts == later).any():
            assert moments[parts == earlier].max() < moments[parts == later].min()
    assert (parts[moments == moments.min()] == TRAIN).all()
    assert (parts[moments == moments.max()] == TEST).all()


@given(times, weeks)
def test_parts_have_their_length_and_no_hour_lies_in_two(times: list[int], weeks: Split) -> None:
    last = max(times) + (weeks.test_weeks + weeks.validation_weeks + 1) * WEEK_MS
    boundaries = split_by_time(min(times), last, weeks)
    assert boundaries.end_ms - boundaries.validation_end_ms == weeks.test_weeks * WEEK_MS
    assert boundaries.validation_end_ms - boundaries.train_end_ms == weeks.validation_weeks * WEEK_MS
    assert last < boundaries.end_ms <= last + HOUR_MS
    for boundary in (boundaries.train_end_ms, boundaries.validation_end_ms, boundaries.end_ms):
        assert boundary % HOUR_MS == 0


def test_a_boundary_belongs_to_the_later_part() -> None:
    boundaries = split_by_time(0, 20 * WEEK_MS, Split())
    edges = np.array([boundaries.train_end_ms, boundaries.validation_end_ms])
    assert boundaries.parts(edges).tolist() == [VALIDATION, TEST]
    assert boundaries.parts(edges - 1).tolist() == [TRAIN, VALIDATION]


def test_a_short_log_is_refused_with_its_length() -> None:
    with pytest.raises(DataError, match="the log spans 14 days, test_weeks = 4 and validation_weeks = 4 take 56"):
        split_by_time(0, 2 * WEEK_MS - 1, Split())
