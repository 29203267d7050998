"""Everybody's items in order of time, and the leave-one-out split of them.

Leave-one-out as in Kang and McAuley 2018 (arXiv:1808.09781): a person's last item is the test target, the one before
it the validation target, everything earlier is for training.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.errors import DataError

TEST_HELD_OUT, VALIDATION_HELD_OUT = 1, 2  # events that are kept back from the end
FEWEST_EVENTS = 3  # one to learn from, one to validate, one to test


@dataclass(frozen=True)
class Sequences:
    """Flat sequences of `people` people."""

    item: NDArray[np.int32]  # [events] from 1, person after person, each in order of time
    start: NDArray[np.int64]  # [people + 1] where each person's events begin
    items: int  # of the catalogue, without padding

    def __len__(self) -> int:
        return len(self.start) - 1

    def sizes(self) -> NDArray[np.int64]:
        """int64 [people]: events of each person."""
        return np.diff(self.start)

    def of(self, person: int) -> NDArray[np.int32]:
        return self.item[self.start[person] : self.start[person + 1]]

    def without_last(self, held_out: int) -> "Sequences":
        """The same people without the last `held_out` events of each."""
        sizes = np.maximum(self.sizes() - held_out, 0)
        kept = np.arange(len(self.item)) - np.repeat(self.start[:-1], self.sizes()) < np.repeat(sizes, self.sizes())
        return Sequences(self.item[kept], np.concatenate([[0], np.cumsum(sizes)]), self.items)

    def held_out(self, held_out: int) -> NDArray[np.int32]:
        """int32 [people]: the event that stands `held_out` from the end, counted from 1."""
        return self.item[self.start[1:] - held_out]

    def up_to(self, event: NDArray[np.int64], length: int) -> NDArray[np.int32]:
        """int32 [n, length]: the most recent items at each of n events, the event's own last, padding 0 before them."""
        start = self.start[np.searchsorted(self.start, event, side="right") - 1]
        place = event[:, None] - length + 1 + np.arange(length)
        return np.where(place >= start[:, None], self.item[np.maximum(place, 0)], 0).astype(np.int32)

    def taken_before(self, event: NDArray[np.int64], items: NDArray[np.int64] | None = None) -> NDArray[np.bool_]:
        """bool [n, C]: whether each event's person had taken items by then, the event's own among them; padding counts.

        Args:
            event: int64 [n], numbers of events.
            items: int64 [C]; the whole catalogue, padding first, by default.
        """
        person = np.searchsorted(self.start, event, side="right") - 1
        order = np.argsort(person, kind="stable")
        people, begin = np.unique(person[order], return_index=True)
        first = np.full(self.items + 1, len(self.item))  # event with which the person at hand took each item
        first[0] = 0
        taken = np.empty((len(event), len(first) if items is None else len(items)), np.bool_)
        for number, rows in zip(people, np.split(order, begin[1:]), strict=True):
            own = np.arange(self.start[number], self.start[number + 1])[::-1]
            first[self.item[own]] = own  # latest first: of an item taken twice the earlier stays
            taken[rows] = (first if items is None else first[items]) <= event[rows, None]
            first[self.item[own]] = len(self.item)
        return taken

    def last(self, length: int) -> NDArray[np.int32]:
        """int32 [people, length]: the most recent items, the latest last, padding 0 before them."""
        place = self.start[1:, None] - length + np.arange(length)
        return np.where(place >= self.start[:-1, None], self.item[np.maximum(place, 0)], 0).astype(np.int32)


def sequences_of(person: NDArray[np.generic], item: NDArray[np.generic], position: NDArray[np.generic]) -> Sequences:
    """Sequences from columns in any order.

    Args:
        person: [events] ids.
        item: [events] ids; index i + 1 is given to the i-th in increasing order.
        position: [events] what a person's events are ordered by.

    Raises:
        DataError: if there is no event, or a person has too few for leave-one-out.
    """
    if not len(person):
        raise DataError("the log holds no events: give one with a row for every event")
    order = np.lexsort((position, person))
    ids, codes = np.unique(item[order], return_inverse=True)
    _, sizes = np.unique(person[order], return_counts=True)
    if sizes.min() < FEWEST_EVENTS:
        raise DataError(
            f"{int((sizes < FEWEST_EVENTS).sum()):,} people have fewer than {FEWEST_EVENTS} events, "
            "which leave-one-out needs: leave them out of the log"
        )
    return Sequences((codes + 1).astype(np.int32), np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64), len(ids))
