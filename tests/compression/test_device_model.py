"""The device model's properties: what may not matter does not, what must matter does, and a phone can train it."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compression.device_model import (
    CONTEXT_WIDTH,
    MASKED,
    SIGNATURES,
    DeviceModel,
    DeviceModelSpec,
    adapter_shapes,
)
from contracts.bundle import WISHES, ContextField
from contracts.errors import ConfigError
from contracts.events import EVENT_CODES
from contracts.rounds import MAX_ADAPTER_FLOATS

ITEMS, LENGTH, LONGER = 40, 12, 20
TOLERANCE = 1e-4  # of float32 sums in another order
HIDDEN = MASKED / 2


@st.composite
def histories(draw: st.DrawFn, least: int = 0) -> dict[str, list]:
    """A history without padding, with every code a field may have."""
    items = draw(st.lists(st.integers(1, ITEMS), unique=True, min_size=least, max_size=LENGTH))

    def each(values: st.SearchStrategy) -> list:
        return draw(st.lists(values, min_size=len(items), max_size=len(items)))

    return {
        "items": items,
        "events": each(st.integers(0, max(EVENT_CODES.values()))),
        "counts": each(st.floats(0, 50, width=32)),
        "ages": each(st.floats(0, 20_000, width=32)),
        "context": [draw(st.integers(0, 4)), draw(st.integers(0, 2)), draw(st.integers(0, 2))],
    }


@pytest.fixture(scope="module")
def longer(model: DeviceModel, make: dict) -> DeviceModel:
    """The same weights with room for a longer history."""
    other = make["model"](make["spec"](LONGER))
    other.token_encoder.set_weights(model.token_encoder.get_weights())
    other.query_encoder.set_weights(model.query_encoder.get_weights())
    for name, value in model.adapter_values().items():
        other.adapter[name].assign(value)
    return other


@pytest.fixture(scope="module")
def frozen(model: DeviceModel) -> dict[str, DeviceModel]:
    return {storage: model.frozen(storage) for storage in ("int8", "float32")}


@pytest.fixture(scope="module")
def score(make: dict) -> Callable[..., np.ndarray]:
    import tensorflow as tf

    traced: dict[int, Any] = {}

    def scores(model: DeviceModel, history: dict, **changes: list) -> np.ndarray:
        function = traced.setdefault(id(model), tf.function(model.scores))
        feed = make["feed"](**(history | changes), length=model.spec.history_length)
        return function(**{name: tf.constant(value) for name, value in feed.items()}).numpy()

    return scores


def assert_same(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Equal scores of all items; what lies far below them is only far below them."""
    shown = (ours > HIDDEN) | (theirs > HIDDEN)
    np.testing.assert_allclose(ours[shown], theirs[shown], atol=TOLERANCE)


@settings(deadline=None, max_examples=40)
@given(history=histories())
def test_padding_has_no_effect(model, longer, score, history) -> None:
    assert_same(score(model, history), score(longer, history))


@settings(deadline=None, max_examples=40)
@given(history=histories(least=2), data=st.data())
def test_the_order_of_the_history_has_no_effect_beyond_its_ages(model, score, history, data) -> None:
    order = data.draw(st.permutations(range(len(history["items"]))))
    moved = {name: [history[name][place] for place in order] for name in ("items", "events", "counts", "ages")}
    assert_same(score(model, history), score(model, history | moved))


@settings(deadline=None, max_examples=40)
@given(history=histories())
def test_scores_are_finite_and_padding_is_never_recommended(model, score, history) -> None:
    scores = score(model, history)
    assert scores.shape == (ITEMS + 1,)
    assert np.isfinite(scores).all()
    assert scores[0] < scores[1:].min() - 1000  # nor when nothing of the history is wished for, however long that is


@settings(deadline=None, max_examples=40)
@given(history=histories(least=1))
def test_who_wishes_for_new_items_sees_none_of_the_history_and_the_rest_unchanged(model, score, history) -> None:
    anything, new = (
        score(model, history, context=[*history["context"][:2], WISHES[wish]]) for wish in ("anything", "new")
    )
    had = np.isin(np.arange(ITEMS + 1), history["items"])
    assert (new[had] < anything[had] - 1000).all()
    assert np.array_equal(new[~had][1:], anything[~had][1:])


@settings(deadline=None, max_examples=40)
@given(history=histories())
def test_the_frozen_table_scores_alike_as_int8_and_as_float32(frozen, score, history) -> None:
    np.testing.assert_allclose(score(frozen["int8"], history), score(frozen["float32"], history), atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"events": [1, 9]},
        {"counts": [1.0, 8.0]},
        {"ages": [50.0, 900.0]},
        {"context": [0, 1, 1]},
        {"context": [2, 2, 1]},
        {"items": [3, 12]},
    ],
)
def test_every_input_matters(model, score, change) -> None:
    history = {"items": [3, 11], "events": [9, 9], "counts": [1.0, 2.0], "ages": [50.0, 3.0], "context": [2, 1, 1]}
    assert np.abs(score(model, history) - score(model, history, **change))[1:].max() > 1e-3


def test_unknown_codes_have_scores_of_their_own(model, score) -> None:
    history = {"items": [3], "events": [9], "counts": [1.0], "ages": [5.0], "context": [2, 1, 1]}
    unknown = score(model, history, events=[0], context=[0, 0, 1])
    assert np.isfinite(unknown).all()
    assert not np.allclose(unknown, score(model, history))


def test_recommend_returns_the_best_scores_in_order(model, score, make) -> None:
    history = {"items": [3, 11], "events": [9, 4], "counts": [1.0, 2.0], "ages": [50.0, 3.0], "context": [2, 1, 1]}
    answer = model.signatures(["recommend"])["recommend"](
        **{name: _constant(value) for name, value in make["feed"](**history, length=LENGTH).items()}
    )
    expected = score(model, history)
    order = np.argsort(-expected, kind="stable")[:10]
    assert answer["items"].numpy()[0].tolist() == order.tolist()
    np.testing.assert_allclose(answer["scores"].numpy()[0], expected[order], atol=TOLERANCE)


def _constant(value: np.ndarray):
    import tensorflow as tf

    return tf.constant(value)


def _training(model: DeviceModel, make: dict) -> dict:
    history = make["feed"]([3, 11], [9, 4], [1.0, 2.0], [50.0, 3.0], [2, 1, 1], LENGTH)
    batch = history | {
        "targets": np.array([[11, 30, 0]], np.int32),
        "negatives": np.array([[*range(12, 24)]], np.int32),
        "rate": np.float32(0.05),
    }
    return {name: _constant(value) for name, value in batch.items()}


def test_training_lowers_the_loss_and_leaves_all_but_the_adapter_alone(make) -> None:
    model = make["model"](make["spec"]())
    before = [weight.copy() for weight in (*model.token_encoder.get_weights(), *model.query_encoder.get_weights())]
    table = model.table.frozen()[0]
    train = model.signatures(["train"])["train"]
    losses = [float(train(**_training(model, make))["loss"]) for _ in range(30)]
    assert losses[-1] < losses[0] - 0.2
    after = (*model.token_encoder.get_weights(), *model.query_encoder.get_weights())
    assert all(np.array_equal(one, two) for one, two in zip(before, after, strict=True))
    assert np.array_equal(table, model.table.frozen()[0])


def test_every_tensor_of_the_adapter_has_a_gradient(make) -> None:
    """A tensor that no phone can move would only cost noise."""
    model = make["model"](make["spec"]())
    before = model.adapter_values()
    model.signatures(["train"])["train"](**_training(model, make))
    assert [name for name, value in model.adapter_values().items() if np.array_equal(value, before[name])] == []


def test_the_loss_is_the_cross_entropy_among_all_candidates(model, score, make) -> None:
    """Recomputed from the scores of the whole catalogue: history, targets and negatives compete, each once."""
    history = {"items": [3, 11], "events": [9, 4], "counts": [1.0, 2.0], "ages": [50.0, 3.0], "context": [2, 1, 1]}
    batch = _training(model, make) | {"rate": _constant(np.float32(0))}
    loss = float(model.signatures(["train"])["train"](**batch)["loss"])
    scores = score(model, history).astype(np.float64)
    among = [3, 11, 30, *range(12, 24)]
    expected = np.log(np.exp(scores[among]).sum()) - scores[[11, 30]].mean()
    assert loss == pytest.approx(expected, abs=1e-4)


def test_the_adapter_is_got_and_set_exactly(make) -> None:
    model = make["model"](make["spec"]())
    traced = model.signatures(["get_weights", "set_weights"])
    rng = np.random.default_rng(2)
    wanted = {name: rng.normal(size=value.shape).astype(np.float32) for name, value in model.adapter_values().items()}
    traced["set_weights"](**{name: _constant(value) for name, value in wanted.items()})
    found = traced["get_weights"](ask=_constant(np.int32(0)))
    for name, value in wanted.items():
        assert found[name].numpy().tobytes() == value.tobytes()
    other = model.frozen("float32", {name: value * 2 for name, value in wanted.items()})
    assert all(np.array_equal(value, wanted[name] * 2) for name, value in other.adapter_values().items())
    assert all(np.array_equal(value, wanted[name]) for name, value in model.adapter_values().items())


def test_the_adapter_s_order_is_that_of_its_names(model) -> None:
    assert list(adapter_shapes(model.spec)) == sorted(adapter_shapes(model.spec)) == list(model.adapter_values())
    assert tuple(model.signatures()) == SIGNATURES


def test_the_seed_decides_the_weights(make) -> None:
    one, two, other = (make["model"](make["spec"](), seed) for seed in (1, 1, 2))
    for first, second in zip(one.token_encoder.get_weights(), two.token_encoder.get_weights(), strict=True):
        assert np.array_equal(first, second)
    assert not np.array_equal(one.token_encoder.get_weights()[0], other.token_encoder.get_weights()[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 18, "heads": 4}, "width 18 is no multiple of 4 heads"),
        ({"items": 9}, "10 candidates are asked of a catalogue of 9 items: set candidates to at most 9"),
    ],
)
def test_shapes_that_cannot_be_are_refused(make, changes, message) -> None:
    with pytest.raises(ConfigError, match=message):
        make["spec"](**changes)


@given(width=st.integers(1, 32).map(lambda four: 4 * four), size=st.integers(1, 1200))
def test_an_adapter_is_within_the_limit_or_refused(width: int, size: int) -> None:
    def spec_of(codes: int) -> DeviceModelSpec:
        return DeviceModelSpec(items=200, context=(ContextField("field", codes),), width=width)

    def floats_of(codes: int) -> int:
        return sum(math.prod(shape) for shape in adapter_shapes(spec_of(codes)).values())

    floats = floats_of(1) + (size - 1) * CONTEXT_WIDTH
    if floats > MAX_ADAPTER_FLOATS:
        with pytest.raises(ConfigError, match=f"have {floats} floats, {MAX_ADAPTER_FLOATS} are allowed"):
            adapter_shapes(spec_of(size))
    else:
        assert floats_of(size) == floats
