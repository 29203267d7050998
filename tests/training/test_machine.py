"""Where training runs: devices that exist, several processes that learn what one would, reduced precision."""

import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from contracts.errors import ConfigError
from training.baselines.popularity import purchase_counts
from training.fit_teacher import TeacherRecipe, _Losses, fit_teacher
from training.machine import CPU, CUDA, Machine, find_machine
from training.sampled_softmax import draw_candidates
from training.teacher import Teacher, TeacherShape, attribute_codes

SHAPE = TeacherShape(width=14, heads=2, recent=4, dropout=0.0)  # processes draw their dropout apart
RECIPE = TeacherRecipe(SHAPE, steps=12, batch=15, hidden_tokens=0.0)  # 15: two processes get unequal shares


def new_teacher(given) -> Teacher:
    torch.manual_seed(0)
    prepared = given[0].prepared
    return Teacher(SHAPE, attribute_codes(prepared.items), purchase_counts(prepared))


PROGRAM = """
import copy, pickle, shutil, sys
from pathlib import Path
import torch
from training.fit_teacher import fit_teacher
from training.machine import follow, process_group

folder = Path(sys.argv[1])

def keep(what, done, total):
    if done == 7:  # as a machine that loses its power now would find it
        shutil.copyfile(folder / "whole.pt", folder / "cut.pt")

with process_group() as leads:
    if leads:
        start, plain, dropping, examples, labels = pickle.loads((folder / "work").read_bytes())
        found = {}
        for name, recipe, kept, progress in (
            ("together", plain, None, keep_nothing := lambda *_: None),
            ("whole", dropping, folder / "whole.pt", keep),
            ("resumed", dropping, folder / "cut.pt", keep_nothing),
        ):
            teacher = copy.deepcopy(start)
            fit = fit_teacher(
                teacher, recipe, examples, labels, 1, progress, checkpoint=kept, checkpoint_seconds=0.0
            )
            found[name] = teacher.state_dict() | {"positions": fit.positions}
        torch.save(found, folder / "found.pt")
    else:
        follow()
"""


@pytest.fixture(scope="module")
def found(given, tmp_path_factory) -> dict[str, dict]:
    """Weights after training by two processes: without chance, with it, and with it after a cut."""
    folder = tmp_path_factory.mktemp("two")
    dropping = replace(RECIPE, shape=replace(SHAPE, dropout=0.2), hidden_tokens=0.1)  # each one's generator matters
    (folder / "program.py").write_text(PROGRAM)
    (folder / "work").write_bytes(pickle.dumps((new_teacher(given), RECIPE, dropping, *given)))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*launch, folder / "program.py", folder], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return torch.load(folder / "found.pt", weights_only=True)


def test_two_processes_learn_what_one_does(given, found):
    alone, together = new_teacher(given), found["together"]
    fit = fit_teacher(alone, RECIPE, *given, 1, lambda what, done, total: None)
    start = new_teacher(given).state_dict()
    for name, value in alone.state_dict().items():
        assert torch.allclose(value, together[name], atol=2e-5), name
    assert not torch.allclose(start["own.weight"], together["own.weight"], atol=1e-3)  # else this test tests nothing
    assert fit.positions == together["positions"]


def test_two_processes_go_on_from_their_checkpoint(given, found):
    whole, resumed = found["whole"], found["resumed"]
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items() if name != "positions")
    assert resumed["positions"] < whole["positions"]  # else it began anew


def test_reduced_precision_is_close_and_trains(given):
    examples, labels = given
    rows = np.arange(len(examples))
    batch = examples.batch(rows)
    share = np.full(31, 1 / 30)
    share[0] = 0.0
    labelled = np.concatenate([batch.target, labels.items[rows].ravel()]).astype(np.int64)
    candidates = draw_candidates(labelled, share, 50, np.random.default_rng(0))
    found = []
    for mixed in (False, True):
        teacher = new_teacher(given).train()
        machine = Machine(torch.device(CPU), mixed_precision=mixed)
        losses = _Losses(teacher, machine, 0.0)(batch, candidates, labels.items[rows], labels.share[rows])
        sum(losses).backward()
        assert all(loss.dtype == torch.float32 for loss in losses)
        assert all(torch.isfinite(p.grad).all() for p in teacher.parameters() if p.grad is not None)
        found.append([loss.item() for loss in losses])
    assert found[1] == pytest.approx(found[0], rel=0.02)
    assert found[1] != found[0]  # else nothing was reduced


def test_a_device_that_is_not_there_is_refused():
    assert find_machine(CPU) == Machine(torch.device(CPU))
    if torch.cuda.is_available():
        assert find_machine().device.type == CUDA
        return
    assert find_machine() == Machine(torch.device(CPU))
    with pytest.raises(ConfigError, match=r"finds no GPU here: use"):
        find_machine(CUDA)
