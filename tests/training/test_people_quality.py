"""What is saved comes back, and what is damaged is refused."""

from pathlib import Path

import numpy as np
import pytest

from contracts.errors import RunError
from training.evaluation import PersonMetrics
from training.people_quality import FILE, load_people_quality, save_people_quality


def models() -> dict[str, PersonMetrics]:
    draw = np.random.default_rng(3)
    names = ("teacher", "model.tflite", "a name: with a colon", "popularity")
    found = {name: PersonMetrics(*draw.random((3, 7))) for name in names}
    found["teacher"].ndcg[2] = np.nan
    return found


def test_metrics_come_back_bit_for_bit_in_their_order(tmp_path: Path) -> None:
    saved = models()
    save_people_quality(tmp_path, saved)
    loaded = load_people_quality(tmp_path)
    assert list(loaded) == list(saved)
    for name, metrics in saved.items():
        for metric in ("ndcg", "recall", "new_ndcg"):
            assert getattr(loaded[name], metric).tobytes() == getattr(metrics, metric).tobytes()


def test_the_same_metrics_are_the_same_bytes(tmp_path: Path) -> None:
    written = []
    for _ in range(2):
        save_people_quality(tmp_path, models())
        written.append((tmp_path / FILE).read_bytes())
    assert written[0] == written[1]


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "flipped", "text"])
def test_what_is_not_whole_is_refused(tmp_path: Path, damage: str) -> None:
    save_people_quality(tmp_path, models())
    data = bytearray((tmp_path / FILE).read_bytes())
    data[len(data) // 3] ^= 1
    damaged = {"empty": b"", "cut": data[: len(data) // 2], "flipped": data, "text": b"nothing of the kind"}
    (tmp_path / FILE).unlink()
    if damage != "missing":
        (tmp_path / FILE).write_bytes(damaged[damage])
    with pytest.raises(RunError, match=r"holds no quality of people .*: run the step that evaluates again"):
        load_people_quality(tmp_path)


def test_a_model_without_one_of_its_metrics_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / FILE, **{"teacher:ndcg": np.zeros(3), "teacher:recall": np.zeros(3)})
    with pytest.raises(RunError, match="teacher:new_ndcg"):
        load_people_quality(tmp_path)
