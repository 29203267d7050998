"""The next-item task from a prepared log."""

import numpy as np
import pytest

from contracts.errors import DataError, RunError
from contracts.events import EventType
from training.cases import TRAIN, VALIDATION
from training.people_quality import load_people_quality
from training.sequence.fit import NextItemRecipe
from training.sequence.soft_labels import load_next_item_labels
from training.sequence.train import NextItemSettings, first_takes, load_next_item_teacher, train_next_item
from training.sequence.transformer import TransformerShape
from training.sequence.transitions_of_others import TransitionsOfOthers

ITEMS, LENGTH = 20, 12
SHAPE = TransformerShape(width=16, blocks=1, heads=2, dropout=0.1)
SETTINGS = NextItemSettings(LENGTH, NextItemRecipe(SHAPE, epochs=25, positions=128, rate=1e-2, warm_up=10), labels=5)


def quiet(what: str, done: int, total: int) -> None:
    assert 0 <= done <= total


def round_log(logs, changed_phone: int = 0):
    """Everybody takes one item after the other, in the same round, over all weeks; the last person is a phone."""
    day = 24 * 3_600_000
    baskets = [
        logs.basket(person, logs.start_ms + (8 * place + 1) * day, [1 + (person + place) % ITEMS])
        for person in range(30)
        for place in range(12)
    ]
    phone = [logs.basket(30, logs.start_ms + place * day, [1 + changed_phone]) for place in (1, 9)]
    return logs.prepared([*baskets, *phone], items=ITEMS, phones=(30,))


@pytest.fixture(scope="module")
def trained(logs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("train")
    prepared = round_log(logs)
    speed = train_next_item(prepared, folder, SETTINGS, 3, quiet)
    assert speed > 0
    return prepared, folder


@pytest.mark.parametrize("last_split", [TRAIN, VALIDATION])
def test_what_is_taken_first_by_hand(logs, last_split: int):
    prepared = logs.prepared(logs.draw(5, people=6), phones=(2,))
    sequences = first_takes(prepared, last_split)
    events = prepared.events
    for person in range(6):
        taken: list[int] = []
        for item, owner, basket in zip(events.item, events.person, events.basket, strict=True):
            if owner == person != 2 and prepared.basket_split[basket] <= last_split and item not in taken:
                taken.append(int(item))
        assert sequences.of(person).tolist() == taken


def test_a_log_in_which_nothing_follows_is_refused(logs):
    prepared = logs.prepared([logs.basket(0, logs.start_ms, [1]), logs.basket(0, logs.start_ms + 1, [1])])
    with pytest.raises(DataError, match="nobody took two different items"):
        first_takes(prepared, TRAIN)


def test_the_teacher_knows_what_follows(trained):
    found = load_people_quality(trained[1])
    assert np.nanmean(found["teacher"].new_ndcg) > 1.2 * np.nanmean(found["popularity"].new_ndcg)


def test_phones_are_not_read(logs, trained, tmp_path):
    train_next_item(round_log(logs, changed_phone=7), tmp_path, SETTINGS, 3, quiet)
    ours, theirs = load_next_item_labels(trained[1]), load_next_item_labels(tmp_path)
    assert all(np.array_equal(value, getattr(theirs, name)) for name, value in vars(ours).items())


def test_the_teacher_comes_back(trained):
    prepared, folder = trained
    labels, teacher = load_next_item_labels(folder), load_next_item_teacher(folder, ITEMS)
    sequences = first_takes(prepared, TRAIN)
    others = TransitionsOfOthers.of(sequences).log_shares(np.zeros(1, np.int64))
    said = teacher.transformer.scores(sequences.of(0)[None, :1]) + teacher.heed * others
    assert int(said[0, 1:].argmax()) + 1 == labels.items[0, 0]


def test_a_teacher_of_another_catalogue_is_refused(trained, tmp_path):
    with pytest.raises(RunError, match="no teacher of this catalogue"):
        load_next_item_teacher(trained[1], ITEMS + 1)
    with pytest.raises(RunError, match="no teacher of this catalogue"):
        load_next_item_teacher(tmp_path, ITEMS)


def test_a_view_is_no_take(logs):
    day = 24 * 3_600_000
    baskets = [
        logs.basket(0, logs.start_ms, [3], EventType.VIEW),
        logs.basket(0, logs.start_ms + day, [4]),
        logs.basket(0, logs.start_ms + 2 * day, [3]),
    ]
    assert first_takes(logs.prepared(baskets), TRAIN).of(0).tolist() == [4, 3]
