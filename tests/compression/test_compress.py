"""From soft labels to a finished device model, on a log small enough to train in seconds."""

import numpy as np
import pytest

from compression.checkpoint import load_device_model, load_saved_spec
from compression.compress import CompressSettings, compress, default_recipe, initial_table, warm_start
from compression.dense_weights import rounded
from compression.distillation import DistillationRecipe
from compression.grid import LEVELS
from compression.item_table import quantize
from compression.pruning import pruning
from compression.training_data import distillation_batches
from training.examples import examples_of
from training.fit_teacher import TeacherRecipe
from training.people_quality import load_people_quality
from training.segments import fit_segments
from training.soft_labels import load_soft_labels
from training.teacher import TeacherShape
from training.train import TrainSettings, train

LENGTH, WIDTH = 8, 16
RECIPE = DistillationRecipe(steps=40, batch=16)
SETTINGS = CompressSettings(
    history_length=LENGTH, candidates=10, width=WIDTH, recipe=RECIPE, warm_start_steps=5, warm_start_examples=20
)


def quiet(what: str, done: int, total: int) -> None:
    assert 0 <= done <= total


@pytest.fixture(scope="module")
def trained(logs, tmp_path_factory):
    """A prepared log and the folder of its teacher."""
    prepared = logs.prepared(logs.draw(5, people=12, items=30), items=30, phones=(11,))
    folder = tmp_path_factory.mktemp("train")
    recipe = TeacherRecipe(TeacherShape(width=WIDTH - 2, recent=4), steps=20, batch=16)
    train(prepared, folder, TrainSettings(history_length=LENGTH, examples=60, recipe=recipe), 3, quiet)
    return prepared, folder


@pytest.fixture(scope="module")
def compressed(trained, tmp_path_factory):
    prepared, folder = trained
    target = tmp_path_factory.mktemp("compress")
    version = compress(prepared, folder, target, SETTINGS, 3, quiet)
    return target, version


def test_training_leaves_the_quality_of_every_baseline_and_the_teacher(trained):
    _, folder = trained
    assert list(load_people_quality(folder)) == [
        "user_knn",
        "frequency_user_knn",
        "item_knn",
        "popularity",
        "personal_frequency",
        "sequence_rules",
        "teacher",
    ]


def test_the_finished_model_is_saved_with_its_version_and_quality(compressed):
    folder, version = compressed
    saved = load_saved_spec(folder)
    assert saved.model_version == version
    assert saved.recipe == "prune50_dynamic_wi8_afp32"
    assert list(load_people_quality(folder)) == ["device_float"]


def test_the_same_inputs_give_the_same_bytes(trained, compressed, tmp_path):
    prepared, folder = trained
    assert compress(prepared, folder, tmp_path, SETTINGS, 3, quiet) == compressed[1]
    for name in ("device_model.json", "device_model.npz"):
        assert (tmp_path / name).read_bytes() == (compressed[0] / name).read_bytes()


def test_half_of_the_dense_weights_are_pruned_and_all_are_on_their_grid(compressed):
    import tf_keras

    model = load_device_model(compressed[0])
    kernels = [
        layer.kernel.numpy()
        for encoder in (model.token_encoder, model.query_encoder)
        for layer in encoder.layers
        if isinstance(layer, tf_keras.layers.Dense)
    ]
    zeros = sum(int((kernel == 0).sum()) for kernel in kernels)
    assert zeros / sum(kernel.size for kernel in kernels) == pytest.approx(0.5, abs=0.03)
    for kernel in kernels:
        assert np.allclose(rounded(kernel), kernel, atol=1e-7)


def test_a_warm_start_goes_on_from_the_finished_model_and_keeps_what_is_pruned(trained, compressed, tmp_path):
    prepared, folder = trained
    version = warm_start(prepared, folder, compressed[0], tmp_path, SETTINGS, 3, quiet)
    assert version != compressed[1]
    before, after = load_device_model(compressed[0]), load_device_model(tmp_path)
    assert after.spec == before.spec
    for old, new in zip(before.token_encoder.get_weights(), after.token_encoder.get_weights(), strict=True):
        if old.ndim == 2:
            assert not new[old == 0].any()


def test_a_warm_start_takes_items_that_the_model_never_saw(trained, compressed, tmp_path):
    """The model's catalogue lacks the log's second item, and has one that the log lacks."""
    prepared, folder = trained
    ids = prepared.items.item_id.copy()
    ids[2] = "no longer sold"
    warm_start(prepared, folder, compressed[0], tmp_path, SETTINGS, 3, quiet, ids)
    before, after = (load_device_model(each).table.frozen().values() for each in (compressed[0], tmp_path))
    assert after.shape == before.shape
    moved = np.abs(after - before).max(1)
    assert moved[2] > 3 * np.median(moved[1:])  # it does not go on from the row of another item
    assert np.abs(after[2]).max() > 0


def test_the_table_starts_as_the_teachers_vectors_with_biases_of_their_magnitude(trained):
    labels = load_soft_labels(trained[1])
    table, divisor, middle = initial_table(labels, WIDTH)
    assert np.array_equal(table[1:, :-2], labels.vectors[1:])
    assert np.allclose(table[1:, -2] * divisor + middle, labels.popularity[1:], atol=1e-4)
    assert not table[0].any()
    assert np.abs(table[1:, -2]).max() <= 3.01 * labels.vectors[1:].std()


def test_batches_point_at_what_they_name(trained):
    prepared, folder = trained
    labels = load_soft_labels(folder)
    examples = examples_of(prepared, labels.baskets, LENGTH, fit_segments(prepared, 3))
    batch = next(distillation_batches(examples, labels, 16, 50, 64, 0))
    for row in range(16):
        history = batch.items[row]
        for place, share in zip(batch.target_place[row], batch.target_share[row], strict=True):
            item = history[place] if place < LENGTH else batch.candidates[place - LENGTH]
            assert share == 0 or item > 0
        labelled = batch.candidates[batch.label_place[row]]
        assert not set(labelled[batch.label_share[row] > 0]) & set(history[history > 0])
        hidden = batch.hidden[row][batch.hidden[row] < 64]
        assert set(batch.candidates[hidden]) <= set(history)
    assert batch.target_share.sum(1) == pytest.approx(np.ones(16), abs=1e-5)


def test_nothing_is_pruned_where_nothing_is_asked(model):
    encoders = model.token_encoder, model.query_encoder
    with pruning(model, 0.0, 10) as after_step:
        after_step(0)
    assert (model.token_encoder, model.query_encoder) == encoders


def test_rounding_is_idempotent_and_keeps_the_largest_weight_of_each_unit():
    kernel = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    kernel[:, 3] = 0
    once = rounded(kernel)
    assert np.allclose(rounded(once), once, atol=1e-7)
    assert np.allclose(np.abs(once).max(0), np.abs(kernel).max(0))
    assert np.abs(once - kernel).max() <= np.abs(kernel).max() / LEVELS["int8"]
    assert not once[:, 3].any()


def test_quantized_values_stay_within_half_a_step():
    table = np.random.default_rng(0).uniform(-1, 1, (50, 4)).astype(np.float32)
    assert np.abs(quantize(table, 1 / LEVELS["int8"]) / LEVELS["int8"] - table).max() <= 0.5 / LEVELS["int8"] + 1e-6


def test_the_recipes_name_decodes():
    assert default_recipe(DistillationRecipe(sparsity=0.8)).name == "prune80_dynamic_wi8_afp32"
    assert default_recipe(DistillationRecipe(m_by_n=(2, 4))).name == "prune2by4_dynamic_wi8_afp32"


def test_two_of_every_four_weights_of_a_unit_are_pruned_while_training(make):
    model = make["model"](make["spec"]())
    with pruning(model, 0.5, 10, (2, 4)) as prune:
        for step in range(10):
            prune(step)
    for name in ("describe_out", "values"):
        kernel = model.token_encoder.get_layer(name).kernel.numpy()
        assert ((kernel.reshape(-1, 4, kernel.shape[1]) == 0).sum(1) == 2).all()
