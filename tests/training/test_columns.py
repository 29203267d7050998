"""The columns that a newcomer probably means."""

from pathlib import Path

import polars as pl
import pytest

from contracts.errors import DataError
from contracts.project import Columns
from training.columns import USUAL_NAMES, column_names, guess_columns


def test_usual_names_are_found_however_they_are_written() -> None:
    words = ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"]
    assert guess_columns(words) == Columns(
        person="CustomerID",
        item="StockCode",
        time="InvoiceDate",
        order="InvoiceNo",
        quantity="Quantity",
        price="UnitPrice",
        name="Description",
    )
    assert guess_columns(["user_id", "item-id", "Timestamp"]) == Columns(
        person="user_id", item="item-id", time="Timestamp"
    )


def test_what_is_not_found_keeps_its_default() -> None:
    assert guess_columns(["x", "y"]) == Columns()


def test_no_name_stands_for_two_fields() -> None:
    names = [name for names in USUAL_NAMES.values() for name in names.split()]
    assert len(names) == len(set(names))
    assert set(USUAL_NAMES) <= set(Columns.__struct_fields__)


def test_columns_of_a_file(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1], "b": [2]}).write_csv(tmp_path / "log.csv")
    assert column_names(tmp_path / "log.csv") == ["a", "b"]
    (tmp_path / "log.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        column_names(tmp_path / "log.parquet")
