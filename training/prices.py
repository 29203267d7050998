"""Quantities and prices of a log as integers: pieces, and minor units of the currency for one piece."""

import polars as pl

from contracts.errors import DataError
from contracts.project import Columns

MINOR_DIGITS = {  # ISO 4217 currencies whose minor unit is not a hundredth
    **dict.fromkeys(("CLP", "ISK", "JPY", "KRW", "PYG", "RWF", "UGX", "VND", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}
LOST_DIGITS = 6  # decimals of a minor unit that binary fractions keep: 1.005 * 100 is 100.49999999999999


def minor_units(currency: str) -> int:
    """Minor units in one major unit: 100 cents in a dollar."""
    return int(10 ** MINOR_DIGITS.get(currency, 2))


def pieces_and_prices(rows: pl.DataFrame, columns: Columns, currency: str) -> pl.DataFrame:
    """Pieces and the price of one piece, rounded half up.

    Where the price of one "piece" rounds to nothing though the line cost something, the quantity is a measure (fuel
    in thousandths of a gallon) and no count: the line becomes one piece at the line's price. A part of a piece
    (0.4 kg) counts as a whole one. A negative quantity is a refund of as many pieces, unless the log states types.

    Args:
        rows: the log as read.
        columns: of these `quantity` and `price` or `amount` are read; where both are mapped, `price` holds.
        currency: ISO 4217.

    Returns:
        quantity int64, price_minor int64 (null where unknown), measured bool: the quantity was a measure.

    Raises:
        DataError: if a mapped column holds text, NaN or infinite values.
    """
    for name in (columns.quantity, columns.price, columns.amount):
        if name is not None:
            _require_finite_numbers(rows[name])
    one = pl.repeat(1.0, pl.len())
    quantity = pl.col(columns.quantity).cast(pl.Float64) if columns.quantity else one
    pieces = quantity if columns.type else quantity.abs()
    scale = minor_units(currency)
    if columns.price:
        price = pl.col(columns.price).cast(pl.Float64) * scale
        line = price * pieces
    elif columns.amount:
        amount = pl.col(columns.amount).cast(pl.Float64) * scale
        line = amount if columns.type else pl.when(quantity < 0).then(-amount).otherwise(amount)
        price = pl.when(pieces > 0).then(line / pieces)
    else:
        price = line = pl.lit(None, pl.Float64)
    price, line = _half_up(price), _half_up(line)
    measured = ((price == 0) & (line > 0)).fill_null(False)
    return rows.select(
        quantity=pl.when(measured).then(1.0).otherwise(pieces.ceil()).cast(pl.Int64, strict=False),
        price_minor=pl.when(measured).then(line).otherwise(price).cast(pl.Int64, strict=False),
        measured=measured,
    )


def _half_up(value: pl.Expr) -> pl.Expr:
    return (value.round(LOST_DIGITS) + 0.5).floor()


def _require_finite_numbers(column: pl.Series) -> None:
    if not column.dtype.is_numeric() and column.dtype != pl.Null:
        example = column.drop_nulls().first()
        raise DataError(f"column {column.name!r} holds {column.dtype} such as {example!r}: it must hold numbers")
    if column.dtype.is_float():
        wrong = (~column.is_finite()).fill_null(False).arg_true()
        if len(wrong):
            raise DataError(
                f"column {column.name!r} holds {len(wrong):,} NaN or infinite values, the first in row "
                f"{wrong[0] + 1:,}: leave a missing number empty or correct it"
            )
