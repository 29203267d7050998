"""A log's times become milliseconds, or one clear line."""

from datetime import UTC, date, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import DataError
from training.times import FIRST_S, LAST_S, UNITS, milliseconds

NOON = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
NOON_MS = 1_772_368_200_000


def read(values: list, unit: str = "auto", timezone: str = "UTC", dtype: pl.DataType | None = None) -> list:
    return milliseconds(pl.Series("when", values, dtype), unit, timezone).to_list()


@given(st.integers(FIRST_S, LAST_S - 1), st.sampled_from(sorted(UNITS)))
def test_the_unit_of_numbers_is_found(seconds: int, unit: str) -> None:
    assert read([seconds * UNITS[unit]]) == [seconds * 1000]
    assert read([seconds * UNITS[unit]], unit) == [seconds * 1000]


@given(st.integers(FIRST_S, LAST_S - 1), st.sampled_from(sorted(UNITS)), st.sampled_from(sorted(UNITS)))
def test_the_wrong_unit_is_refused_with_the_right_one(seconds: int, unit: str, claimed: str) -> None:
    if unit == claimed:
        return
    with pytest.raises(DataError, match="between 1990 and 2100") as error:
        read([seconds * UNITS[unit]], claimed)
    assert f'set time_unit = "{unit}"' in str(error.value)


def test_numbers_of_no_unit_are_refused() -> None:
    with pytest.raises(DataError, match=r"column 'when': its median 17\.0 is a time in the year 1970"):
        read([1, 17, 20])


def test_one_wrong_time_among_many_is_left_to_cleaning() -> None:
    assert read([0, NOON_MS, NOON_MS]) == [0, NOON_MS, NOON_MS]


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01T12:30:00",
        "2026-03-01 12:30:00.000",
        "2026-03-01 12:30",
        "2026-03-01T12:30:00Z",
        "2026-03-01T13:30:00+01:00",
        "2026-03-01T07:30:00-0500",
    ],
)
def test_text_is_read_as_iso_8601(text: str) -> None:
    assert read([text]) == [NOON_MS]


def test_dates_and_datetimes_are_read() -> None:
    assert read([date(2026, 3, 1)]) == [NOON_MS - (12 * 60 + 30) * 60_000]
    assert read(["2026-03-01"]) == [NOON_MS - (12 * 60 + 30) * 60_000]
    assert read([NOON.replace(tzinfo=None)]) == [NOON_MS]
    assert read([NOON]) == [NOON_MS]
    assert read([float(NOON_MS)]) == [NOON_MS]


def test_naive_times_are_of_the_given_zone_others_of_their_own() -> None:
    hour = 3_600_000
    assert read([NOON.replace(tzinfo=None)], timezone="America/New_York") == [NOON_MS + 5 * hour]
    assert read(["2026-03-01T12:30:00"], timezone="America/New_York") == [NOON_MS + 5 * hour]
    assert read(["2026-03-01T12:30:00Z"], timezone="America/New_York") == [NOON_MS]


def test_what_a_clock_skips_is_null_and_what_it_shows_twice_is_the_first() -> None:
    skipped, twice = datetime(2026, 3, 29, 2, 30), datetime(2026, 10, 25, 2, 30)
    first = int(datetime(2026, 10, 25, 0, 30, tzinfo=UTC).timestamp() * 1000)
    assert read([skipped, twice], timezone="Europe/Berlin") == [None, first]


def test_unreadable_single_times_are_null_most_are_an_error() -> None:
    assert read(["2026-03-01 12:30", None, "2026-03-01 12:30", "soon"]) == [NOON_MS, None, NOON_MS, None]
    with pytest.raises(DataError, match="holds '05-17': write times as 2026-03-01T12:30:00"):
        read(["05-17", "11-11"])
    with pytest.raises(DataError, match="no time in any row"):
        read([None, None], dtype=pl.Int64())
    with pytest.raises(DataError, match="holds Boolean"):
        read([True])


def test_an_unknown_zone_is_refused() -> None:
    with pytest.raises(DataError, match="'Atlantis' is no IANA zone"):
        read([NOON_MS], timezone="Atlantis")
