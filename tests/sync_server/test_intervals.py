from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from sync_server.intervals import missing, union, watermark

ranges = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 8)).map(lambda pair: (pair[0], sum(pair))))


def numbers(of):
    return {number for first, last in of for number in range(first, last + 1)}


@given(ranges)
def test_union_holds_the_same_numbers_in_as_few_ranges_as_possible(given_ranges):
    merged = union(given_ranges)
    assert numbers(merged) == numbers(given_ranges)
    assert all(left[1] + 1 < right[0] for left, right in pairwise(merged))


@given(ranges)
def test_missing_and_present_tile_everything_up_to_the_greatest(given_ranges):
    merged = union(given_ranges)
    present, absent = numbers(merged), numbers(missing(merged))
    assert not present & absent
    assert present | absent == set(range(max(present, default=-1) + 1))


@given(ranges)
def test_the_watermark_ends_the_first_unbroken_run(given_ranges):
    present = numbers(given_ranges)
    mark = watermark(union(given_ranges))
    assert set(range(mark + 1)) <= present
    assert mark + 1 not in present
