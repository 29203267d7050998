"""The device model over a coded catalogue: in every artifact it answers as over a dense table of the same vectors."""

from pathlib import Path

import numpy as np
import pytest

from compression.device_model import DeviceModel
from compression.inverted_lists import FrozenCodes
from compression.item_codes import CODEWORDS, StoredCodes
from compression.item_table import FrozenTable, StoredTable
from contracts.bundle import CORE_ML, ONNX, TFLITE
from export.artifacts import exporters
from export.runtimes import open_evaluator

ITEMS, LENGTH, WIDTH, BOOKS, SLOTS = 200, 12, 16, 4, 16


@pytest.fixture(scope="module")
def coded(make: dict) -> DeviceModel:
    """Random everywhere, over codes that `recommend` searches in full: there are fewer lists than it looks into."""
    rng = np.random.default_rng(3)
    model = make["model"](make["spec"](LENGTH, items=ITEMS))
    codes = rng.integers(0, CODEWORDS, (ITEMS + 1, BOOKS), dtype=np.uint8)
    books = rng.normal(0.0, 0.3, (BOOKS, CODEWORDS, WIDTH // BOOKS)).astype(np.float32)
    centres = rng.integers(-127, 128, (-(-(ITEMS + 1) // SLOTS), WIDTH)).astype(np.int8)
    model.table = FrozenCodes(StoredCodes(codes, books, centres, 0.003, SLOTS), "shipped")
    return model


@pytest.fixture(scope="module")
def feeds(make: dict) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(4)
    made = []
    for count in (0, 1, 5, 12, 12, 9):
        items = list(rng.choice(np.arange(1, ITEMS + 1), count, replace=False))
        counts, ages = list(rng.exponential(2.0, count)), list(rng.exponential(500.0, count))
        context = [int(rng.integers(5)), int(rng.integers(3)), count % 3]
        made.append(make["feed"](items, [9] * count, counts, ages, context, LENGTH))
    return made


def ranked(model: DeviceModel, feed: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    answer = model.signatures(["recommend"])["recommend"](**feed)
    return answer["items"].numpy()[0], answer["scores"].numpy()[0]


def test_a_full_search_ranks_as_the_dense_model_over_the_same_vectors(coded: DeviceModel, feeds: list[dict]) -> None:
    dense = coded.frozen("float32")
    dense.table = FrozenTable(StoredTable(coded.table.frozen().values(), storage="float32"), "float32")
    for feed in feeds:
        items, scores = ranked(coded, feed)
        expected_items, expected = ranked(dense, feed)
        np.testing.assert_allclose(scores, expected, atol=1e-3)
        assert (items == expected_items).mean() > 0.9  # the same but for ties
        assert len(set(items)) == len(items)


@pytest.mark.parametrize("precision", ["fp32", "shipped"])
@pytest.mark.parametrize("artifact", [TFLITE, ONNX, CORE_ML])
def test_every_artifact_searches_alike(
    artifact: str, precision: str, coded: DeviceModel, feeds: list[dict], tmp_path: Path
) -> None:
    """What ships keeps codes and centres as integers; dense layers of this size stay as they are."""
    exporters()[artifact].export(coded, tmp_path / artifact, precision)
    evaluator = open_evaluator(tmp_path / artifact)
    for feed in feeds:
        items, scores = evaluator.rank(feed)
        expected_items, expected = ranked(coded, feed)
        np.testing.assert_allclose(scores, expected, atol=1e-3)
        assert (items == expected_items).mean() > 0.9
