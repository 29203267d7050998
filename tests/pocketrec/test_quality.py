"""What the reports say of segments and of pairs of models."""

from dataclasses import replace

import numpy as np
import pytest

from contracts.bundle import TFLITE
from contracts.project import Segmentation
from contracts.segments import SegmentDefinition
from pocketrec.quality import BASELINES, comparison, pairs, quality_of, segmentation_of, segments_of
from training.evaluation import LEAST_MEASURED, PersonMetrics, nothing_shown
from training.segments import Segments

PEOPLE, SEED = 120, 3
SEGMENTS = Segments(("loyal", "a few", "nobody"), np.where(np.arange(PEOPLE) < 110, 1, 2).astype(np.int32))


@pytest.fixture(scope="module")
def people() -> dict[str, PersonMetrics]:
    draw = np.random.default_rng(1)
    lists = nothing_shown(PEOPLE, 9)

    def some(height: float) -> PersonMetrics:
        return PersonMetrics(*(replace(lists, ndcg=height * draw.random(PEOPLE)) for _ in range(2)))

    return {name: some(0.2 + 0.05 * at) for at, name in enumerate((*BASELINES, TFLITE))}


def test_a_segment_is_compared_on_its_own_people_or_says_in_one_line_why_not(people: dict[str, PersonMetrics]) -> None:
    found = segments_of(people, SEGMENTS, SEED)
    assert list(found) == list(SEGMENTS.names)
    loyal = {name: metrics.of(np.arange(110)) for name, metrics in people.items()}
    assert found["loyal"]["test_people"] == 110
    assert found["loyal"]["quality"] == quality_of(loyal, SEED)
    assert found["loyal"]["comparison"] == comparison(loyal, SEED)
    for name, number in (("a few", 10), ("nobody", 0)):
        assert found[name] == {
            "test_people": number,
            "note": f"{number} test people, {LEAST_MEASURED} are needed to measure anything",
        }


def test_every_pair_of_models_is_compared_on_both_tasks(people: dict[str, PersonMetrics]) -> None:
    found = pairs(people, SEED)
    assert found.keys() == {"all_items", "new_items"}
    for each in found.values():
        assert len({(pair["model"], pair["other"]) for pair in each}) == len(people) * (len(people) - 1) // 2
    first = found["new_items"][0]
    one, other = (people[first[side]].new_ndcg.mean() for side in ("model", "other"))
    assert first["difference"]["value"] == pytest.approx(one - other)
    assert 0 < first["p_value"] <= 1


def test_how_segments_were_found_is_said_with_their_people() -> None:
    definition = SegmentDefinition(
        method=Segmentation().method,
        window_hours=24,
        features=("value",),
        mean=(0.0,),
        deviation=(1.0,),
        centres=((1.0,), (-1.0,)),
        names=("high", "low"),
        people=(3, 4),
    )
    assert segmentation_of(definition)["people"] == {"high": 3, "low": 4}
