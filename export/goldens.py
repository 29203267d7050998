"""Goldens: synthetic histories with every artifact's answers, so that a device can tell whether its model works there.

The tolerance. An artifact with int8 activations rounds each of them to a step, and on another processor, whose floating
point differs in the last bit, an activation between two steps may fall on the other one. Every processor's answer
stays as close to the exact one as rounding allows; let d be the largest distance from the device model in float32 that
any artifact shows here. Two processors are then at most 2 d apart. A floor covers float32 evaluated in another order
or, on some accelerators, at lower internal precision.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from contracts.bundle import GoldenAnswer, GoldenHistory, Goldens
from contracts.events import EVENT_CODES
from export.parity import score_error
from export.runtimes import Evaluator, Feed

if TYPE_CHECKING:
    from compression.device_model import DeviceModelSpec

TOLERANCE_FLOOR = 1e-3
_MANY = 64.0  # purchases of one item, more than any household's within the half-life
_STEP = 64  # counts are multiples of 1 / 64: the same number in JSON, double and float32
_OLDEST = 10_000  # hours
_DECIMALS = 6  # of a stored score


def synthetic_histories(spec: "DeviceModelSpec", seed: int) -> tuple[GoldenHistory, ...]:
    """Histories at the edges of what a model may be asked; drawn at random, never a person's.

    Args:
        spec: of the model; catalogue, length and context fields are read.
        seed: of every random choice.
    """
    rng = np.random.default_rng(seed)
    strongest, middle = max(EVENT_CODES.values()), max(1, min(20, spec.history_length // 2))
    unknown = (0,) * len(spec.context)

    def history(name: str, size: int, event: int, context: tuple[int, ...], many: bool = False) -> GoldenHistory:
        size = min(size, spec.items)
        counts = np.full(size, _MANY) if many else np.ceil(rng.gamma(1.0, 1.0, size) * _STEP) / _STEP
        return GoldenHistory(
            name=name,
            items=tuple((rng.choice(spec.items, size, replace=False) + 1).tolist()),
            events=(event,) * size,
            counts=tuple(counts.tolist()),
            ages=tuple(float(age) for age in sorted(rng.integers(0, _OLDEST, size), reverse=True)),
            context=context,
        )

    drawn = tuple(int(rng.integers(0, field.size)) for field in spec.context)
    return (
        history("empty", 0, strongest, drawn),
        history("one item", 1, strongest, drawn),
        history("full", spec.history_length, strongest, drawn),
        history("repeats", middle, strongest, drawn, many=True),
        history("unknown codes", middle, 0, unknown),
        history("largest codes", middle, strongest, tuple(field.size - 1 for field in spec.context)),
    )


def feed_of(golden: GoldenHistory, length: int) -> Feed:
    """A golden history as the inputs of `recommend`, padding first."""
    feed = {"context": np.asarray([golden.context], np.int32)}
    for name, dtype in (("items", np.int32), ("events", np.int32), ("counts", np.float32), ("ages", np.float32)):
        values = getattr(golden, name)
        feed[name] = np.zeros((1, length), dtype)
        feed[name][0, length - len(values) :] = values
    return feed


def make_goldens(
    spec: "DeviceModelSpec", artifacts: Mapping[str, Evaluator], reference: Evaluator, seed: int
) -> Goldens:
    """Let every artifact answer the synthetic histories.

    Args:
        spec: of the model.
        artifacts: artifact -> its evaluator.
        reference: the device model in float32, against which the tolerance is derived.
        seed: of the histories.
    """
    histories = synthetic_histories(spec, seed)
    answers: dict[str, list[GoldenAnswer]] = {name: [] for name in artifacts}
    distance = 0.0
    for golden in histories:
        feed = feed_of(golden, spec.history_length)
        exact = reference.rank(feed)
        for name, evaluator in artifacts.items():
            items, scores = evaluator.rank(feed)
            distance = max(distance, score_error((items, scores), exact))
            answers[name].append(
                GoldenAnswer(tuple(items.tolist()), tuple(round(score, _DECIMALS) for score in scores.tolist()))
            )
    return Goldens(
        histories=histories,
        answers={name: tuple(each) for name, each in answers.items()},
        tolerance=math.ceil((2 * distance + TOLERANCE_FLOOR) * 1000) / 1000,
    )
