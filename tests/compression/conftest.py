"""Small device models; TensorFlow is loaded once."""

import os
import runpy
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest

from compression.device_model import DeviceModel, DeviceModelSpec
from contracts.bundle import WISH, WISHES, ContextField

CONTEXT = (ContextField("hour_of_week", 5), ContextField("segment", 3), ContextField(WISH, len(WISHES) + 1, WISHES))


def spec_of(length: int = 12, **changes) -> DeviceModelSpec:
    fields = {"items": 40, "candidates": 10, "width": 16, "heads": 2, "train_targets": 3, "train_negatives": 12}
    return DeviceModelSpec(context=CONTEXT, history_length=length, **(fields | changes))


def model_of(spec: DeviceModelSpec, seed: int = 5) -> DeviceModel:
    """A model with random weights everywhere, so that no part of it is silent."""
    rng = np.random.default_rng(seed)
    table = rng.normal(0.0, 0.4, (spec.items + 1, spec.width)).astype(np.float32)
    table[0] = 0
    model = DeviceModel.create(spec, table, seed)
    for variable in model.adapter.values():
        variable.assign(rng.normal(0.0, 0.3, variable.shape))
    return model


def feed_of(
    items: list[int], events: list[int], counts: list[float], ages: list[float], context: list[int], length: int
) -> dict[str, np.ndarray]:
    """Inputs of `recommend`, padding first."""
    feed = {"context": np.array([context], np.int32)}
    for name, values, dtype in (
        ("items", items, np.int32),
        ("events", events, np.int32),
        ("counts", counts, np.float32),
        ("ages", ages, np.float32),
    ):
        feed[name] = np.zeros((1, length), dtype)
        feed[name][0, length - len(values) :] = values
    return feed


@pytest.fixture(scope="session")
def model() -> DeviceModel:
    """Not to be changed."""
    return model_of(spec_of())


@pytest.fixture(scope="session")
def make() -> dict:
    return {"spec": spec_of, "model": model_of, "feed": feed_of}


@pytest.fixture(scope="session")
def logs():
    """Makes small prepared logs, as the tests of training have them."""
    return runpy.run_path(str(Path(__file__).parents[1] / "training" / "conftest.py"))["Logs"]()
