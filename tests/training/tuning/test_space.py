"""What is tuned is what the project file can say, and what is written down is what was measured."""

from dataclasses import replace

import msgspec
import optuna
import pytest

from contracts.project import Teacher as Section
from training.fit_teacher import TeacherRecipe
from training.teacher import TeacherShape
from training.tuning.space import Candidate, candidate_of, recipe_of, suggest

RECIPE = TeacherRecipe(TeacherShape(width=14), steps=40)


@pytest.fixture
def study():
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(directions=["maximize"] * 3, sampler=optuna.samplers.RandomSampler(seed=3))


def test_every_field_is_a_setting_that_takes_every_proposal(study):
    for _ in range(50):
        found = suggest(study.ask(), candidate_of(RECIPE))
        section = msgspec.convert(msgspec.structs.asdict(found), Section)
        assert all(getattr(section, name) == value for name, value in msgspec.structs.asdict(found).items())
        assert 20 <= found.steps <= 80


def test_defaults_of_settings_and_recipe_are_the_same():
    assert candidate_of(TeacherRecipe()) == msgspec.convert(
        {name: getattr(Section(), name) for name in Candidate.__struct_fields__}, Candidate
    )


def test_recipes_and_candidates_say_the_same(study):
    found = suggest(study.ask(), candidate_of(RECIPE))
    assert candidate_of(recipe_of(found, RECIPE)) == found
    assert recipe_of(candidate_of(RECIPE), RECIPE) == RECIPE
    assert recipe_of(found, RECIPE).batch == RECIPE.batch
    assert recipe_of(found, RECIPE).shape.width == 14


def test_ranges_hold_the_current_settings_wherever_they_lie(study):
    wide = replace(RECIPE, rate=0.5, shape=replace(RECIPE.shape, blocks=7, recent=4))
    current = candidate_of(wide)
    study.enqueue_trial(msgspec.structs.asdict(current))
    assert suggest(study.ask(), current) == current


def test_lines_are_toml_of_the_same_values():
    import tomllib

    found = candidate_of(replace(RECIPE, rate=1.5e-7))
    assert tomllib.loads("\n".join(found.lines())) == msgspec.structs.asdict(found)


def test_a_weight_of_0_may_be_what_a_project_has(study):
    own = msgspec.structs.replace(candidate_of(RECIPE), new_item_weight=0.0)
    assert all(0.0 <= suggest(study.ask(), own).new_item_weight <= 8.0 for _ in range(20))
