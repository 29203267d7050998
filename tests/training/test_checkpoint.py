"""A training that was killed goes on from its checkpoint to the same weights, bit by bit."""

import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from contracts.errors import RunError
from training.baselines.popularity import purchase_counts
from training.checkpoint import Checkpoint, fingerprint
from training.fit_teacher import TeacherRecipe, fit_teacher
from training.teacher import Teacher, TeacherShape, attribute_codes

STEPS = 12
RECIPE = TeacherRecipe(TeacherShape(width=14, heads=2, recent=4), steps=STEPS, batch=16)


class Killed(Exception):
    pass


def new_teacher(given) -> Teacher:
    torch.manual_seed(0)
    prepared = given[0].prepared
    return Teacher(RECIPE.shape, attribute_codes(prepared.items), purchase_counts(prepared))


def fit(given, checkpoint: Path | None, kill_at: int = STEPS + 1, seed: int = 1) -> dict[str, torch.Tensor]:
    def progress(what: str, done: int, total: int) -> None:
        if done == kill_at:
            raise Killed

    teacher = new_teacher(given)
    fit_teacher(teacher, RECIPE, *given, seed, progress, checkpoint=checkpoint, checkpoint_seconds=0.0)
    return teacher.state_dict()


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def whole(given):
    return fit(given, None)


@pytest.mark.parametrize("kills", [(1,), (2,), (7, 8), (STEPS,), (3, 3, 11)])
def test_it_goes_on_to_the_same_weights_wherever_it_is_cut(given, whole, tmp_path, kills):
    path = tmp_path / "kept" / "teacher.pt"
    for kill_at in kills:
        with pytest.raises(Killed):
            fit(given, path, kill_at)
    done: list[int] = []
    teacher = new_teacher(given)
    fit_teacher(teacher, RECIPE, *given, 1, lambda what, step, total: done.append(step), checkpoint=path)
    assert done[0] == kills[-1]  # only the step that was cut is repeated
    assert equal(teacher.state_dict(), whole)
    assert [each.name for each in path.parent.iterdir()] == ["teacher.pt"]


def test_a_finished_one_is_not_trained_again(given, whole, tmp_path):
    path = tmp_path / "teacher.pt"
    fit(given, path)
    assert equal(fit(given, path, kill_at=STEPS), whole)  # no step is left at which it could be killed


PROGRAM = """
import os, pickle, signal, sys
from pathlib import Path
from training.fit_teacher import fit_teacher

def progress(what, done, total):
    if done == 7:
        os.kill(os.getpid(), signal.SIGKILL)

teacher, recipe, examples, labels = pickle.loads(Path(sys.argv[1]).read_bytes())
fit_teacher(teacher, recipe, examples, labels, 1, progress, checkpoint=Path(sys.argv[2]), checkpoint_seconds=0.0)
"""


def test_kill_9_loses_the_last_step_only(given, whole, tmp_path):
    work, path = tmp_path / "work", tmp_path / "teacher.pt"
    work.write_bytes(pickle.dumps((new_teacher(given), RECIPE, *given)))
    killed = subprocess.run([sys.executable, "-c", PROGRAM, work, path], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert path.exists()
    assert equal(fit(given, path, kill_at=6), whole)  # steps 1 to 6 are not done again


def test_a_checkpoint_of_another_training_is_left_aside(given, whole, tmp_path):
    path = tmp_path / "teacher.pt"
    with pytest.raises(Killed):
        fit(given, path, kill_at=5, seed=2)
    assert equal(fit(given, path), whole)


@pytest.mark.parametrize("kept", [0, 1, 100, -1000])
def test_a_damaged_one_is_refused_in_one_line(given, tmp_path, kept):
    path = tmp_path / "teacher.pt"
    with pytest.raises(Killed):
        fit(given, path, kill_at=5)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(RunError, match=r"damaged checkpoint .*remove it") as error:
        fit(given, path)
    assert "\n" not in str(error.value)


def test_what_a_training_depends_on_changes_its_key(given):
    keys = {fingerprint(*parts) for parts in [(1,), (2,), (1, 1), ("1",), (given[0].baskets,), (given[0].baskets[1:],)]}
    assert len(keys) == 6
    assert Checkpoint(Path("nowhere"), "key").load() is None
