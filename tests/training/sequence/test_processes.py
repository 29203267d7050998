"""Several processes learn what one would, all of them the same, and go on from their checkpoint."""

import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from training.sequence.fit import Epoch, NextItemRecipe, fit_next_item
from training.sequence.sequences import Sequences
from training.sequence.transformer import NextItemTransformer, TransformerShape

SHAPE = TransformerShape(width=16, blocks=1, heads=2, length=12, dropout=0.0)  # processes draw their dropout apart
FULL = NextItemRecipe(SHAPE, epochs=2, positions=30, matrix_rate=1e-3, rate=1e-3, warm_up=5, average=0.5)
SAMPLED = replace(FULL, sampled_from=1, uniform_draws=4)
DROPPING = replace(SAMPLED, epochs=3, shape=replace(SHAPE, dropout=0.2))  # each one's generator matters

PROGRAM = """
import copy, pickle, shutil, sys
from pathlib import Path
import torch
from training.machine import find_machine, process_group, share
from training.sequence.fit import fit_next_item

folder = Path(sys.argv[1])
found, epochs = {}, {}

with process_group() as leads:
    if leads:
        model, sequences, recipes = pickle.loads((folder / "work").read_bytes())
        for name, (recipe, kept) in recipes.items():
            def after_epoch(epoch, averaged):
                epochs.setdefault(name, []).append((epoch.number, epoch.loss, epoch.positions))
                if name == "whole" and epoch.number == 1:  # as a machine that loses its power now would find it
                    shutil.copyfile(folder / kept, folder / "cut.pt")

            model.shape = recipe.shape
            model.dropout.dropped = round(recipe.shape.dropout * 256)
            checkpoint = folder / kept if kept else None
            given = (copy.deepcopy(model), sequences, recipe, 1, after_epoch, checkpoint, find_machine("cpu"))
            found[name] = fit_next_item(*given).state_dict()
        torch.save((found, epochs), folder / "leads.pt")
    else:
        while (job := share(None)) is not None:
            found[len(found)] = job.follow().state_dict()
        torch.save(found, folder / "follows.pt")

threads = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
(folder / f"threads of {leads}").write_text(" ".join(threads))
"""


def people() -> Sequences:
    rng = np.random.default_rng(0)
    sizes = rng.integers(2, 20, 12)
    item = rng.integers(1, 41, sizes.sum()).astype(np.int32)
    return Sequences(item, np.concatenate([[0], np.cumsum(sizes)]), 40)


def new_model() -> NextItemTransformer:
    torch.manual_seed(0)
    return NextItemTransformer(SHAPE, 40)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """By the name of each training: the leading process's weights, the other's, and what the epochs were."""
    folder = tmp_path_factory.mktemp("two")
    recipes = {
        "full": (FULL, None),
        "sampled": (SAMPLED, None),
        "whole": (DROPPING, "whole.pt"),
        "resumed": (DROPPING, "cut.pt"),
    }
    (folder / "program.py").write_text(PROGRAM)
    (folder / "work").write_bytes(pickle.dumps((new_model(), people(), recipes)))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*launch, folder / "program.py", folder], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    led, epochs = torch.load(folder / "leads.pt", weights_only=True)
    followed = torch.load(folder / "follows.pt", weights_only=True)
    for leads in (True, False):  # the group's own threads would now and then abort a process that ends
        assert "gloo" not in (folder / f"threads of {leads}").read_text()
    return led, dict(zip(led, followed.values(), strict=True)), epochs


@pytest.mark.parametrize(("name", "recipe"), [("full", FULL), ("sampled", SAMPLED)])
def test_two_processes_learn_what_one_does(found, name: str, recipe: NextItemRecipe):
    epochs: list[Epoch] = []
    alone = fit_next_item(new_model(), people(), recipe, 1, lambda epoch, _: epochs.append(epoch)).state_dict()
    together, begun = found[0][name], new_model().state_dict()
    for key, value in alone.items():
        torch.testing.assert_close(together[key], value, atol=1e-4, rtol=0.0)  # sums of floats in another order
        assert (value - begun[key]).abs().max() > 1e-3  # else this test tests nothing
    for ours, (number, loss, positions) in zip(epochs, found[2][name], strict=True):
        assert (ours.number, ours.positions) == (number, positions)
        assert ours.loss == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize("name", ["full", "sampled", "whole", "resumed"])
def test_both_processes_end_with_the_same_weights(found, name: str):
    led, followed, _ = found
    assert all(torch.equal(value, followed[name][key]) for key, value in led[name].items())


def test_two_processes_go_on_from_their_checkpoint(found):
    led, _, epochs = found
    assert all(torch.equal(value, led["resumed"][key]) for key, value in led["whole"].items())
    assert [number for number, *_ in epochs["resumed"]] == [2, 3]
