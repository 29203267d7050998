"""Training, validation and test by time: nothing that happened later is known earlier."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.errors import DataError
from contracts.project import Split
from contracts.summary import HOUR_MS

WEEK_MS = 7 * 24 * HOUR_MS
TRAIN, VALIDATION, TEST = 0, 1, 2


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


def split_by_time(first_ms: int, last_ms: int, weeks: Split) -> Boundaries:
    """The boundaries of a log.

    Args:
        first_ms: time of the first event.
        last_ms: time of the last event.
        weeks: lengths of the validation and test parts.

    Raises:
        DataError: if no time is left for training.
    """
    end = (last_ms // HOUR_MS + 1) * HOUR_MS
    test = end - weeks.test_weeks * WEEK_MS
    validation = test - weeks.validation_weeks * WEEK_MS
    if validation <= first_ms:
        days, taken = (end - first_ms) / (24 * HOUR_MS), 7 * (weeks.test_weeks + weeks.validation_weeks)
        raise DataError(
            f"the log spans {days:.0f} days, test_weeks = {weeks.test_weeks} and validation_weeks = "
            f"{weeks.validation_weeks} take {taken}: shorten them under [split]"
        )
    return Boundaries(validation, test, end)
