"""The search: seeded, resumable after any kill, measured on the people that were asked for."""

import json
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from contracts.errors import ConfigError, DataError, RunError
from training.cases import VALIDATION, next_basket_cases
from training.fit_teacher import TeacherRecipe
from training.pareto import pareto_front, surpasses
from training.segments import fit_segments
from training.teacher import TeacherShape
from training.train import TrainSettings
from training.tuning import DIRECTIONS, LEAST_PEOPLE, Tuning, make_task, open_study, search, summarise
from training.tuning.search import results

RECIPE = TeacherRecipe(TeacherShape(width=14, heads=2, recent=4), steps=8, batch=16)
SETTINGS = TrainSettings(history_length=8, examples=60, recipe=RECIPE)
TRIALS = 6


def quiet(what: str, done: int, total: int) -> None:
    assert 0 <= done <= total


@pytest.fixture(scope="module")
def prepared(logs):
    return logs.prepared(logs.draw(5, people=150, items=30, baskets=12), items=30, phones=(11,))


@pytest.fixture(scope="module")
def task(prepared):
    return make_task(prepared, SETTINGS, 3, None, quiet)


def tune(task, path: Path, trials: int = TRIALS) -> Tuning:
    study = open_study(path, task.key, DIRECTIONS)
    search(task, study, trials, quiet, lambda: False)
    return summarise(task, study, None)


def timeless(tuning: Tuning) -> list:
    return [msgspec.structs.replace(trial, seconds=0.0) for trial in tuning.trials]


@pytest.fixture(scope="module")
def whole(task, tmp_path_factory) -> Tuning:
    return tune(task, tmp_path_factory.mktemp("whole") / "journal.log")


def test_the_answer_holds_together(whole, task):
    assert len(whole.trials) == TRIALS
    first, chosen = whole.trials[0], whole.trials[whole.chosen - 1]
    assert first.finished
    assert (first.candidate.steps, first.candidate.learning_rate) == (RECIPE.steps, RECIPE.rate)
    assert chosen.finished
    finished = [trial for trial in whole.trials if trial.finished]
    costs = [(-t.ndcg_at_10.value, -t.new_items_ndcg_at_10.value, t.training_flops) for t in finished]
    assert [cost for trial, cost in zip(finished, costs, strict=True) if trial.on_front] == pareto_front(
        costs, surpasses
    )
    assert not any(trial.on_front for trial in whole.trials if not trial.finished)
    assert len({trial.candidate for trial in whole.trials}) == TRIALS
    assert whole.lines == tuple(chosen.candidate.lines())
    ratio = chosen.ndcg_at_10.value / first.ndcg_at_10.value - 1
    assert whole.against_start["all_items"].value == pytest.approx(ratio)
    assert whole.people == task.people


def test_more_steps_and_more_blocks_cost_more(task):
    def cost(**change):
        recipe = msgspec.convert(change, dict)
        shape = TeacherShape(width=14, heads=2, recent=4, blocks=recipe.get("blocks", 1))
        one = TeacherRecipe(shape, steps=recipe.get("steps", 8), batch=16)
        return task.training_flops(task.new_teacher(one), one)

    assert cost(steps=16) == 2 * cost(steps=8)
    assert cost(blocks=2) > cost(blocks=1)


def test_a_search_goes_on_where_it_ended(task, whole, tmp_path):
    path = tmp_path / "journal.log"
    tune(task, path, 3)
    begun = path.read_bytes()
    assert timeless(tune(task, path)) == timeless(whole)
    assert path.read_bytes().startswith(begun)
    study = open_study(path, task.key, DIRECTIONS)
    search(
        task, study, TRIALS, lambda what, done, total: pytest.fail("a finished trial was tried again"), lambda: False
    )


PROGRAM = """
import os, pickle, signal, sys
from pathlib import Path
from training.tuning import DIRECTIONS, open_study, search

def progress(what, done, total):
    if what.startswith("trial 4 "):
        os.kill(os.getpid(), signal.SIGKILL)

task, path = pickle.loads(Path(sys.argv[1]).read_bytes())
search(task, open_study(path, task.key, DIRECTIONS), 9, progress, lambda: False)
"""


def test_kill_9_in_mid_trial_loses_that_trial_only(task, whole, tmp_path):
    path = tmp_path / "journal.log"
    (tmp_path / "work").write_bytes(pickle.dumps((task, path)))
    killed = subprocess.run([sys.executable, "-c", PROGRAM, tmp_path / "work"], check=False)
    assert killed.returncode == -signal.SIGKILL
    with path.open("ab") as journal:
        journal.write(b'{"op_code": 4, "wor')  # a line that was being written
    (tmp_path / "journal.log.lock").symlink_to(path)
    study = open_study(path, task.key, DIRECTIONS)
    assert [each.candidate for each in results(study)] == [trial.candidate for trial in whole.trials[:3]]
    assert timeless(tune(task, path)) == timeless(whole)


def test_time_that_is_up_begins_no_further_trial(task, tmp_path):
    study = open_study(tmp_path / "journal.log", task.key, DIRECTIONS)
    search(task, study, TRIALS, quiet, lambda: True)
    assert len(results(study)) == 1  # without the first there is nothing to say


def test_another_task_has_its_own_trials(task, prepared, tmp_path):
    path = tmp_path / "journal.log"
    tune(task, path, 1)
    other = make_task(prepared, SETTINGS, 4, None, quiet)
    assert other.key != task.key
    assert results(open_study(path, other.key, DIRECTIONS)) == []


@pytest.mark.parametrize("damage", [b"{\n", b"\n", b'{"op_code": 99}\n', b"\xff\xfe\n", b"[]\n"])
def test_a_damaged_journal_is_refused_in_one_line(task, tmp_path, damage):
    path = tmp_path / "journal.log"
    tune(task, path, 1)
    path.write_bytes(damage + path.read_bytes())
    before = path.read_bytes()
    with pytest.raises(RunError, match=r"is damaged .*remove it") as error:
        open_study(path, task.key, DIRECTIONS)
    assert "\n" not in str(error.value)
    assert path.read_bytes() == before


def test_a_segment_s_people_are_measured_and_nobody_else(prepared):
    segments = fit_segments(prepared, 3)
    person = np.unique(next_basket_cases(prepared, VALIDATION).person)
    sizes = {name: int((segments.person[person] == code).sum()) for code, name in enumerate(segments.names, start=1)}
    for name, size in sizes.items():
        if size < LEAST_PEOPLE:
            with pytest.raises(DataError, match=f"has {size} people .* tuning needs {LEAST_PEOPLE}") as error:
                make_task(prepared, SETTINGS, 3, name, quiet)
            assert "\n" not in str(error.value)
        else:
            found = make_task(prepared, SETTINGS, 3, name, quiet)
            assert found.people == size
            assert set(segments.person[found.cases.person]) == {segments.names.index(name) + 1}
    assert any(size < LEAST_PEOPLE for size in sizes.values())
    with pytest.raises(ConfigError, match='there is no segment "nobody": --segment takes') as missing:
        make_task(prepared, SETTINGS, 3, "nobody", quiet)
    assert json.dumps(str(missing.value)).count("\\n") == 0
