"""The model on the device: inputs as the manifest says, goldens, cold start."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.bundle import CATALOGUE, TFLITE, GoldenAnswer, Goldens, Signature
from contracts.errors import BundleError, GoldenError, InputError
from contracts.events import EVENT_CODES, Event, EventType
from contracts.summary import EMPTY, HOUR_MS, History, summarize
from export.inference.catalogue import Catalogue
from export.inference.context import encode_context, hour_of_week
from export.inference.goldens import check_answers, difference_of
from export.inference.recommender import Recommender, check_bundle
from export.inference.runtime import Ranking, Runtime, padded
from export.verify import read_manifest, verify_bundle

NOW_MS = 1_490_000_000_000


def purchase(item: str, at_ms: int) -> tuple[Event, int]:
    event = Event(
        device_id="d", epoch=1, seq=0, type=EventType.PURCHASE, owner="login:a",
        occurred_at=at_ms, boot_id="b", uptime_ms=0, item_id=item,
    )  # fmt: skip
    return event, at_ms // HOUR_MS


def test_padding_comes_first_and_the_most_recent_item_last() -> None:
    inputs = padded(History((4, 9), (9, 5), (1.5, 0.5), (10.0, 2.0)), 5)
    assert inputs["items"].tolist() == [[0, 0, 0, 4, 9]]
    assert inputs["ages"].tolist() == [[0, 0, 0, 10, 2]]
    assert {name: array.dtype.name for name, array in inputs.items()} == {
        "items": "int32", "events": "int32", "counts": "float32", "ages": "float32",
    }  # fmt: skip
    with pytest.raises(InputError, match="has 2 items, the model takes 1"):
        padded(History((4, 9), (9, 5), (1.5, 0.5), (10.0, 2.0)), 1)


def test_the_runtime_ranks_as_the_model_s_formula_says(model_bundle: Path) -> None:
    runtime = Runtime(model_bundle, verify_bundle(model_bundle))
    history = History((3, 8), (9, 9), (2.0, 1.0), (50.0, 1.0))
    ranking = runtime.recommend(history, (0, 0))
    table = np.random.default_rng(5).standard_normal((51, 8)).astype(np.float32)
    table[0] = 0
    weights = (np.array([2.0, 1.0]) + 0.9) * np.exp(-0.001 * np.array([50.0, 1.0]))
    logits = (weights @ table[[3, 8]]) @ table.T
    logits[0] = -np.inf
    assert list(ranking.items) == np.argsort(-logits)[:10].tolist()
    np.testing.assert_allclose(ranking.scores, np.sort(logits)[::-1][:10], rtol=1e-4)


def test_a_model_that_is_not_the_manifest_s_is_refused(model_bundle: Path, tmp_path: Path) -> None:
    manifest = verify_bundle(model_bundle)
    lacking = msgspec.structs.replace(manifest, signatures={"recommend": Signature((), ())})
    with pytest.raises(BundleError, match="the manifest says"):
        Runtime(model_bundle, lacking)
    (tmp_path / TFLITE).write_bytes(b"no model")
    with pytest.raises(BundleError, match=r"model\.tflite cannot be loaded"):
        Runtime(tmp_path, manifest)


def test_goldens_hold_here_and_a_wrong_score_or_item_is_named(write_model_bundle, tmp_path: Path) -> None:
    bundle = write_model_bundle(tmp_path)
    check_bundle(bundle, verify_bundle(bundle))
    goldens = msgspec.json.decode((bundle / "goldens.json").read_bytes(), type=Goldens)
    full = goldens.answers[TFLITE][2]
    wrong = GoldenAnswer(full.items, tuple(score + 0.01 for score in full.scores))
    (bundle / "goldens.json").write_bytes(
        msgspec.json.encode(msgspec.structs.replace(goldens, answers={TFLITE: (*goldens.answers[TFLITE][:2], wrong)}))
    )
    with pytest.raises(GoldenError, match=r"golden 'full' with item \d+ off by 0\.01"):
        check_bundle(bundle, read_manifest(bundle))
    with pytest.raises(GoldenError, match=r"0 answers of model\.onnx"):
        check_answers(lambda golden: Ranking((), ()), goldens, "model.onnx")


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_processor_within_half_the_tolerance_agrees_and_one_beyond_it_does_not(data: st.DataObject) -> None:
    tolerance = 0.1
    scores = data.draw(st.lists(st.integers(-30, 30), min_size=8, max_size=8))
    true = np.array(scores) / 20  # steps of 0.05: many ties within the tolerance
    noise = np.array(data.draw(st.lists(st.floats(-0.049, 0.049), min_size=8, max_size=8)))

    def top(values: np.ndarray) -> tuple[tuple[int, ...], tuple[float, ...]]:
        order = np.argsort(-values, kind="stable")[:5]
        return tuple(order.tolist()), tuple(values[order].tolist())

    wanted, found = GoldenAnswer(*top(true)), Ranking(*top(true + noise))
    assert difference_of(found, wanted, tolerance) == ""
    off = true.copy()
    off[data.draw(st.sampled_from(wanted.items))] += data.draw(st.floats(0.11, 3.0))
    assert difference_of(Ranking(*top(off)), wanted, tolerance) != ""


@pytest.mark.parametrize(
    "found",
    [
        Ranking((1, 2), (1.0, float("nan"))),
        Ranking((1, 1), (1.0, 1.0)),
        Ranking((1,), (1.0,)),
        Ranking((1, 3), (1.0, 0.2)),
    ],
)
def test_nan_repeats_short_lists_and_strangers_are_differences(found: Ranking) -> None:
    assert difference_of(found, GoldenAnswer((1, 2), (1.0, 0.5)), 0.1)


def test_without_history_the_segment_s_popularity_is_recommended(model_bundle: Path) -> None:
    manifest = verify_bundle(model_bundle)
    everyone = Recommender(model_bundle, manifest).recommend(EMPTY, NOW_MS, 3)
    assert (everyone.items, everyone.source) == (("item-1", "item-2", "item-3"), "popularity")
    late = Recommender(model_bundle, manifest, {"segment": "late"}).recommend(EMPTY, NOW_MS, 2)
    assert late.items == ("item-50", "item-49")
    stranger = summarize([purchase("not in the catalogue", NOW_MS)])
    assert Recommender(model_bundle, manifest).recommend(stranger, NOW_MS, 3) == everyone


def test_with_history_the_model_recommends_by_id(model_bundle: Path) -> None:
    manifest = verify_bundle(model_bundle)
    recommender = Recommender(model_bundle, manifest, {"device_class": "phone"})
    answer = recommender.recommend(summarize([purchase("item-7", NOW_MS - HOUR_MS)]), NOW_MS, 5)
    assert answer.source == "model"
    direct = Runtime(model_bundle, manifest).recommend(
        History((7,), (EVENT_CODES[EventType.PURCHASE],), (weight_after(1),), (1.0,)),
        recommender.context(EMPTY, NOW_MS),
    )
    assert answer.items == tuple(f"item-{index}" for index in direct.items[:5])


def weight_after(hours: int) -> float:
    return 2 ** (-hours / 2880)


def test_context_codes_follow_the_manifest(model_bundle: Path) -> None:
    fields = verify_bundle(model_bundle).context
    monday_1am = 1_489_971_600_000  # 2017-03-20T01:00Z
    assert hour_of_week(monday_1am) == 1
    assert encode_context(fields, {"hour_of_week": "1", "device_class": "tablet"}) == (2, 2)
    assert encode_context(fields, {"device_class": "toaster"}) == (0, 0)


def test_the_catalogue_maps_both_ways_and_refuses_what_it_is_not(model_bundle: Path, tmp_path: Path) -> None:
    catalogue = Catalogue(model_bundle / CATALOGUE)
    assert len(catalogue) == 50
    assert all(catalogue.index_of(catalogue.item_id(index)) == index for index in range(1, 51))
    assert catalogue.index_of("unknown") == 0
    assert catalogue.currency == "USD"
    with pytest.raises(BundleError, match="no item 51"):
        catalogue.item_id(51)
    (tmp_path / CATALOGUE).write_bytes(b"no catalogue")
    with pytest.raises(BundleError, match="is no catalogue"):
        Catalogue(tmp_path / CATALOGUE)
