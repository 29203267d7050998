"""What is saved comes back, and what is damaged is refused."""

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from contracts.errors import RunError
from training.evaluation import MEANS, ListMetrics, PersonMetrics
from training.people_quality import FILE, load_people_quality, save_people_quality

PEOPLE = 7


def lists(draw: np.random.Generator) -> ListMetrics:
    values = draw.random((len(MEANS), PEOPLE))
    values[0, 2] = np.nan
    return ListMetrics(*values, sp.csr_matrix(draw.random((PEOPLE, 9)) < 0.3))


def models() -> dict[str, PersonMetrics]:
    draw = np.random.default_rng(3)
    names = ("teacher", "model.tflite", "a name: with a colon", "popularity")
    return {name: PersonMetrics(lists(draw), lists(draw)) for name in names}


def test_metrics_come_back_bit_for_bit_in_their_order(tmp_path: Path) -> None:
    saved = models()
    save_people_quality(tmp_path, saved)
    loaded = load_people_quality(tmp_path)
    assert list(loaded) == list(saved)
    for name, metrics in saved.items():
        for task in ("all_items", "new_items"):
            found, expected = getattr(loaded[name], task), getattr(metrics, task)
            for metric in MEANS:
                assert getattr(found, metric).tobytes() == getattr(expected, metric).tobytes()
            assert found.shown.shape == expected.shown.shape
            assert (found.shown != expected.shown).nnz == 0


def test_the_same_metrics_are_the_same_bytes(tmp_path: Path) -> None:
    written = []
    for _ in range(2):
        save_people_quality(tmp_path, models())
        written.append((tmp_path / FILE).read_bytes())
    assert written[0] == written[1]


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "text"])
def test_what_is_not_whole_is_refused(tmp_path: Path, damage: str) -> None:
    save_people_quality(tmp_path, models())
    data = (tmp_path / FILE).read_bytes()
    damaged = {"empty": b"", "cut": data[: len(data) // 2], "text": b"nothing of the kind"}
    (tmp_path / FILE).unlink()
    if damage != "missing":
        (tmp_path / FILE).write_bytes(damaged[damage])
    with pytest.raises(RunError, match=r"holds no quality of people .*: run the step that evaluates again"):
        load_people_quality(tmp_path)


def test_a_flipped_bit_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    """A zip archive checks what its files hold, and does not care for their dates."""
    saved = {"teacher": models()["teacher"]}
    save_people_quality(tmp_path, saved)
    whole, refused = (tmp_path / FILE).read_bytes(), 0
    for place in range(0, len(whole), 41):
        data = bytearray(whole)
        data[place] ^= 1
        (tmp_path / FILE).write_bytes(data)
        try:
            loaded = load_people_quality(tmp_path)
        except RunError:
            refused += 1
        else:
            assert loaded["teacher"].recall.tobytes() == saved["teacher"].recall.tobytes()
            assert (loaded["teacher"].new_items.shown != saved["teacher"].new_items.shown).nnz == 0
    assert refused > len(whole) / 41 / 3


def test_a_model_without_one_of_its_metrics_is_refused(tmp_path: Path) -> None:
    save_people_quality(tmp_path, {"teacher": models()["teacher"]})
    with np.load(tmp_path / FILE) as archive:
        kept = {key: archive[key] for key in archive.files if key != "teacher:new_items.mrr"}
    np.savez(tmp_path / FILE, **kept)
    with pytest.raises(RunError, match=r"teacher:new_items\.mrr"):
        load_people_quality(tmp_path)
