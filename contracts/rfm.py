"""Recency, frequency and monetary value of a person's orders (Hughes 1994)."""

import msgspec

from contracts.segments import purchases_of
from contracts.summary import Summary

RFM_HOURS = 365 * 24  # a year: what was bought before says little about who buys now


class Rfm(msgspec.Struct, frozen=True, kw_only=True):
    """Over the orders of the last year; what was given back is no purchase."""

    recency_hours: int | None = None  # since the last order; None where there is none
    frequency: int = 0  # orders; purchases without an order number are one order for each hour
    monetary: int = 0  # minor units, of orders with a number


def rfm_of(summary: Summary, now_hour: int) -> Rfm:
    """A person's figures at a moment.

    Args:
        summary: of the person.
        now_hour: hours since 1970.
    """
    purchases = purchases_of(summary, now_hour, RFM_HOURS)
    if purchases is None or not purchases.order_hours:
        return Rfm()
    return Rfm(
        recency_hours=max(now_hour - purchases.order_hours[-1], 0),
        frequency=len(purchases.order_hours),
        monetary=purchases.amount,
    )
