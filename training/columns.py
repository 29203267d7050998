"""Which columns a file has, and which of them a newcomer probably means."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl

from contracts.errors import DataError
from contracts.project import COMPLETEJOURNEY, Columns

PARQUET = (".parquet", ".pq")

USUAL_NAMES: dict[str, str] = {  # letters and digits in lower case, the likeliest first
    "person": "personid person customerid customer userid user householdid memberid visitorid",
    "item": "itemid item productid product stockcode sku articleid article movieid",
    "time": "timems timestamp transactiontimestamp eventtime datetime invoicedate orderdate date time",
    "order": "orderid order orderno basketid basket invoiceno invoice receiptid",
    "quantity": "quantity qty pieces units",
    "price": "unitprice price priceeach itemprice",
    "type": "eventtype event type action behavior",
    "device": "deviceclass devicetype",
    "category": "category productcategory categoryid categorycode genres",
    "department": "department",
    "brand": "brand manufacturer",
    "name": "name title description productname itemname",
}


def scan(path: Path, text: Iterable[str] = ()) -> pl.LazyFrame:
    """A CSV or Parquet file, not read yet.

    Args:
        path: the file.
        text: columns that a CSV file's digits do not turn into numbers, so that the id 007 stays 007.

    Raises:
        DataError: if there is no such file.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist: [data] names a CSV or Parquet file, or source = {COMPLETEJOURNEY!r}")
    if path.suffix.lower() in PARQUET:
        return pl.scan_parquet(path)
    lazy = pl.scan_csv(path, infer_schema_length=10_000)
    overrides = {name: pl.String() for name in lazy.collect_schema().names() if name in set(text)}
    return pl.scan_csv(path, infer_schema_length=10_000, schema_overrides=overrides)


def unreadable(path: Path, error: Exception) -> DataError:
    """The error for a file that polars refuses."""
    if isinstance(error, pl.exceptions.NoDataError):
        return DataError(f"{path} is empty: an event log needs a header and at least one row")
    kind = "Parquet" if path.suffix.lower() in PARQUET else "CSV"
    return DataError(f"{path} cannot be read as {kind}: {str(error).splitlines()[0]}")


def column_names(path: Path) -> list[str]:
    """The columns of a CSV or Parquet file.

    Raises:
        DataError: if the file is missing or unreadable.
    """
    try:
        return scan(path).collect_schema().names()
    except pl.exceptions.PolarsError as error:
        raise unreadable(path, error) from None


def guess_columns(present: Sequence[str]) -> Columns:
    """The mapping that the columns' names suggest; what is not found keeps its default."""
    plain = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in reversed(present)}
    guessed = {
        field: next(plain[name] for name in names.split() if name in plain)
        for field, names in USUAL_NAMES.items()
        if any(name in plain for name in names.split())
    }
    return Columns(**guessed)
