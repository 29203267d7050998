"""A project by each protocol, from its log to `evaluate`: every figure is of the cases that the protocol asks for.

Next baskets, as by default, go that way in tests/end_to_end.
"""

import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from contracts.bundle import MODEL_CARD, ONNX, TFLITE
from pocketrec.quality import BASELINES
from training.people_quality import load_people_quality
from training.protocols import TASKS

PROJECT = """
[data]
source = "sales.csv"
[data.columns]
order = "order"
[clean]
minimum_people = 1
[split]
protocol = "PROTOCOL"
test_weeks = 3
validation_weeks = 3
[model]
task = "next_item"
history_length = 8
candidates = 10
width = 16
[fleet]
phones = 0
[next_item]
teacher_width = 16
teacher_blocks = 1
teacher_epochs = 1
blocks = 1
epochs = 1
"""
START_S, WEEK_S, WEEKS, TEST_WEEKS, SHOWN = 1_700_000_400, 604_800, 16, 3, 10

Rows = list[tuple[str, str, int, str]]
Say = Callable[..., tuple[int, str, str]]


def sales() -> Rows:
    """Person, item, time and order; a few items are bought far more often than the others."""
    draw, rows = random.Random(8), []
    for person in range(12):
        for week in range(WEEKS):
            if draw.random() < 0.7:
                time = START_S + week * WEEK_S + draw.randrange(WEEK_S)
                basket = {draw.choice((*[draw.randrange(SHOWN)] * 3, draw.randrange(24))) for _ in range(3)}
                rows += [(f"p{person}", f"i{item:02}", time, f"{person}-{week}") for item in sorted(basket)]
    return rows


def asked(rows: Rows, protocol: str) -> tuple[dict[str, list[set[str]]], Counter[str]]:
    """Person -> what each of their cases is to find; and in how many baskets of the training part an item is.

    What nobody took outside the test part is in no catalogue, and cannot be found.
    """
    end = max(time for _, _, time, _ in rows) // 3600 * 3600 + 3600
    test, validation = end - TEST_WEEKS * WEEK_S, end - 2 * TEST_WEEKS * WEEK_S
    baskets: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for person, item, time, _ in rows:
        baskets[person][time].add(item)
    wanted, popular, known = {}, Counter(), set()
    for person, own in baskets.items():
        times = sorted(own)
        if protocol == "leave_one_out":
            learned, later = times[:-2], times[-1:]
        else:
            learned, later = [at for at in times if at < validation], [at for at in times if at >= test]
        known.update(item for at in times if at not in later for item in own[at])
        cases = [own[at] for at in later if at > times[0]]
        wanted[person] = [set().union(*cases)] if protocol == "global_time" and cases else cases
        popular.update(item for at in learned for item in own[at])
    found = {person: [case & known for case in cases if case & known] for person, cases in wanted.items()}
    return {person: cases for person, cases in found.items() if cases}, popular


@pytest.mark.parametrize("protocol", ["global_time", "leave_one_out"])
def test_a_project_is_evaluated_by_its_protocol(
    protocol: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, say: Say
) -> None:
    rows = sales()
    pl.DataFrame(rows, ["person", "item", "time", "order"], orient="row").write_csv(tmp_path / "sales.csv")
    (tmp_path / "pocketrec.toml").write_text(PROJECT.replace("PROTOCOL", protocol))
    monkeypatch.chdir(tmp_path)
    code, said, errors = say("evaluate", "--run", "run", "--json")
    assert code == 0, errors
    found = json.loads(said)
    assert found["protocol"] == protocol
    assert found["quality"].keys() == {*BASELINES, "teacher", "device_float", TFLITE, ONNX}

    wanted, popular = asked(rows, protocol)
    ranked = popular.most_common()
    assert ranked[SHOWN - 1][1] > ranked[SHOWN][1], "a tie would make the ten best a matter of taste"
    best = {item for item, _ in ranked[:SHOWN]}
    rates = [sum(len(best & case) / len(case) for case in cases) / len(cases) for cases in wanted.values()]
    assert found["quality"]["popularity"]["recall_at_10"]["value"] == pytest.approx(sum(rates) / len(rates))

    people = {}
    for step in ("train", "compress", "export"):
        people |= load_people_quality(tmp_path / "run" / step)
    measured = {name: int((~np.isnan(metrics.ndcg)).sum()) for name, metrics in people.items()}
    assert set(measured.values()) == {len(wanted)}  # all models answer for the same people
    card = (tmp_path / "run" / "export" / "bundle" / MODEL_CARD).read_text()
    assert f"NDCG@10 of {TASKS[protocol]}, averaged" in card


def test_phones_are_refused_where_no_weeks_are_held_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, say: Say
) -> None:
    (tmp_path / "pocketrec.toml").write_text(
        PROJECT.replace("PROTOCOL", "leave_one_out").replace("phones = 0", "phones = 2")
    )
    monkeypatch.chdir(tmp_path)
    code, _, errors = say("prepare", "--run", "run")
    assert code == 2
    assert errors.count("\n") == 1
    assert "set phones = 0 under [fleet]" in errors
