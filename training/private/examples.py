"""What private training reads of people: sequences for statistics, and histories with what came next, for DP-SGD.

One person is one row of both. Statistics are sums over people of vectors of one length, and an example of DP-SGD is a
person with some of their baskets.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.noise import CoinSource
from training.cases import basket_lines
from training.histories import Histories, histories_of
from training.prepared import Prepared
from training.sequence.sequences import Sequences
from training.split import TRAIN

MAX_TARGETS = 32  # of one basket; a larger one is cut


@dataclass(frozen=True)
class PersonExamples:
    """Histories and what came next, grouped by person."""

    histories: Histories  # [n], people in order
    targets: NDArray[np.int32]  # [n, T] distinct items, then padding 0
    start: NDArray[np.int64]  # [people + 1]: person p has the examples from start[p] up to start[p + 1]

    @property
    def people(self) -> int:
        return len(self.start) - 1

    def draw(self, people: NDArray[np.int64], each: int, coins: CoinSource) -> NDArray[np.int64]:
        """int64 [people, each]: examples of each person, with repetition; -1 for people without one.

        The coins must be secret: from a stream that can be drawn again, one person less would give everybody after
        them other examples, and a sum would move by more than one person's part.
        """
        first, count = self.start[people, None], np.diff(self.start)[people, None]
        chosen = first + np.floor(coins(len(people) * each).reshape(-1, each) * count).astype(np.int64)
        return np.where(count > 0, chosen, -1)


def recent_histories(recent: NDArray[np.int32]) -> Histories:
    """Histories of distinct items an hour apart, each once, where only the order is known.

    Args:
        recent: int32 [n, L] items, the latest last, padding 0 before them.
    """
    present = recent > 0
    ages = np.where(present, np.arange(recent.shape[1], 0, -1), 0).astype(np.float32)
    context = np.zeros((len(recent), 0), np.int32)
    return Histories(recent, present.astype(np.int32), present.astype(np.float32), ages, context)


def next_item_examples(sequences: Sequences, length: int, most: int) -> PersonExamples:
    """Histories before each person's latest items, and these items: what comes next is like them, not like the first.

    Args:
        sequences: of all people.
        length: L.
        most: examples of a person.
    """
    chosen = [np.arange(max(1, size - most), size) for size in sequences.sizes()]
    sizes = np.array([len(each) for each in chosen])
    person = np.repeat(np.arange(len(sequences)), sizes)
    first = sequences.start[person]
    target = first + np.concatenate(chosen).astype(np.int64)
    place = target[:, None] - np.arange(length, 0, -1)
    recent = np.where(place >= first[:, None], sequences.item[np.maximum(place, 0)], 0).astype(np.int32)
    start = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return PersonExamples(recent_histories(recent), sequences.item[target][:, None], start)


def training_sequences(prepared: Prepared, coins: CoinSource) -> Sequences:
    """What central people took in the training weeks, of what is to be foreseen, in order of time.

    The order within a basket is arbitrary in a log; here it is random, so that neighbours in a sequence are a sample of
    the basket's pairs. The coins must be secret, see `PersonExamples.draw`.
    """
    log = prepared.events
    people = np.flatnonzero(~prepared.is_phone)
    central = ~prepared.is_phone[log.person]
    rows = np.flatnonzero(central & prepared.is_target & (prepared.basket_split[log.basket] == TRAIN))
    rows = rows[np.lexsort((coins(len(rows)), log.basket[rows]))]
    start = np.searchsorted(log.person[rows], np.append(people, len(prepared.pseudonym)))
    return Sequences(log.item[rows], start.astype(np.int64), len(prepared.items.item_id) - 1)


def latest_baskets(prepared: Prepared, most: int) -> NDArray[np.int64]:
    """Each central person's latest training baskets before which they did something: int64, increasing.

    Chosen for each person without a look at the others, so that who else is there changes nobody's examples.
    """
    central = ~prepared.is_phone[prepared.basket_person]
    training = np.flatnonzero(central & prepared.has_target & (prepared.basket_split == TRAIN))
    person = prepared.basket_person[training]
    later = prepared.basket_time_ms[training] > prepared.basket_time_ms[prepared.person_start[person]]
    training, person = training[later], person[later]
    after = np.searchsorted(person, person, side="right") - np.arange(len(person))
    return training[after <= most].astype(np.int64)


def next_basket_examples(
    prepared: Prepared, baskets: NDArray[np.int64], length: int, coins: CoinSource
) -> PersonExamples:
    """The history before each basket, and what of the basket is to be foreseen, of all central people.

    Args:
        prepared: the log.
        baskets: int64 [n], increasing, of central people.
        length: L.
        coins: secret, of what a basket of more than `MAX_TARGETS` items keeps.
    """
    histories = histories_of(prepared, baskets, length, np.zeros((len(baskets), 0), np.int32))
    targets = np.zeros((len(baskets), MAX_TARGETS), np.int32)
    lines = basket_lines(prepared, baskets, targets_only=True)
    order = np.lexsort((coins(len(lines.row)), lines.row))
    place = np.arange(len(order)) - np.searchsorted(lines.row, lines.row)  # within the basket; rows are sorted
    kept = place < MAX_TARGETS
    targets[lines.row[kept], place[kept]] = lines.item[order][kept]
    people = np.flatnonzero(~prepared.is_phone)
    start = np.searchsorted(prepared.basket_person[baskets], np.append(people, len(prepared.pseudonym)))
    return PersonExamples(histories, targets, start.astype(np.int64))
