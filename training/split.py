"""Training, validation and test: by time, so that nothing that happened later is known earlier, or by person."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from contracts.errors import DataError
from contracts.events import EventType
from contracts.project import Split
from contracts.summary import HOUR_MS

WEEK_MS = 7 * 24 * HOUR_MS
TRAIN, VALIDATION, TEST = 0, 1, 2
LEAST_BASKETS = 3  # of a person one of whose baskets is held out: one each to learn from, to choose by and to test


@dataclass(frozen=True)
class Boundaries:
    """Each part ends where the next begins; all in milliseconds since 1970, whole hours, ends exclusive.

    Whole hours, because a person's summary knows hours: no hour lies on two sides of a boundary.
    """

    train_end_ms: int
    validation_end_ms: int  # where the test weeks begin
    end_ms: int

    def parts(self, time_ms: NDArray[np.int64]) -> NDArray[np.int8]:
        """int8, same shape: `TRAIN`, `VALIDATION` or `TEST` of each time."""
        inner = np.array([self.train_end_ms, self.validation_end_ms], np.int64)
        return np.searchsorted(inner, time_ms, side="right").astype(np.int8)


def split_lines(lines: pl.DataFrame, settings: Split, targets: Iterable[EventType]) -> tuple[pl.DataFrame, Boundaries]:
    """The part of each line, as the column `part`, and where weeks end.

    Decided before anything is left out of the log for being rare, since what is held out has no say in what is rare.

    Args:
        lines: person, basket_key, time_ms (one for a whole basket) and type of each line.
        settings: of the split.
        targets: event types that are to be foreseen.

    Returns:
        Without later weeks, where people's last baskets are held out, all weeks are training's.

    Raises:
        DataError: if nothing is left to train on, or nobody has a basket to hold out.
    """
    if settings.protocol == "leave_one_out":
        end = _end(lines["time_ms"].max())
        return lines.join(leave_one_out(lines, targets), on=["person", "basket_key"]), Boundaries(end, end, end)
    boundaries = split_by_time(lines["time_ms"].min(), lines["time_ms"].max(), settings)
    return lines.with_columns(part=pl.Series(boundaries.parts(lines["time_ms"].to_numpy()))), boundaries


def leave_one_out(lines: pl.DataFrame, targets: Iterable[EventType]) -> pl.DataFrame:
    """Each person's last basket into the test part and the one before it into the validation part.

    Counted are baskets that hold a target; one that holds none belongs to the part of the last one before it. Who has
    too few of them is learned from only.

    Args and errors as of `split_lines`.

    Returns:
        person, basket_key and part of each basket.
    """
    found = pl.col("found")
    baskets = (
        lines.group_by("person", "basket_key")
        .agg(pl.first("time_ms"), found=pl.col("type").is_in([str(kind) for kind in targets]).any().cast(pl.Int64))
        .sort("person", "time_ms", "basket_key")
        .with_columns(later=found.cum_sum(reverse=True).over("person") - found, found=found.sum().over("person"))
    )
    part = pl.when(found >= LEAST_BASKETS).then((TEST - pl.col("later")).clip(TRAIN)).otherwise(TRAIN)
    parts = baskets.select("person", "basket_key", part=part.cast(pl.Int8))
    if not (parts["part"] == TEST).any():
        raise DataError(
            f'protocol = "leave_one_out" under [split] needs people with {LEAST_BASKETS} baskets to foresee, the log '
            'has none: take protocol = "next_basket"'
        )
    return parts


def split_by_time(first_ms: int, last_ms: int, weeks: Split) -> Boundaries:
    """The boundaries of a log.

    Args:
        first_ms: time of the first event.
        last_ms: time of the last event.
        weeks: lengths of the validation and test parts.

    Raises:
        DataError: if no time is left for training.
    """
    end = _end(last_ms)
    test = end - weeks.test_weeks * WEEK_MS
    validation = test - weeks.validation_weeks * WEEK_MS
    if validation <= first_ms:
        days, taken = (end - first_ms) / (24 * HOUR_MS), 7 * (weeks.test_weeks + weeks.validation_weeks)
        raise DataError(
            f"the log spans {days:.0f} days, test_weeks = {weeks.test_weeks} and validation_weeks = "
            f"{weeks.validation_weeks} take {taken}: shorten them under [split]"
        )
    return Boundaries(validation, test, end)


def _end(last_ms: int) -> int:
    """The first whole hour after the last event."""
    return (last_ms // HOUR_MS + 1) * HOUR_MS
