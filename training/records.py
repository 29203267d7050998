"""The rows of a canonical frame as event records of `contracts.events`, and back."""

from collections.abc import Iterable

import polars as pl

from contracts.events import Event, EventType, Money
from contracts.identity import OwnerKind
from training.context import DEVICE_CLASS
from training.log import SCHEMA

LOG_DEVICE = "log"  # an imported row was recorded by no device of ours
CARD = f"{OwnerKind.CARD}:"


def to_events(frame: pl.DataFrame) -> list[Event]:
    """One event per row, keyed by its row number; a person is the owner of a card.

    Args:
        frame: of `training.log.SCHEMA`, cleaned: nothing is null but order_id, price_minor, currency and device_class.
    """
    return [
        Event(
            device_id=LOG_DEVICE,
            epoch=0,
            seq=seq,
            type=EventType(row["type"]),
            owner=f"{CARD}{row['person']}",
            occurred_at=row["time_ms"],
            boot_id=LOG_DEVICE,
            uptime_ms=0,
            item_id=row["item_id"],
            quantity=row["quantity"],
            price=None if row["price_minor"] is None else Money(row["price_minor"], row["currency"]),
            order_id=row["order_id"],
            context={DEVICE_CLASS: row["device_class"]} if row["device_class"] else {},
        )
        for seq, row in enumerate(frame.iter_rows(named=True))
    ]


def from_events(events: Iterable[Event]) -> pl.DataFrame:
    """The frame of `training.log.SCHEMA` with one row per event, in the given order."""
    rows = [
        {
            "person": event.owner.removeprefix(CARD),
            "item_id": event.item_id,
            "type": event.type.value,
            "time_ms": event.occurred_at,
            "order_id": event.order_id,
            "quantity": event.quantity,
            "price_minor": event.price.amount if event.price else None,
            "currency": event.price.currency if event.price else None,
            "device_class": event.context.get(DEVICE_CLASS),
        }
        for event in events
    ]
    return pl.DataFrame(rows, schema=SCHEMA)
