"""Drawn histories are what the device would read of drawn purchases, and lessons of them need nothing else."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import RunError
from contracts.events import Event, EventType
from contracts.summary import history_of, summarize
from training.private.histories import DrawRecipe, draw_histories, histories_at
from training.private.lessons import FILE, DrawnExamples, load_drawn, save_drawn, teach
from training.private.teacher import PrivateTeacher

RECIPE = DrawRecipe(people=5, baskets=4, basket_items=3)
START = 420_000  # hours since 1970


def event(number: int, item: int) -> Event:
    return Event(
        device_id="d",
        epoch=0,
        seq=number,
        type=EventType.PURCHASE,
        owner="login:a",
        occurred_at=0,
        boot_id="b",
        uptime_ms=0,
        item_id=str(item),
    )


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 8), st.integers(0, 9_000)), max_size=25), st.integers(1, 10))
def test_a_drawn_history_is_what_a_phone_would_read(bought: list[tuple[int, int]], length: int):
    now = START + 9_000
    summary = summarize((event(at, item), START + hour) for at, (item, hour) in enumerate(bought))
    expected = history_of(summary, now, length, int)
    items = np.array([[item for item, _ in bought]], np.int64).reshape(1, -1)
    hours = np.array([[START + hour for _, hour in bought]], np.int64).reshape(1, -1)
    found = histories_at(items, hours, np.array([now]), length)
    size = len(expected.items)
    assert not found.items[0, : length - size].any()
    if size:
        np.testing.assert_allclose(sorted(found.counts[0, -size:]), sorted(expected.counts), rtol=1e-5)
        assert found.ages[0, -size:].tolist() == list(expected.ages)
        if len({round(count, 7) for count in expected.counts}) == size:  # equal weights may tie by rounding alone
            assert found.items[0, -size:].tolist() == list(expected.items)
            assert found.events[0, -size:].tolist() == list(expected.events)


def test_drawn_people_grow_and_take_what_the_catalogue_holds(teacher: PrivateTeacher):
    drawn = draw_histories(teacher, 8, RECIPE, 0, lambda *_: None)
    assert len(drawn) == RECIPE.people * (RECIPE.baskets - 1)
    assert (drawn.targets.max(1) > 0).all()
    assert drawn.targets.max() < teacher.items
    for row in drawn.targets:
        bought = row[row > 0]
        assert len(set(bought.tolist())) == len(bought)
    sizes = (drawn.histories.items > 0).sum(1).reshape(RECIPE.baskets - 1, RECIPE.people)
    assert (sizes[0] >= 1).all()
    assert drawn.histories.context.shape == (len(drawn), 4)
    again = draw_histories(teacher, 8, RECIPE, 0, lambda *_: None)
    assert (again.targets == drawn.targets).all()


def test_draws_follow_the_teachers_distribution(teacher: PrivateTeacher):
    many = DrawRecipe(people=4_000, baskets=2, basket_items=1)
    first = draw_histories(teacher, 4, many, 1, lambda *_: None).histories.items[:, -1]
    nothing = histories_at(np.zeros((1, 0), np.int64), np.zeros((1, 0), np.int64), np.zeros(1, np.int64), 4)
    expected = teacher.scores(nothing).softmax(1)[0].numpy()
    share = np.bincount(first, minlength=teacher.items) / len(first)
    assert np.abs(share - expected).max() < 0.02


def test_lessons_say_what_the_teacher_says(teacher: PrivateTeacher):
    drawn = draw_histories(teacher, 8, RECIPE, 0, lambda *_: None)
    labels = teach(teacher, drawn, 6, 0)
    scores = teacher.scores(drawn.histories)
    own = scores.gather(1, torch.from_numpy(drawn.histories.items).long()).numpy()
    np.testing.assert_allclose(labels.history_scores, own, rtol=1e-5)
    for row in range(len(drawn)):
        seen = set(drawn.histories.items[row].tolist())
        new = [item for item in scores[row].argsort(descending=True).tolist() if item not in seen]
        held = [item for item in labels.new_items[row].tolist() if item not in seen]
        assert held == new[: len(held)]
    np.testing.assert_allclose(labels.new_share.sum(1), 1.0, rtol=1e-5)
    assert labels.vectors.shape == (teacher.items, 6)


def test_a_batch_of_drawn_examples(teacher: PrivateTeacher):
    drawn = draw_histories(teacher, 8, RECIPE, 0, lambda *_: None)
    rows = np.array([1, 4, 9])
    batch = DrawnExamples(drawn).batch(rows)
    for number, row in enumerate(rows):
        mine = batch.example == number
        assert batch.target[mine].tolist() == [item for item in drawn.targets[row].tolist() if item]
        assert np.isclose(batch.share[mine].sum(), 1.0)
        for target, place in zip(batch.target[mine], batch.place[mine], strict=True):
            history = drawn.histories.items[row].tolist()
            assert history[place] == target if place >= 0 else target not in history


def test_drawn_histories_on_disk(teacher: PrivateTeacher, tmp_path: Path):
    drawn = draw_histories(teacher, 8, RECIPE, 0, lambda *_: None)
    save_drawn(drawn, tmp_path)
    found = load_drawn(tmp_path)
    assert (found.targets == drawn.targets).all()
    for name, array in vars(drawn.histories).items():
        assert (getattr(found.histories, name) == array).all()
    (tmp_path / FILE).write_bytes(b"PK")
    with pytest.raises(RunError, match="pocketrec train"):
        load_drawn(tmp_path)
