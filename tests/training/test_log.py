"""Logs of whatever columns become the canonical frame, and its rows are events."""

from pathlib import Path

import polars as pl
import pytest

from contracts.errors import DataError
from contracts.events import EventType
from contracts.project import Columns, Data
from training.log import SCHEMA, read_log

ROWS = {
    "customer": [7, 7, 12, None],
    "sku": ["007", "a", "a", "b"],
    "when": ["2026-03-01 12:30:00"] * 4,
    "receipt": ["r1", "r1", "C2", "r3"],
    "pieces": [1, 2, -3, 1],
    "unit_price": [1.25, None, 2.0, 0.0],
    "kind": ["fruit", None, "tools", ""],
    "title": ["Apple", "Axe", "Axe, sharp", None],
}
COLUMNS = Columns(
    person="customer",
    item="sku",
    time="when",
    order="receipt",
    quantity="pieces",
    price="unit_price",
    category="kind",
    name="title",
)
NOON_MS = 1_772_368_200_000


@pytest.fixture(params=["log.csv", "log.parquet"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write(tmp_path / request.param, ROWS)


def write(path: Path, rows: dict) -> Path:
    frame = pl.DataFrame(rows)
    if path.suffix == ".csv":
        frame.write_csv(path)
    else:
        frame.write_parquet(path)
    return path


def test_csv_and_parquet_give_the_same_frame(path: Path) -> None:
    log = read_log(Data(source=str(path), columns=COLUMNS), "EUR")
    assert dict(log.events.schema) == SCHEMA
    assert log.events.rows() == [
        ("7", "007", "purchase", NOON_MS, "r1", 1, 125, "EUR", None),
        ("7", "a", "purchase", NOON_MS, "r1", 2, None, None, None),
        ("12", "a", "refund", NOON_MS, "C2", 3, 200, "EUR", None),
        (None, "b", "purchase", NOON_MS, "r3", 1, 0, "EUR", None),
    ]
    assert log.items.select("item_id", "category", "name", "brand").rows()[:2] == [
        ("007", "fruit", "Apple", None),
        ("a", "tools", "Axe, sharp", None),  # of the last row that states one
    ]


def test_only_person_item_and_time_are_needed(tmp_path: Path) -> None:
    source = write(tmp_path / "log.csv", {"person": [1], "item": [2], "time": [NOON_MS]})
    log = read_log(Data(source=str(source)), "EUR")
    assert log.events.rows() == [("1", "2", "purchase", NOON_MS, None, 1, None, None, None)]


def test_ids_that_missing_ones_turned_into_floats_are_whole(tmp_path: Path) -> None:
    source = write(tmp_path / "log.parquet", {"person": [17850.0, None], "item": ["a", "b"], "time": [NOON_MS] * 2})
    assert read_log(Data(source=str(source)), "EUR").events["person"].to_list() == ["17850", None]


def test_products_of_a_file_of_their_own_come_first(tmp_path: Path) -> None:
    source = write(tmp_path / "log.csv", ROWS)
    products = write(tmp_path / "products.csv", {"sku": ["007", "z"], "kind": ["seed", "x"], "maker": ["m", "n"]})
    columns = Columns(**{**{name: getattr(COLUMNS, name) for name in COLUMNS.__struct_fields__}, "brand": "maker"})
    items = read_log(Data(source=str(source), products=str(products), columns=columns), "EUR").items
    assert items.select("item_id", "category", "brand", "name").rows() == [
        ("007", "seed", "m", "Apple"),
        ("a", "tools", None, "Axe, sharp"),
        ("b", None, None, None),
    ]


def test_event_types_are_the_logs_words(tmp_path: Path) -> None:
    rows = {"person": [1, 1, 1], "item": [2, 2, 2], "time": [NOON_MS] * 3, "did": ["0", "view", None]}
    source = write(tmp_path / "log.csv", rows)
    data = Data(source=str(source), columns=Columns(type="did"), types={"0": EventType.PURCHASE})
    assert read_log(data, "EUR").events["type"].to_list() == ["purchase", "view", None]
    with pytest.raises(DataError, match=r"column 'did' has '0': an event type is one of impression, .*types"):
        read_log(Data(source=str(source), columns=Columns(type="did")), "EUR")


def test_device_classes_are_the_logs_words(tmp_path: Path) -> None:
    rows = {"person": [1, 1, 1], "item": [2, 2, 2], "time": [NOON_MS] * 3, "on": ["ios", "till", None]}
    source = write(tmp_path / "log.csv", rows)
    data = Data(source=str(source), columns=Columns(device="on"), devices={"ios": "phone"})
    assert read_log(data, "EUR").events["device_class"].to_list() == ["phone", "till", None]
    rows["on"] = ["Tablett", "till", None]
    source = write(tmp_path / "log.csv", rows)
    with pytest.raises(DataError, match=r"'on' has 'Tablett': did you mean 'tablet'\? .* under \[data\] devices"):
        read_log(data, "EUR")


def test_a_missing_column_is_refused_with_the_nearest_one(path: Path) -> None:
    for field, wrong, right in (("person", "Customer", "customer"), ("price", "unitprice", "unit_price")):
        columns = Columns(**{**{name: getattr(COLUMNS, name) for name in COLUMNS.__struct_fields__}, field: wrong})
        with pytest.raises(DataError, match=f"no column '{wrong}': did you mean '{right}'.*set {field} under"):
            read_log(Data(source=str(path), columns=columns), "EUR")


def test_a_missing_category_column_is_refused_as_well(path: Path) -> None:
    columns = Columns(person="customer", item="sku", time="when", category="kinds")
    with pytest.raises(DataError, match="no column 'kinds': did you mean 'kind'"):
        read_log(Data(source=str(path), columns=columns), "EUR")


@pytest.mark.parametrize("name", ["log.csv", "log.parquet"])
def test_what_is_no_log_is_refused(tmp_path: Path, name: str) -> None:
    source = tmp_path / name
    with pytest.raises(DataError, match="does not exist"):
        read_log(Data(source=str(source)), "EUR")
    source.write_bytes(b"")
    with pytest.raises(DataError, match=r"is empty|cannot be read as Parquet") as error:
        read_log(Data(source=str(source)), "EUR")
    assert "\n" not in str(error.value)
    source.write_bytes(b"\xff\xfe\x00PAR1 nothing")
    with pytest.raises(DataError) as error:
        read_log(Data(source=str(source)), "EUR")
    assert "\n" not in str(error.value)
    write(source, {"person": [], "item": [], "time": []})
    with pytest.raises(DataError, match="has no rows"):
        read_log(Data(source=str(source)), "EUR")


def test_the_hash_is_of_the_bytes(tmp_path: Path) -> None:
    source = write(tmp_path / "log.csv", ROWS)
    data = Data(source=str(source), columns=COLUMNS)
    first = read_log(data, "EUR").sha256
    assert read_log(data, "EUR").sha256 == first
    source.write_bytes(source.read_bytes() + b"\n")
    assert read_log(data, "EUR").sha256 != first
