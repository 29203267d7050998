"""From an event log to sorted integers: clean, pseudonymised, split, phones set apart."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import polars as pl

from contracts.bundle import DEVICE_CLASSES
from contracts.errors import DataError
from contracts.events import EVENT_CODES, EventType
from contracts.project import COMPLETEJOURNEY, Learning, Project
from contracts.summary import HOUR_MS
from training.clean import clean
from training.log import COMPLETEJOURNEY_ORIGIN, read_log
from training.prepared import (
    CENTRAL,
    EVENTS,
    ITEMS,
    PEOPLE,
    PHONE,
    RECORD,
    Counts,
    Prepared,
    PrepareRecord,
    load_prepared,
)
from training.pseudonym import pseudonyms
from training.split import TEST, split_lines

Progress = Callable[[str, int, int], None]
"""Called as progress(what, done, total)."""

PHONE_TEST_BASKETS = 3  # a phone's life must show something: baskets in the test weeks,
PHONE_EARLIER_BASKETS = 10  # and before them
LEAST_PEOPLE_PER_PHONE = 4  # in a small log most people stay central
MINIMUM_ITEMS = 2
UNKNOWN = "unknown"  # category, department or brand of an item for which the log states none
STAGES = ("read", "clean", "join baskets", "choose phones", "make the catalogue", "number", "write")


def prepare(project: Project, folder: Path, key: bytes, progress: Progress = lambda *_: None) -> Prepared:
    """Prepare the project's log.

    Args:
        project: the settings; `data`, `clean`, `split`, `learning`, `fleet.phones`, seed and currency are read.
        folder: an existing empty folder that receives events, items, people (Parquet) and prepare.json; the same
            data, settings and key give the same bytes.
        key: secret of the pseudonyms, see `training.pseudonym`.
        progress: called as each stage begins.

    Raises:
        DataError: if the log cannot be used; the folder is then left as it was.
    """
    stage = iter(range(len(STAGES)))

    def begin() -> None:
        done = next(stage)
        progress(STAGES[done], done, len(STAGES))

    currency = project.project.currency
    begin()
    log = read_log(project.data, currency)
    begin()
    events, dropped = clean(log.events, project.clean, currency)
    _require_people(events, dropped)
    _require_targets(events, project.learning)
    begin()
    lines = _join_baskets(events.select(pl.exclude("currency")))
    joined = events.height - lines.height
    begin()
    lines, boundaries = split_lines(lines, project.split, project.learning.targets)
    people = _people(lines, project, key)
    lines = lines.join(people, on="person").drop("person")
    begin()
    catalogue, rare = _catalogue(lines, log.items, project.clean.minimum_people)
    known = pl.col("item").is_not_null()
    lines = lines.join(catalogue.select("item_id", "item"), on="item_id", how="left")
    outside = lines.filter(pl.col("role") == CENTRAL, pl.col("part") == TEST)
    basket = ["pseudonym", "basket_key"]
    lost = outside.group_by(basket).agg(known.any()).filter(~pl.col("item"))
    kept = lines.filter(known)
    if kept.height < lines.height:
        dropped["rare_item"] = lines.height - kept.height  # joined lines were counted as such
    begin()
    numbered, roles = _number(kept)
    begin()
    if not (numbered["device"] > 0).any():
        numbered = numbered.drop("device")
    if project.split.protocol != "leave_one_out":
        numbered = numbered.drop("part")  # the time tells it
    numbered.write_parquet(folder / EVENTS)
    catalogue.write_parquet(folder / ITEMS)
    roles.write_parquet(folder / PEOPLE)
    record = PrepareRecord(
        train_end_ms=boundaries.train_end_ms,
        validation_end_ms=boundaries.validation_end_ms,
        end_ms=boundaries.end_ms,
        currency=currency,
        data_sha256=log.sha256,
        learning=None if project.learning == Learning() else project.learning,
        protocol=project.split.protocol,
        origin=COMPLETEJOURNEY_ORIGIN if project.data.source == COMPLETEJOURNEY else Path(project.data.source).name,
        counts=Counts(
            rows=log.events.height,
            events=numbered.height,
            users=roles.height,
            phones=int((roles["role"] == PHONE).sum()),
            items=catalogue.height,
            baskets=numbered["basket"].n_unique(),
            dropped=dropped,
            joined_lines=joined,
            measured_lines=log.measured,
            rare_items=rare,
            test_lines_outside_catalogue=outside.filter(~known).height,
            test_baskets_outside_catalogue=lost.height,
        ),
    )
    (folder / RECORD).write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=2))
    return load_prepared(folder)


def _require_people(events: pl.DataFrame, dropped: dict[str, int]) -> None:
    why = ", ".join(f"{reason} {count:,}" for reason, count in dropped.items()) or "nothing"
    if events.is_empty():
        raise DataError(f"no event is left after cleaning (dropped: {why}): check [data.columns] and [clean]")
    for column, what in (("person", "person"), ("item_id", "item")):
        if events[column].n_unique() == 1:
            raise DataError(f"the log has one {what} only (dropped: {why}): a recommender needs several of them")


def _require_targets(events: pl.DataFrame, learning: Learning) -> None:
    """Raise where there is nothing that [learning] wants foreseen."""
    found = events["type"].unique().sort().to_list()
    if not set(found) & set(learning.targets):
        example = json.dumps([EventType(kind).value for kind in found])
        raise DataError(
            f"[learning] targets = {json.dumps(learning.targets)}, but the log holds {', '.join(found)} only: set "
            f"targets = {example}, or say under [data] types what the log's words mean"
        )


def _join_baskets(events: pl.DataFrame) -> pl.DataFrame:
    """One row per basket, item and event type.

    A basket is an order of a person; without an order id, what a person did within one hour. All its lines get the
    time of its first one, so that a basket never lies on both sides of a boundary, and the device class that its first
    line to state one has.

    Returns:
        person, item_id, type, basket_key, time_ms, quantity, amount (minor units, null where the price is unknown),
        device_class (null where unknown).
    """
    hour = pl.concat_str(pl.lit("hour "), pl.col("time_ms") // HOUR_MS)
    order = pl.concat_str(pl.lit("order "), pl.col("order_id"))
    device = pl.col("device_class")
    if events["device_class"].null_count() < events.height:
        device = device.sort_by("time_ms", "device_class").drop_nulls().first().over("person", "basket_key")
    return (
        events.lazy()
        .with_columns(basket_key=pl.coalesce(order, hour), amount=pl.col("price_minor") * pl.col("quantity"))
        .with_columns(time_ms=pl.col("time_ms").min().over("person", "basket_key"), device_class=device)
        .group_by("person", "basket_key", "item_id", "type")
        .agg(
            pl.first("time_ms"),
            pl.sum("quantity"),
            pl.when(pl.col("amount").is_not_null().any()).then(pl.sum("amount")).alias("amount"),
            pl.first("device_class"),
        )
        .collect()
    )


def _people(lines: pl.DataFrame, project: Project, key: bytes) -> pl.DataFrame:
    """Each person's rank, pseudonym and role.

    People are ranked by what they did. A rank by id would betray the id, and one by pseudonym would make every
    result depend on the secret key. Phones are drawn by a hash of seed and rank, a choice that no version of a random
    generator changes.
    """
    test = pl.col("part") == TEST
    basket = pl.col("basket_key")
    people = lines.group_by("person").agg(
        first=pl.min("time_ms"),
        last=pl.max("time_ms"),
        lines=pl.len(),
        pieces=pl.sum("quantity"),
        amount=pl.sum("amount"),
        least=pl.min("item_id"),
        most=pl.max("item_id"),
        later=basket.filter(test).n_unique(),
        earlier=basket.filter(~test).n_unique(),
    )
    people = people.sort("first", "last", "lines", "pieces", "amount", "least", "most", "person").with_row_index("rank")
    eligible = people.filter(pl.col("later") >= PHONE_TEST_BASKETS, pl.col("earlier") >= PHONE_EARLIER_BASKETS)
    drawn = sorted(
        eligible["rank"], key=lambda rank: hashlib.sha256(f"{project.project.seed} {rank}".encode()).digest()
    )
    phones = drawn[: min(project.fleet.phones, people.height // LEAST_PEOPLE_PER_PHONE)]
    return people.select(
        "person",
        "rank",
        pseudonym=pl.Series(pseudonyms(people["person"], key), dtype=pl.String),
        role=pl.when(pl.col("rank").is_in(phones)).then(pl.lit(PHONE)).otherwise(pl.lit(CENTRAL)),
    )


def _catalogue(lines: pl.DataFrame, items: pl.DataFrame, minimum_people: int) -> tuple[pl.DataFrame, int]:
    """Items that enough central people took outside the test part, and how many others there are.

    The test part has no say in what the catalogue holds or states: neither its items, nor their order, nor prices.
    """
    before = lines.filter(pl.col("role") == CENTRAL, pl.col("part") != TEST)
    price = pl.col("amount") / pl.col("quantity")
    counted = before.group_by("item_id").agg(
        people=pl.col("pseudonym").n_unique().cast(pl.Int32),
        price_minor=(price.median() + 0.5).floor().cast(pl.Int64).fill_null(0),
    )
    common = counted.filter(pl.col("people") >= minimum_people)
    if common.height < MINIMUM_ITEMS:
        raise DataError(
            f"{common.height} of {lines['item_id'].n_unique():,} items were taken by at least {minimum_people} people "
            f"outside the test part, at least {MINIMUM_ITEMS} are needed: lower [clean] minimum_people"
        )
    catalogue = (
        common.sort(["people", "item_id"], descending=[True, False])
        .with_row_index("item", offset=1)
        .join(items, on="item_id", how="left", maintain_order="left")
        .select(
            pl.col("item").cast(pl.Int32),
            "item_id",
            *(pl.col(name).fill_null(UNKNOWN) for name in ("category", "department", "brand")),
            pl.col("name").fill_null(""),
            "price_minor",
            "people",
        )
    )
    return catalogue, lines["item_id"].n_unique() - catalogue.height


def _number(lines: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Dense numbers for people (in the order of their ranks) and baskets; and the people with their roles."""
    people = lines.select("rank", "pseudonym", "role").unique().sort("rank").with_row_index("person")
    people = people.select(pl.col("person").cast(pl.Int32), "pseudonym", "role")
    codes = {kind.value: code for kind, code in EVENT_CODES.items()}
    devices = {name: code for code, name in enumerate(DEVICE_CLASSES, start=1)}
    ordered = lines.join(people.select("pseudonym", "person"), on="pseudonym").sort(
        "person", "time_ms", "basket_key", "item", "type"
    )
    new_basket = (pl.col("basket_key") != pl.col("basket_key").shift()) | (pl.col("person") != pl.col("person").shift())
    return ordered.select(
        "person",
        "item",
        "time_ms",
        hour=(pl.col("time_ms") // HOUR_MS).cast(pl.Int32),
        basket=new_basket.fill_null(False).cum_sum().cast(pl.Int32),
        event=pl.col("type").replace_strict(codes, return_dtype=pl.Int8),
        quantity=pl.col("quantity").cast(pl.Int32),
        amount=pl.col("amount").fill_null(0),
        device=pl.col("device_class").replace_strict(devices, default=0, return_dtype=pl.Int8),
        part=pl.col("part"),
    ), people
