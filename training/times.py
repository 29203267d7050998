"""A log's time column as milliseconds since 1970."""

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

from contracts.errors import DataError

UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}  # ticks of one second
FIRST_YEAR, LAST_YEAR = 1990, 2100
FIRST_S, LAST_S = 631_152_000, 4_102_444_800  # 1990-01-01 and 2100-01-01 in seconds since 1970
FIRST_MS, LAST_MS = FIRST_S * 1000, LAST_S * 1000
SECONDS_PER_YEAR = 31_556_952  # mean Gregorian


def milliseconds(column: pl.Series, unit: str, timezone: str) -> pl.Series:
    """Times as milliseconds since 1970, UTC; null where a single one is missing or unreadable.

    Args:
        column: numbers since 1970, dates, date and times, or their ISO 8601 text.
        unit: of numbers: a key of `UNITS`, or "auto" for the one that puts the log between 1990 and 2100 (no two do:
            the four ranges do not overlap).
        timezone: IANA zone of times that name none.

    Returns:
        int64 [rows].

    Raises:
        DataError: if most times lie outside 1990 to 2100, text is no ISO 8601, or the zone is unknown.
    """
    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError):
        raise DataError(
            f"[data] timezone = {timezone!r} is no IANA zone: use one such as UTC or Europe/London"
        ) from None
    if column.dtype.is_numeric():
        return _from_numbers(column, unit)
    if column.dtype == pl.String:
        column = _from_text(column)
    if column.dtype == pl.Date:
        column = column.cast(pl.Datetime("ms"))
    if not isinstance(column.dtype, pl.Datetime):
        raise DataError(f"column {column.name!r} holds {column.dtype}: a time is a date, ISO 8601 text or a number")
    if column.dtype.time_zone is None:
        # An hour that the clock shows twice is taken for the first; one that it skips cannot be read.
        column = column.dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")
    values = column.dt.epoch("ms")
    _check_years(values.median(), 10**3, column.name, "")
    return values


def _from_numbers(column: pl.Series, unit: str) -> pl.Series:
    values = column.cast(pl.Float64).fill_nan(None) if column.dtype.is_float() else column
    middle = values.median()
    if middle is None:
        raise DataError(f"column {column.name!r} has no time in any row")
    fits = [name for name, ticks in UNITS.items() if FIRST_S <= float(middle) / ticks < LAST_S]
    if unit == "auto":
        if not fits:
            _check_years(middle, 1, column.name, "")
        unit = fits[0]
    else:
        _check_years(middle, UNITS[unit], column.name, f'; set time_unit = "{fits[0]}"' if fits else "")
    ticks = UNITS[unit]
    if ticks <= 1000:
        return (values * (1000 // ticks)).cast(pl.Int64, strict=False)
    return (values.cast(pl.Int64, strict=False) // (ticks // 1000)).cast(pl.Int64)


def _from_text(column: pl.Series) -> pl.Series:
    for attempt in (_zoned, _naive, _dates):
        read = attempt(column)
        if read is not None and read.null_count() * 2 <= len(column):
            return read
    example = column.drop_nulls().first()
    raise DataError(f"column {column.name!r} holds {example!r}: write times as 2026-03-01T12:30:00 or as a number")


def _zoned(column: pl.Series) -> pl.Series | None:
    if not column.str.contains(r"(?:Z|[+-]\d\d:?\d\d)$").mean():
        return None
    return column.str.to_datetime("%+", time_unit="ms", time_zone="UTC", strict=False)


def _naive(column: pl.Series) -> pl.Series | None:
    spaced = column.str.replace("T", " ")
    for pattern in ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M"):
        read = spaced.str.to_datetime(pattern, time_unit="ms", strict=False)
        if read.null_count() * 2 <= len(column):
            return read
    return None


def _dates(column: pl.Series) -> pl.Series | None:
    return column.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("ms"))


def _check_years(middle: float | None, ticks: int, name: str, hint: str) -> None:
    """Refuse a column whose median time lies outside the years that a log can be from."""
    if middle is None:
        raise DataError(f"column {name!r} has no time in any row")
    seconds = float(middle) / ticks
    if not FIRST_S <= seconds < LAST_S:
        year = 1970 + int(seconds // SECONDS_PER_YEAR)
        raise DataError(
            f"column {name!r}: its median {middle} is a time in the year {year}, "
            f"a log's is between {FIRST_YEAR} and {LAST_YEAR}{hint}"
        )
