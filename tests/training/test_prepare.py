"""Preparing a log: every row accounted for, nothing of the phones in the catalogue, the same bytes again."""

import hashlib
import random
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.errors import DataError, RunError
from contracts.events import EVENT_CODES, EventType
from contracts.project import Clean, Columns, Data, Fleet, Identification, Learning, Project, Protocol, Split
from training.context import context_of
from training.prepare import prepare
from training.prepared import EVENTS, ITEMS, PEOPLE, RECORD, Prepared, load_prepared
from training.pseudonym import key_from_seed
from training.segments import fit_segments
from training.split import TEST, VALIDATION, WEEK_MS

START_MS = 1_700_000_400_000
WEEKS = 12
KEY = key_from_seed(1)
COLUMNS = Columns(order="order", quantity="quantity", price="price", category="category")


def project(source: Path, phones: int = 3, minimum_people: int = 2, protocol: Protocol = "next_basket") -> Project:
    return Project(
        project=Identification(seed=3),
        data=Data(source=str(source), columns=COLUMNS),
        clean=Clean(minimum_people=minimum_people),
        split=Split(protocol=protocol, test_weeks=2, validation_weeks=2),
        fleet=Fleet(phones=phones),
    )


def shoppers(seed: int, people: int = 16, items: int = 12) -> pl.DataFrame:
    """A log of people who shop about twice a week, with everything that real logs have."""
    draw = random.Random(seed)
    rows = []
    for person in range(people):
        for order in range(2 * WEEKS):
            time = START_MS + draw.randrange(WEEKS * WEEK_MS)
            for _ in range(draw.randrange(1, 5)):
                item = min(draw.randrange(items), draw.randrange(items))
                rows.append(
                    {
                        "person": f"p{person}",
                        "item": f"i{item}",
                        "time": time + draw.randrange(3) * 1000,
                        "order": f"o{person}-{order}",
                        "quantity": draw.choice([1, 1, 1, 2, 0]),
                        "price": 1.0 + item + draw.randrange(3) / 4,
                        "category": None if item % 3 else f"c{item}",
                    }
                )
    draw.shuffle(rows)
    return pl.DataFrame(rows)


@dataclass(frozen=True)
class Run:
    log: pl.DataFrame
    project: Project
    folder: Path
    prepared: Prepared


def run(log: pl.DataFrame, folder: Path, key: bytes = KEY, **options: Any) -> Run:
    folder.mkdir()
    source = folder.parent / f"{folder.name}.parquet"
    log.write_parquet(source)
    settings = project(source, **options)
    return Run(log, settings, folder, prepare(settings, folder, key))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(shoppers(1), tmp_path_factory.mktemp("shop") / "first")


def raw_ids(shop: Run, key: bytes = KEY) -> dict[str, str]:
    """Pseudonym -> id, as whoever holds the key could compute it."""
    ids = shop.log["person"].unique().to_list()
    return {hashlib.blake2b(each.encode(), key=key, digest_size=16).hexdigest(): each for each in ids}


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**6))
def test_it_agrees_with_a_plain_reckoning(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    shop = run(shoppers(seed), tmp_path_factory.mktemp("reckoning") / "run")
    prepared, record = shop.prepared, shop.prepared.record
    names = raw_ids(shop)
    phones = {names[name] for name, phone in zip(prepared.pseudonym, prepared.is_phone, strict=True) if phone}
    assert len(phones) == 3

    orders: dict[tuple[str, str], int] = {}
    lines: Counter[tuple] = Counter()
    amounts: Counter[tuple] = Counter()
    rows = {tuple(row.values()): row for row in shop.log.rows(named=True)}.values()
    for row in (row for row in rows if row["quantity"]):
        order = (row["person"], row["order"])
        orders[order] = min(orders.get(order, row["time"]), row["time"])
        lines[*order, row["item"]] += row["quantity"]
        amounts[*order, row["item"]] += row["quantity"] * round(row["price"] * 100)
    end = (max(orders.values()) // 3_600_000 + 1) * 3_600_000
    test = end - 2 * WEEK_MS
    assert (record.validation_end_ms, record.train_end_ms) == (test, test - 2 * WEEK_MS)
    takers: defaultdict[str, set] = defaultdict(set)
    prices: defaultdict[str, list] = defaultdict(list)
    for (person, order_id, item), pieces in lines.items():
        if person not in phones and orders[person, order_id] < test:
            takers[item].add(person)
            prices[item].append(amounts[person, order_id, item] / pieces)
    catalogue = sorted((item for item in takers if len(takers[item]) >= 2), key=lambda item: (-len(takers[item]), item))
    assert prepared.items.item_id == ["", *catalogue]
    assert prepared.items.people.tolist() == [0, *(len(takers[item]) for item in catalogue)]
    assert prepared.items.price_minor.tolist() == [0, *(int(median(prices[item]) + 0.5) for item in catalogue)]

    expected = sorted(
        (person, orders[person, order_id], catalogue.index(item) + 1, pieces, amounts[person, order_id, item])
        for (person, order_id, item), pieces in lines.items()
        if item in catalogue
    )
    events = prepared.events
    found = zip(
        [names[prepared.pseudonym[person]] for person in events.person],
        events.time_ms.tolist(),
        events.item.tolist(),
        events.quantity.tolist(),
        events.amount.tolist(),
        strict=True,
    )
    assert sorted(found) == expected
    assert record.counts.events == len(expected)


def test_every_row_is_accounted_for(shop: Run) -> None:
    counts = shop.prepared.record.counts
    assert counts.rows == shop.log.height
    assert counts.rows == counts.events + sum(counts.dropped.values()) + counts.joined_lines
    assert set(counts.dropped) >= {"quantity_not_positive"}
    assert (counts.users, counts.phones) == (16, 3)


def test_baskets_are_contiguous_and_numbered_by_person_then_time(shop: Run) -> None:
    prepared, events = shop.prepared, shop.prepared.events
    assert prepared.basket_start[0] == 0
    assert prepared.basket_start[-1] == len(events.basket)
    assert (np.diff(events.basket) >= 0).all()
    assert np.unique(events.basket).tolist() == list(range(prepared.record.counts.baskets))
    order = np.lexsort((events.item, events.basket, events.time_ms, events.person))
    assert (order == np.arange(len(order))).all()
    for basket, (start, stop) in enumerate(zip(prepared.basket_start, prepared.basket_start[1:], strict=False)):
        assert set(events.person[start:stop]) == {prepared.basket_person[basket]}
        assert set(events.time_ms[start:stop]) == {prepared.basket_time_ms[basket]}
        assert len(set(events.item[start:stop])) == stop - start
    for person, (start, stop) in enumerate(zip(prepared.person_start, prepared.person_start[1:], strict=False)):
        assert set(prepared.basket_person[start:stop]) == {person}
    assert (events.hour == events.time_ms // 3_600_000).all()
    assert set(events.event) == {EVENT_CODES[EventType.PURCHASE]}


def test_no_test_basket_begins_before_the_boundary(shop: Run) -> None:
    prepared = shop.prepared
    in_test = prepared.basket_split == TEST
    assert prepared.basket_time_ms[in_test].min() >= prepared.record.validation_end_ms
    assert prepared.basket_time_ms[~in_test].max() < prepared.record.validation_end_ms


def test_phones_leave_no_trace_in_the_catalogue(shop: Run, tmp_path: Path) -> None:
    names = raw_ids(shop)
    phones = [names[name] for name, phone in zip(shop.prepared.pseudonym, shop.prepared.is_phone, strict=True) if phone]
    changed = shop.log.with_columns(price=pl.when(pl.col("person").is_in(phones)).then(99.0).otherwise(pl.col("price")))
    other = run(changed, tmp_path / "dear", phones=3)
    assert (other.prepared.is_phone == shop.prepared.is_phone).all()
    assert (other.folder / ITEMS).read_bytes() == (shop.folder / ITEMS).read_bytes()
    central = shop.log.filter(~pl.col("person").is_in(phones))
    without = run(central, tmp_path / "without", phones=0)
    assert without.prepared.record.end_ms == shop.prepared.record.end_ms
    assert (without.folder / ITEMS).read_bytes() == (shop.folder / ITEMS).read_bytes()


def test_the_test_weeks_have_no_say_in_the_catalogue(shop: Run, tmp_path: Path) -> None:
    late = pl.col("time") >= shop.prepared.record.validation_end_ms
    last = shop.log["time"].max()
    new = shop.log.with_columns(
        item=pl.when(late & (pl.col("time") < last)).then(pl.lit("new")).otherwise(pl.col("item")),
        price=pl.when(late).then(77.0).otherwise(pl.col("price")),
    )
    other = run(new, tmp_path / "new", phones=0)
    before = run(shop.log, tmp_path / "before", phones=0)
    assert (other.folder / ITEMS).read_bytes() == (before.folder / ITEMS).read_bytes()
    assert other.prepared.record.counts.test_lines_outside_catalogue > 0
    assert other.prepared.record.counts.test_baskets_outside_catalogue > 0


def held_out_last(log: pl.DataFrame) -> pl.Expr:
    """Rows of each person's last order."""
    orders = log.filter(pl.col("quantity") > 0).group_by("person", "order").agg(pl.min("time"))
    last = orders.sort("person", "time", "order").group_by("person").last()
    return pl.col("order").is_in(last["order"].to_list())


def test_last_baskets_have_no_say_in_the_catalogue_where_they_are_held_out(shop: Run, tmp_path: Path) -> None:
    last = held_out_last(shop.log)
    new = shop.log.with_columns(
        item=pl.when(last).then(pl.lit("new")).otherwise(pl.col("item")),
        price=pl.when(last).then(77.0).otherwise(pl.col("price")),
    )
    plain, other = (
        run(log, tmp_path / name, phones=0, protocol="leave_one_out") for log, name in ((shop.log, "a"), (new, "b"))
    )
    assert (other.folder / ITEMS).read_bytes() == (plain.folder / ITEMS).read_bytes()
    people, parts = len(plain.prepared.pseudonym), plain.prepared.basket_split
    assert [int((parts == part).sum()) for part in (VALIDATION, TEST)] == [people, people]
    assert (parts[plain.prepared.person_start[1:] - 1] == TEST).all()
    # A last basket of which the catalogue knows nothing is lost to the test, and no earlier one takes its place.
    assert other.prepared.basket_split.tolist() == parts[parts != TEST].tolist()
    assert other.prepared.record.counts.test_baskets_outside_catalogue == people
    assert other.prepared.basket_time_ms.tolist() == plain.prepared.basket_time_ms[parts != TEST].tolist()
    record = plain.prepared.record
    assert (record.protocol, record.train_end_ms, record.validation_end_ms) == (
        "leave_one_out",
        record.end_ms,
        record.end_ms,
    )


def test_a_protocol_by_time_changes_nothing_but_its_name(shop: Run, tmp_path: Path) -> None:
    split = msgspec.structs.replace(shop.project.split, protocol="global_time")
    other = prepare(msgspec.structs.replace(shop.project, split=split), tmp_path, KEY)
    for name in (EVENTS, ITEMS, PEOPLE):
        assert (tmp_path / name).read_bytes() == (shop.folder / name).read_bytes()
    assert other.record == msgspec.structs.replace(shop.prepared.record, protocol="global_time")
    assert b"protocol" not in (shop.folder / RECORD).read_bytes()
    assert not {"part"} & set(pl.read_parquet(shop.folder / EVENTS).columns)


def test_nobody_with_enough_baskets_leaves_none_to_hold_out(shop: Run, tmp_path: Path) -> None:
    few = shop.log.filter(pl.col("order").str.ends_with("-1") | pl.col("order").str.ends_with("-2"))
    with pytest.raises(DataError, match="needs people with 3 baskets"):
        run(few, tmp_path / "few", phones=0, protocol="leave_one_out")
    assert list((tmp_path / "few").iterdir()) == []


def test_the_same_again_gives_the_same_bytes(shop: Run, tmp_path: Path) -> None:
    folder = tmp_path / "again"
    folder.mkdir()
    prepare(shop.project, folder, KEY)
    for name in (EVENTS, ITEMS, PEOPLE, RECORD):
        assert (folder / name).read_bytes() == (shop.folder / name).read_bytes()


def test_the_key_changes_pseudonyms_and_nothing_else(shop: Run, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    other = prepare(shop.project, folder, key_from_seed(2))
    assert set(other.pseudonym).isdisjoint(shop.prepared.pseudonym)
    for name in (EVENTS, ITEMS, RECORD):
        assert (folder / name).read_bytes() == (shop.folder / name).read_bytes()
    ids = {each.encode() for each in shop.log["person"].unique()}
    assert not any(each in (folder / PEOPLE).read_bytes() for each in ids if len(each) > 2)


def test_without_orders_an_hour_is_a_basket(tmp_path: Path) -> None:
    log = shoppers(2).with_columns(order=pl.lit(None, pl.String))
    prepared = run(log, tmp_path / "hours").prepared
    keys = set(zip(prepared.basket_person.tolist(), prepared.basket_hour.tolist(), strict=True))
    assert len(keys) == prepared.record.counts.baskets


def test_a_catalogue_without_categories_has_a_default_one(shop: Run, tmp_path: Path) -> None:
    prepared = run(shop.log.with_columns(category=pl.lit(None, pl.String)), tmp_path / "plain").prepared
    assert set(prepared.items.category[1:]) == {"unknown"}


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (pl.col("person") == "p1", "the log has one person only"),
        (pl.col("item") == "i1", "the log has one item only"),
        (pl.col("quantity") == 0, "no event is left after cleaning .dropped: quantity_not_positive"),
        (pl.col("time") < START_MS + WEEK_MS, "the log spans 7 days"),
    ],
)
def test_logs_that_are_too_little_are_refused_and_nothing_is_written(
    shop: Run, tmp_path: Path, log: pl.Expr, expected: str
) -> None:
    with pytest.raises(DataError, match=expected):
        run(shop.log.filter(log), tmp_path / "little")
    assert list((tmp_path / "little").iterdir()) == []


def test_too_few_people_for_any_item_are_refused(shop: Run, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"0 of 12 items were taken by at least 99 people .* lower"):
        run(shop.log, tmp_path / "rare", minimum_people=99)


def test_phones_are_people_with_a_life_before_and_in_the_test_weeks(shop: Run, tmp_path: Path) -> None:
    test = pl.col("time") >= shop.prepared.record.validation_end_ms
    rare_before = pl.col("person").is_in(["p0", "p1", "p2", "p3", "p4", "p5"]) & ~test
    few_before = pl.col("order").str.extract(r"-(\d+)").cast(pl.Int64) < 9
    never_after = pl.col("person").is_in(["p6", "p7", "p8", "p9", "p10", "p11", "p12"]) & test
    log = shop.log.filter(~(rare_before & ~few_before) & ~never_after)
    prepared = run(log, tmp_path / "lives", phones=4).prepared
    names = raw_ids(shop)
    phones = {names[name] for name, phone in zip(prepared.pseudonym, prepared.is_phone, strict=True) if phone}

    baskets: dict[str, list[int]] = defaultdict(list)
    for (person, _), rows in log.filter(pl.col("quantity") > 0).group_by("person", "order"):
        baskets[str(person)].append(rows["time"].min() >= prepared.record.validation_end_ms)
    eligible = {person for person, late in baskets.items() if sum(late) >= 3 and len(late) - sum(late) >= 10}
    assert 0 < len(eligible) < 4  # else this test tests nothing
    assert phones == eligible


def test_most_people_stay_central(shop: Run, tmp_path: Path) -> None:
    assert run(shop.log, tmp_path / "many", phones=1000).prepared.is_phone.sum() == 16 // 4


def test_a_folder_that_holds_no_preparation_is_refused(shop: Run, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="run pocketrec prepare"):
        load_prepared(tmp_path)
    (tmp_path / RECORD).write_bytes((shop.folder / RECORD).read_bytes())
    with pytest.raises(RunError, match="run pocketrec prepare"):
        load_prepared(tmp_path)


def with_devices(log: pl.DataFrame) -> pl.DataFrame:
    """Every person has one device, which a basket's last line states; some baskets state none."""
    classes = {f"p{person}": name for person, name in enumerate(["ios", "till", None, "web"] * 4)}
    last = pl.col("time") == pl.col("time").max().over("person", "order")
    return log.with_columns(
        on=pl.when(last).then(pl.col("person").replace_strict(classes, return_dtype=pl.String)),
    )


def test_the_device_class_becomes_a_context_and_changes_nothing_else(tmp_path: Path) -> None:
    log = with_devices(shoppers(4))
    without = run(log.drop("on"), tmp_path / "without")
    (tmp_path / "with").mkdir()
    log.write_parquet(tmp_path / "with.parquet")
    columns = msgspec.structs.replace(COLUMNS, device="on")
    settings = msgspec.structs.replace(
        project(tmp_path / "with.parquet"),
        data=Data(source=str(tmp_path / "with.parquet"), columns=columns, devices={"ios": "phone"}),
    )
    stated = prepare(settings, tmp_path / "with", KEY)
    expected = {"ios": 1, "till": 3, None: 0, "web": 4}
    names = raw_ids(Run(log, settings, tmp_path, stated))
    for person, name in enumerate(stated.pseudonym):
        number = int(names[name].removeprefix("p"))
        mine = stated.basket_device[stated.person_start[person] : stated.person_start[person + 1]]
        code = expected[["ios", "till", None, "web"][number % 4]]
        assert {code} <= set(mine) <= {0, code}  # cleaning may drop the line that states it
    codes = context_of(stated, np.arange(len(stated.basket_device)), fit_segments(stated, 0))[:, 1]
    assert codes.tolist() == stated.basket_device.tolist()
    assert not without.prepared.basket_device.any()
    assert pl.read_parquet(tmp_path / "with" / EVENTS).drop("device").equals(pl.read_parquet(without.folder / EVENTS))


def test_what_is_foreseen_is_kept_with_the_log(tmp_path: Path) -> None:
    log = shoppers(5).with_columns(did=pl.when(pl.col("price") > 6).then(pl.lit("buy")).otherwise(pl.lit("look")))
    log.write_parquet(tmp_path / "log.parquet")
    columns = msgspec.structs.replace(COLUMNS, type="did")
    words = {"buy": EventType.PURCHASE, "look": EventType.VIEW}
    plain = msgspec.structs.replace(
        project(tmp_path / "log.parquet"),
        data=Data(source=str(tmp_path / "log.parquet"), columns=columns, types=words),
    )
    learning = Learning(targets=(EventType.VIEW,), weights={EventType.VIEW: 0.5})
    for number, stated in enumerate((plain, msgspec.structs.replace(plain, learning=learning))):
        folder = tmp_path / str(number)
        folder.mkdir()
        prepare(stated, folder, KEY)
        assert load_prepared(folder).learning == stated.learning
    carts = msgspec.structs.replace(plain, learning=Learning(targets=(EventType.ADD_TO_CART,)))
    with pytest.raises(DataError, match=r"holds purchase, view only: set targets = \[\"purchase\", \"view\"\]"):
        prepare(carts, tmp_path / "0", KEY)
