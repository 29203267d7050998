"""Goldens: synthetic, repeatable, held by every artifact, and by no other model."""

from pathlib import Path

import msgspec
import pytest

from contracts import codec
from contracts.bundle import CORE_ML, GOLDENS, ONNX, TFLITE, TRAINABLE_TFLITE, Goldens
from contracts.errors import GoldenError
from contracts.events import EVENT_CODES
from export.goldens import TOLERANCE_FLOOR, feed_of, make_goldens, synthetic_histories
from export.inference.goldens import check_answers, check_goldens
from export.inference.runtime import Ranking, Runtime
from export.runtimes import ModuleEvaluator, open_evaluator
from export.verify import read_manifest


@pytest.fixture(scope="module")
def goldens(bundle: Path) -> Goldens:
    return codec.decode((bundle / GOLDENS).read_bytes(), Goldens)


def test_histories_are_at_the_edges_of_what_may_be_asked(tiny) -> None:
    found = {history.name: history for history in synthetic_histories(tiny.SPEC, 7)}
    assert [len(history.items) for history in found.values()] == [0, 1, tiny.LENGTH, 8, 8, 8]
    assert set(found["unknown codes"].events) == {0}
    assert found["unknown codes"].context == (0, 0, 0)
    assert set(found["largest codes"].events) == {max(EVENT_CODES.values())}
    assert found["largest codes"].context == tuple(field.size - 1 for field in tiny.SPEC.context)
    for history in found.values():
        assert len(set(history.items)) == len(history.items)
        assert all(1 <= item <= tiny.ITEMS for item in history.items)
        assert list(history.ages) == sorted(history.ages, reverse=True)
        assert all(0 <= code < field.size for code, field in zip(history.context, tiny.SPEC.context, strict=True))
        feed = feed_of(history, tiny.LENGTH)
        assert (
            tuple(feed["counts"][0, tiny.LENGTH - len(history.items) :].tolist()) == history.counts
        )  # exact in float32


def test_the_seed_decides(tiny) -> None:
    assert synthetic_histories(tiny.SPEC, 7) == synthetic_histories(tiny.SPEC, 7) != synthetic_histories(tiny.SPEC, 8)


def test_every_artifact_answers_and_the_phone_agrees(bundle: Path, goldens: Goldens, tiny) -> None:
    assert goldens.answers.keys() == {TFLITE, TRAINABLE_TFLITE, ONNX, CORE_ML}
    check_goldens(Runtime(bundle, read_manifest(bundle)), goldens)
    for artifact in goldens.answers:
        evaluator = open_evaluator(bundle / artifact)

        def answer(golden, evaluator=evaluator) -> Ranking:
            return Ranking(*(tuple(side.tolist()) for side in evaluator.rank(feed_of(golden, tiny.LENGTH))))

        check_answers(answer, goldens, artifact)


def test_the_tolerance_spans_every_artifact_s_distance_from_the_exact_answer(model, goldens: Goldens, tiny) -> None:
    """Float32 evaluated exactly is one of the answers another processor may give, for every artifact."""
    exact = ModuleEvaluator(model)
    assert goldens.tolerance > TOLERANCE_FLOOR
    for artifact in goldens.answers:
        check_answers(
            lambda golden: Ranking(*(tuple(s.tolist()) for s in exact.rank(feed_of(golden, tiny.LENGTH)))),
            goldens,
            artifact,
        )
    only_float = make_goldens(tiny.SPEC, {"exact": exact}, exact, 7)
    assert only_float.tolerance == TOLERANCE_FLOOR


def test_another_model_s_answers_are_refused(goldens: Goldens, tiny) -> None:
    other = tiny.tiny_model()
    other.adapter["query_bias"].assign(other.adapter["query_bias"] + 0.1)
    evaluator = ModuleEvaluator(other)
    with pytest.raises(GoldenError, match="golden"):
        check_answers(
            lambda golden: Ranking(*(tuple(s.tolist()) for s in evaluator.rank(feed_of(golden, tiny.LENGTH)))),
            goldens,
            TFLITE,
        )


def test_goldens_survive_json(goldens: Goldens) -> None:
    assert msgspec.json.decode(codec.encode(goldens), type=Goldens) == goldens
