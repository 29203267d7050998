"""Leave out the events that cannot be right, and count them by reason."""

import polars as pl

from contracts.events import EventType
from contracts.project import Clean
from contracts.summary import TYPE_SHARE
from training.prices import minor_units
from training.times import FIRST_MS, LAST_MS

MAXIMUM_QUANTITY = 1_000_000  # of contracts.events.Event


def clean(events: pl.DataFrame, settings: Clean, currency: str) -> tuple[pl.DataFrame, dict[str, int]]:
    """The events that are possible.

    Args:
        events: canonical frame, see `training.log.SCHEMA`.
        settings: bounds of prices and items to leave out.
        currency: of the prices.

    Returns:
        The remaining rows in their order, and how many rows each reason removed; a row counts under the first reason
        that fits it, in the order of the dictionary.
    """
    scale = minor_units(currency)
    bought = pl.col("type").is_in([EventType.PURCHASE, EventType.REFUND])
    price = pl.col("price_minor")
    reasons: dict[str, pl.Expr] = {
        "person_missing": pl.col("person").is_null(),
        "item_missing": pl.col("item_id").is_null(),
        "time_missing": pl.col("time_ms").is_null(),
        "type_missing": pl.col("type").is_null(),
        "quantity_missing": pl.col("quantity").is_null(),
        "item_excluded": pl.col("item_id").is_in(list(settings.exclude_items)),
        "time_impossible": ~pl.col("time_ms").is_between(FIRST_MS, LAST_MS, closed="left"),
        "quantity_not_positive": pl.col("quantity") < 1,
        "quantity_impossible": pl.col("quantity") > MAXIMUM_QUANTITY,
        "price_impossible": (
            (price < 0) | (bought & ~price.is_between(settings.minimum_price * scale, settings.maximum_price * scale))
        ),
        "duplicate": ~pl.struct(pl.all()).is_first_distinct(),
    }
    dropped: dict[str, int] = {}
    for reason, wrong in reasons.items():
        kept = events.filter(~wrong.fill_null(False))
        if kept.height < events.height:
            dropped[reason] = events.height - kept.height
        events = kept
    return _settle_refunds(events, dropped)


def _settle_refunds(events: pl.DataFrame, dropped: dict[str, int]) -> tuple[pl.DataFrame, dict[str, int]]:
    """Leave out what is no sign of interest: refunds, the order lines they take back, and being shown something.

    It is what `contracts.summary` does with the same events, so a model reads in training what a phone will hold.
    """
    line = ["person", "order_id", "item_id"]
    refunds = events.filter(pl.col("type") == EventType.REFUND, pl.col("order_id").is_not_null()).select(line).unique()
    purchases = pl.col("type") == EventType.PURCHASE
    kept = events
    if refunds.height:
        taken_back = events.select(line).join(
            refunds.with_columns(back=True), on=line, how="left", maintain_order="left"
        )
        kept = events.filter(~(purchases & taken_back["back"].fill_null(False)))
        if kept.height < events.height:
            dropped["refunded"] = events.height - kept.height
    silent = {kind: f"no_interest_{kind.value}" for kind in EventType if not TYPE_SHARE[kind]}
    for kind, reason in silent.items():
        count = int((kept["type"] == kind).sum())
        if count:
            dropped["refund" if kind is EventType.REFUND else reason] = count
    return kept.filter(~pl.col("type").is_in(list(silent))), dropped
