import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import DataError
from training.sequence.sequences import Sequences, sequences_of

histories = st.lists(st.lists(st.integers(1, 9), min_size=3, max_size=12), min_size=1, max_size=6)


def make(people: list[list[int]]) -> Sequences:
    start = np.concatenate([[0], np.cumsum([len(items) for items in people])])
    return Sequences(np.concatenate(people).astype(np.int32), start.astype(np.int64), 9)


@given(histories, st.integers(1, 3))
def test_a_person_is_what_is_kept_and_what_is_held_out(people: list[list[int]], held_out: int):
    sequences = make(people)
    kept, target = sequences.without_last(held_out), sequences.held_out(held_out)
    for person, items in enumerate(people):
        assert kept.of(person).tolist() == items[: len(items) - held_out]
        assert target[person] == items[-held_out]


@given(histories, st.integers(1, 15))
def test_the_last_items_stand_at_the_end(people: list[list[int]], length: int):
    recent = make(people).last(length)
    for row, items in zip(recent, people, strict=True):
        known = items[-length:]
        assert row.tolist() == [0] * (length - len(known)) + known


@given(histories, st.randoms())
def test_columns_may_come_in_any_order(people: list[list[int]], random):
    rows = [(person, item, place) for person, items in enumerate(people) for place, item in enumerate(items)]
    random.shuffle(rows)
    found = sequences_of(*(np.array(column) for column in zip(*rows, strict=True)))
    ids = sorted({item for items in people for item in items})
    assert [[ids[code - 1] for code in found.of(person)] for person in range(len(people))] == people
    assert found.items == len(ids)


def test_people_with_too_little_are_named():
    with pytest.raises(DataError, match="1 people have fewer than 3 events"):
        sequences_of(np.array([1, 1, 1, 2]), np.array([1, 2, 3, 1]), np.arange(4))


def test_an_empty_log_is_refused():
    with pytest.raises(DataError, match="no events"):
        sequences_of(np.array([]), np.array([]), np.array([]))


@given(histories, st.data())
def test_what_was_taken_before_an_event_is_what_its_person_had_by_then(people: list[list[int]], data: st.DataObject):
    sequences = make(people)
    events = [(person, place) for person, items in enumerate(people) for place in range(len(items))]
    asked = data.draw(st.lists(st.sampled_from(events), min_size=1))
    columns = np.array(data.draw(st.lists(st.integers(0, 9), unique=True)), np.int64)
    number = np.array([sequences.start[person] + place for person, place in asked])
    found = sequences.taken_before(number)
    for row, (person, place) in zip(found, asked, strict=True):
        assert set(np.flatnonzero(row)) == {0, *people[person][: place + 1]}
    assert np.array_equal(sequences.taken_before(number, columns), found[:, columns])
