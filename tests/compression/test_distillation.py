"""Distillation's losses: what each hears, and that training lowers them."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest

from compression.compress import initial_table
from compression.device_model import DeviceModel, DeviceModelSpec
from compression.distillation import DistillationRecipe, Losses, distil
from compression.item_table import FrozenTable, store
from training.context import context_fields
from training.examples import Examples, examples_of
from training.fit_teacher import TeacherRecipe
from training.segments import fit_segments
from training.soft_labels import SoftLabels, load_soft_labels
from training.teacher import TeacherShape
from training.train import TrainSettings, train

LENGTH, WIDTH = 8, 16
RECIPE = DistillationRecipe(steps=1, batch=32)


class Lesson(NamedTuple):
    spec: DeviceModelSpec
    examples: Examples
    labels: SoftLabels


@pytest.fixture(scope="module")
def lesson(logs, tmp_path_factory: pytest.TempPathFactory) -> Lesson:
    prepared = logs.prepared(logs.draw(5, people=12, items=30), items=30, phones=(11,))
    folder = tmp_path_factory.mktemp("train")
    recipe = TeacherRecipe(TeacherShape(width=WIDTH - 2, recent=4), steps=20, batch=16)
    train(prepared, folder, TrainSettings(history_length=LENGTH, examples=60, recipe=recipe), 3, lambda *_: None)
    labels, segments = load_soft_labels(folder), fit_segments(prepared, 3)
    spec = DeviceModelSpec(
        items=len(labels.vectors) - 1,
        context=context_fields(segments),
        history_length=LENGTH,
        candidates=10,
        width=WIDTH,
    )
    return Lesson(spec, examples_of(prepared, labels.baskets, LENGTH, segments), labels)


def losses_of(lesson: Lesson, recipe: DistillationRecipe, **labels: np.ndarray) -> list[Losses]:
    model = DeviceModel.create(lesson.spec, initial_table(lesson.labels, WIDTH)[0], 0)
    return distil(model, lesson.examples, replace(lesson.labels, **labels), recipe, 0, lambda *_: None)


@pytest.mark.parametrize("part", ["query", "history", "new_item", "basket"])
def test_training_lowers_the_only_part_it_hears(lesson: Lesson, part: str) -> None:
    silent = replace(RECIPE, steps=40, query_weight=0.0, history_weight=0.0, new_item_weight=0.0, basket_weight=0.0)
    found = losses_of(lesson, replace(silent, **{f"{part}_weight": 1.0}))
    name = {"new_item": "new_items", "basket": "baskets"}.get(part, part)
    first, last = (np.mean([getattr(each, name) for each in some]) for some in (found[:5], found[-5:]))
    assert last < first


@pytest.mark.parametrize("temperature", [0.5, 2.0, 4.0])
def test_the_temperature_divides_the_teachers_scores_of_the_history(lesson: Lesson, temperature: float) -> None:
    hotter = losses_of(lesson, replace(RECIPE, temperature=temperature))[0]
    cooler = replace(RECIPE, temperature=1.0)
    divided = losses_of(lesson, cooler, history_scores=lesson.labels.history_scores / temperature)[0]
    assert vars(hotter) == pytest.approx(vars(divided), rel=1e-5)
    assert hotter.history != pytest.approx(losses_of(lesson, cooler)[0].history, rel=1e-3)


def test_a_frozen_table_is_refused(lesson: Lesson) -> None:
    values = initial_table(lesson.labels, WIDTH)[0]
    model = DeviceModel.create(lesson.spec, values, 0)
    model.table = FrozenTable(store(values, "int8"), "shipped")
    with pytest.raises(TypeError, match="start from a TrainableTable"):
        distil(model, lesson.examples, lesson.labels, RECIPE, 0, lambda *_: None)
