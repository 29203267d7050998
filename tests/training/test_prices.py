"""Prices become integers of the minor unit, quantities become pieces."""

from decimal import ROUND_HALF_UP, Decimal

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contracts.errors import DataError
from contracts.project import Columns
from training.prices import pieces_and_prices

PRICE = Columns(price="price", quantity="quantity")
AMOUNT = Columns(amount="amount", quantity="quantity")


def read(columns: Columns, currency: str = "USD", **rows: list) -> list[tuple]:
    return pieces_and_prices(pl.DataFrame(rows), columns, currency).rows()


@given(st.integers(0, 10**7), st.integers(1, 1000))
def test_whole_cents_are_exact(cents: int, quantity: int) -> None:
    assert read(PRICE, price=[cents / 100], quantity=[quantity]) == [(quantity, cents, False)]
    assert read(AMOUNT, amount=[cents * quantity / 100], quantity=[quantity]) == [(quantity, cents, False)]


@given(st.decimals(0, 1000, places=3))
@example(Decimal("1.005"))  # 100.49999999999999 cents in binary
def test_half_a_cent_rounds_up(price: Decimal) -> None:
    if 0 < price < Decimal("0.005"):
        return  # a measure, see below
    cents = int((price * 100).quantize(Decimal(1), ROUND_HALF_UP))
    assert read(PRICE, price=[float(price)], quantity=[1]) == [(1, cents, False)]


def test_a_quantity_of_fuel_is_a_measure_and_no_count() -> None:
    assert read(AMOUNT, amount=[25.0, 25.0], quantity=[10_601, 10]) == [(1, 2500, True), (10, 250, False)]
    assert read(PRICE, price=[0.002], quantity=[10_000]) == [(1, 2000, True)]


def test_what_is_free_stays_free_and_what_is_unknown_unknown() -> None:
    assert read(AMOUNT, amount=[0.0, None], quantity=[2, 2]) == [(2, 0, False), (2, None, False)]
    assert read(Columns(quantity="quantity"), quantity=[2, None]) == [(2, None, False), (None, None, False)]
    assert read(Columns(), other=["a", "b"]) == [(1, None, False)] * 2


def test_a_refund_has_positive_pieces_and_price_whichever_sign_its_amount_has() -> None:
    assert read(PRICE, price=[2.5], quantity=[-3]) == [(3, 250, False)]
    assert read(AMOUNT, amount=[-7.5], quantity=[-3]) == [(3, 250, False)]


def test_with_types_a_negative_quantity_is_left_to_cleaning() -> None:
    typed = Columns(price="price", quantity="quantity", type="type")
    assert read(typed, price=[2.5], quantity=[-3], type=["view"]) == [(-3, 250, False)]


def test_a_part_of_a_piece_is_a_whole_one() -> None:
    assert read(PRICE, price=[10.0], quantity=[0.4]) == [(1, 1000, False)]


@pytest.mark.parametrize(("currency", "minor"), [("USD", 1234), ("JPY", 12), ("KWD", 12_340)])
def test_the_minor_unit_is_the_currencys(currency: str, minor: int) -> None:
    assert read(PRICE, currency, price=[12.34], quantity=[1]) == [(1, minor, False)]


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
def test_nan_is_refused_with_its_row(wrong: float) -> None:
    with pytest.raises(DataError, match="'price' holds 1 NaN or infinite values, the first in row 2: leave"):
        read(PRICE, price=[1.0, wrong], quantity=[1, 1])


def test_text_is_refused_with_an_example() -> None:
    with pytest.raises(DataError, match="'price' holds String such as '1,50': it must hold numbers"):
        read(PRICE, price=["1,50"], quantity=[1])
