"""From a finished next-item training to a device model, and on to the next one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compression import next_item_model as module
from compression.checkpoint import load_device_model, load_saved_spec
from compression.compress import CompressSettings, load_distilled
from compression.next_item import NextItemDistillation
from compression.next_item_model import BlockShapes, compress_next_item, warm_start_next_item
from training.people_quality import load_people_quality
from training.sequence.fit import NextItemRecipe
from training.sequence.train import NextItemSettings, train_next_item
from training.sequence.transformer import TransformerShape

ITEMS, LENGTH = 20, 12
SHAPE = TransformerShape(width=16, blocks=1, heads=2, dropout=0.1)
SETTINGS = CompressSettings(history_length=LENGTH, candidates=10, width=16)
RECIPE = NextItemDistillation(epochs=25, positions=128, rate=1e-2, sparsity=0.5)


def quiet(what: str, done: int, total: int) -> None:
    assert 0 <= done <= total


@pytest.fixture(scope="module")
def trained(logs, tmp_path_factory):
    day, folder = 24 * 3_600_000, tmp_path_factory.mktemp("train")
    baskets = [
        logs.basket(person, logs.start_ms + (8 * place + 1) * day, [1 + (person + place) % ITEMS])
        for person in range(30)
        for place in range(12)
    ]
    prepared = logs.prepared(baskets, items=ITEMS)
    recipe = NextItemRecipe(SHAPE, epochs=25, positions=128, rate=1e-2, warm_up=10)
    train_next_item(prepared, folder, NextItemSettings(LENGTH, recipe, labels=5), 3, quiet)
    return prepared, folder


@pytest.fixture(scope="module")
def compressed(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compress")
    version = compress_next_item(*trained, folder, SETTINGS, RECIPE, BlockShapes(1, 8, 2), 3, quiet)
    return folder, version


def test_the_device_model_knows_what_follows(compressed):
    folder, version = compressed
    assert load_saved_spec(folder).model_version == version
    assert np.nanmean(load_people_quality(folder)["device_float"].new_ndcg) > 0.6
    assert load_device_model(folder).spec.blocks == 1


def test_the_model_is_kept_as_it_was_before_it_was_stored(compressed):
    distilled, stored = load_distilled(compressed[0]), load_device_model(compressed[0])
    assert distilled.recipe.pruned == 50
    assert distilled.table.is_quantized
    assert np.array_equal(distilled.table.frozen().values(), stored.table.frozen().values())
    pairs = zip(distilled.token_encoder.get_weights(), stored.token_encoder.get_weights(), strict=True)
    assert not all(np.array_equal(one, other) for one, other in pairs)


@pytest.mark.parametrize("heed", [0.0, 0.5])
def test_successors_take_no_bytes_where_nothing_is_made_of_them(
    trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heed: float
):
    monkeypatch.setattr(module, "best_heed", lambda choices: heed)
    brief = replace(RECIPE, epochs=1)
    compress_next_item(*trained, tmp_path, SETTINGS, brief, BlockShapes(1, 8, 2), 3, quiet)
    found = load_device_model(tmp_path).successors
    assert found.heed == np.float32(heed) if heed else found is None


def test_the_next_one_goes_on_from_it(trained, compressed, tmp_path):
    version = warm_start_next_item(*trained, compressed[0], tmp_path, SETTINGS, RECIPE, 3, quiet)
    assert version != compressed[1]
    assert np.nanmean(load_people_quality(tmp_path)["device_float"].new_ndcg) > 0.6
    first, second = load_device_model(compressed[0]), load_device_model(tmp_path)
    for one, other in zip(first.token_encoder.get_weights(), second.token_encoder.get_weights(), strict=True):
        if one.ndim == 2:
            assert ((one == 0) <= (other == 0)).all()  # what was pruned stays so
