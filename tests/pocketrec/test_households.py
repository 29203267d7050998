"""Phones replay the households that were left out, and no others."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from contracts.project import Columns, Data, Fleet, Project, Split
from device_sim.plan import FleetPlan, checked
from pocketrec.households import fleet_plan, traits_of
from training.prepare import prepare
from training.prepared import Prepared
from training.pseudonym import key_from_seed, pseudonyms
from training.segments import fit_segments
from training.split import WEEK_MS

START_MS = 1_700_000_400_000
KEY = key_from_seed(1)
PEOPLE = [f"p{number}" for number in range(12)]


@pytest.fixture(scope="module")
def log() -> pl.DataFrame:
    """Each person buys three items in each of 40 orders over 12 weeks, and looks at one."""
    draw = random.Random(2)
    rows = []
    for person in PEOPLE:
        for order in range(40):
            time = START_MS + draw.randrange(12 * WEEK_MS)
            for item in draw.sample(range(9), 3):
                rows.append(
                    (person, f"i{item}", time, f"{person}-{order}", draw.randrange(1, 4), 1.99 + item, "purchase")
                )
            rows.append((person, "i0", time, f"{person}-{order}", 1, 1.99, "view"))
    names = ["person", "item", "time", "order", "quantity", "price", "type"]
    return pl.DataFrame(rows, names, orient="row")


@pytest.fixture(scope="module")
def prepared(log: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder: Path = tmp_path_factory.mktemp("prepared")
    source = tmp_path_factory.mktemp("log") / "log.parquet"
    log.write_parquet(source)
    columns = Columns(order="order", quantity="quantity", price="price", type="type")
    project = Project(
        data=Data(source=str(source), columns=columns),
        split=Split(test_weeks=3, validation_weeks=2),
        fleet=Fleet(phones=3),
    )
    return prepare(project, folder, KEY)


@pytest.fixture(scope="module")
def plan(prepared: Prepared) -> FleetPlan:
    return fleet_plan(prepared, seed=5, traits={0: {"segment": "early"}})


def test_every_purchase_of_the_phones_and_nothing_else_is_replayed(log: pl.DataFrame, plan: FleetPlan) -> None:
    checked(plan)
    ids = dict(zip(pseudonyms(PEOPLE, KEY), PEOPLE, strict=True))
    assert len(plan.households) == 3
    replayed = sorted(
        (ids[home.household_id], basket.at_ms, line.item_id, line.quantity, line.price_minor)
        for home in plan.households
        for basket in home.baskets
        for line in basket.lines
    )
    names = [ids[home.household_id] for home in plan.households]
    bought = log.filter(pl.col("person").is_in(names), pl.col("type") == "purchase").select(
        "person", "time", "item", "quantity", (pl.col("price") * 100).round().cast(pl.Int64)
    )
    assert replayed == sorted(bought.rows())


def test_before_the_test_weeks_everything_is_the_tills(prepared: Prepared, plan: FleetPlan) -> None:
    assert plan.start_ms == prepared.record.validation_end_ms
    channels = {late: set() for late in (False, True)}
    for home in plan.households:
        for basket in home.baskets:
            channels[basket.at_ms >= plan.start_ms].add(basket.channel)
    assert channels == {False: {"till"}, True: {"phone", "till", "both"}}


def test_the_same_seed_gives_the_same_plan(prepared: Prepared, plan: FleetPlan) -> None:
    assert fleet_plan(prepared, seed=5, traits={0: {"segment": "early"}}) == plan
    assert fleet_plan(prepared, seed=6) != plan


def test_every_fifth_household_declines_federated_training(prepared: Prepared, plan: FleetPlan) -> None:
    everybody = fleet_plan(replace(prepared, is_phone=np.ones(len(PEOPLE), bool)), seed=5)
    assert [home.federated for home in everybody.households] == [number % 5 != 4 for number in range(len(PEOPLE))]
    assert all(home.federated for home in plan.households)


def test_phones_are_told_the_segment_of_their_household_and_no_other(prepared: Prepared) -> None:
    segments = fit_segments(prepared, seed=5)
    found = traits_of(prepared, segments)
    phones = prepared.is_phone.nonzero()[0].tolist()
    assert found == {person: {"segment": segments.names[segments.person[person] - 1]} for person in phones}
