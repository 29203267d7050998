"""A build over item codes: renumbered, trained on jointly, saved, and gone on with."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compression import coding
from compression.checkpoint import load_device_model, load_item_order, load_saved_spec
from compression.coding import CODED_FROM, coded_by_default, joint_recipe, load_prepared_as
from compression.compress import CompressSettings, compress, warm_start
from compression.device_model import DeviceModel
from compression.distillation import DistillationRecipe
from compression.inverted_lists import FrozenCodes
from compression.recipe import Recipe
from contracts.errors import ConfigError
from training.fit_teacher import TeacherRecipe
from training.people_quality import load_people_quality
from training.prepared import Prepared
from training.teacher import TeacherShape
from training.train import TrainSettings, train

LENGTH, WIDTH, BYTES, ITEMS = 8, 16, 4, 90
SETTINGS = CompressSettings(
    history_length=LENGTH,
    candidates=10,
    width=WIDTH,
    recipe=DistillationRecipe(steps=30, batch=16),
    item_codes=True,
    code_bytes=BYTES,
    warm_start_steps=5,
    warm_start_examples=20,
)


def quiet(what: str, done: int, total: int) -> None:
    assert 0 <= done <= total


@pytest.fixture(scope="module")
def prepared(logs) -> Prepared:
    return logs.prepared(logs.draw(5, people=12, items=ITEMS), items=ITEMS, phones=(11,))


@pytest.fixture(scope="module")
def trained(prepared: Prepared, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("train")
    recipe = TeacherRecipe(TeacherShape(width=WIDTH - 2, recent=4), steps=20, batch=16)
    train(prepared, folder, TrainSettings(history_length=LENGTH, examples=60, recipe=recipe), 3, quiet)
    return folder


@pytest.fixture(scope="module")
def coded(prepared: Prepared, trained: Path, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("coded")
    compress(prepared, trained, folder, SETTINGS, 3, quiet)
    return folder


def test_the_finished_model_is_over_codes_and_its_recipe_says_so(coded: Path) -> None:
    model = load_device_model(coded)
    assert isinstance(model.table, FrozenCodes)
    assert model.table.frozen().codes.shape == (ITEMS + 1, BYTES)
    assert load_saved_spec(coded).recipe == "prune50_dynamic_wi8_afp32_pq4"
    assert list(load_people_quality(coded)) == ["device_float"]


def test_the_log_is_read_under_the_numbering_of_the_model(
    prepared: Prepared, coded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = load_item_order(coded)
    assert order is not None
    assert sorted(order) == list(range(ITEMS + 1))
    assert order[0] == 0
    monkeypatch.setattr(coding, "load_prepared", lambda folder: prepared)
    moved = load_prepared_as(Path("prepare"), coded)
    assert moved.items.item_id == [prepared.items.item_id[old] for old in order]
    bought = [moved.items.item_id[item] for item in moved.events.item]
    assert bought == [prepared.items.item_id[item] for item in prepared.events.item]


def test_items_keep_near_the_vectors_that_the_dense_model_had(coded: Path) -> None:
    """Row i of the coded model speaks for the item that the dense one has at order[i], not for the one at i."""
    dense = load_device_model(coded / "distilled").table.frozen().values()
    found, order = load_device_model(coded).table.frozen().values(), load_item_order(coded)

    def error(of: np.ndarray) -> float:
        return float(np.square(found[1:] - dense[of][1:]).mean())

    assert error(order) < 0.2 * error(np.arange(ITEMS + 1))


def test_the_same_inputs_give_the_same_codes(prepared: Prepared, trained: Path, coded: Path, tmp_path: Path) -> None:
    compress(prepared, trained, tmp_path, SETTINGS, 3, quiet)
    assert (tmp_path / "device_model.npz").read_bytes() == (coded / "device_model.npz").read_bytes()


def test_a_warm_start_trains_around_the_codes(prepared: Prepared, trained: Path, coded: Path, tmp_path: Path) -> None:
    warm_start(prepared, trained, coded, tmp_path, SETTINGS, 3, quiet)
    before, after = load_device_model(coded), load_device_model(tmp_path)
    for old, new in zip(before.table.frozen(), after.table.frozen(), strict=True):
        assert np.array_equal(old, new)
    assert not np.array_equal(before.token_encoder.get_weights()[0], after.token_encoder.get_weights()[0])
    assert load_saved_spec(tmp_path).recipe == load_saved_spec(coded).recipe


def test_only_a_large_catalogue_is_coded_unasked(prepared: Prepared, trained: Path, tmp_path: Path) -> None:
    assert not coded_by_default(CODED_FROM - 1)
    assert coded_by_default(CODED_FROM)
    compress(prepared, trained, tmp_path, replace(SETTINGS, item_codes=None), 3, quiet)
    assert load_item_order(tmp_path) is None


def test_joint_training_is_shorter_and_slower_and_prunes_nothing_more() -> None:
    recipe = DistillationRecipe(steps=2)
    joint = joint_recipe(recipe)
    assert joint.steps == 1
    assert joint.rate < recipe.rate
    assert (joint.sparsity, joint.quantize_from) == (0.0, 0.0)


def test_more_bytes_than_columns_are_refused_before_anything_is_trained(
    prepared: Prepared, trained: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"code_bytes = 17 .* take at most 16"):
        compress(prepared, trained, tmp_path, replace(SETTINGS, code_bytes=17), 3, quiet)
    assert list(tmp_path.iterdir()) == []


def test_a_search_is_not_asked_about_codes(prepared: Prepared, trained: Path, tmp_path: Path) -> None:
    def choose(model: DeviceModel) -> Recipe:
        raise AssertionError("what it measures is a table")

    compress(prepared, trained, tmp_path, SETTINGS, 3, quiet, choose)
    assert load_saved_spec(tmp_path).recipe.endswith("_pq4")
