"""Rows of the canonical frame are event records: nothing is lost either way."""

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from contracts import codec
from contracts.bundle import DEVICE_CLASSES
from contracts.events import Event, EventType
from training.log import SCHEMA
from training.records import from_events, to_events

ids = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
rows = st.lists(
    st.fixed_dictionaries(
        {
            "person": ids,
            "item_id": ids,
            "type": st.sampled_from([kind.value for kind in EventType]),
            "time_ms": st.integers(0, 2**52),
            "order_id": st.none() | ids,
            "quantity": st.integers(1, 10**6),
            "price_minor": st.none() | st.integers(0, 2**52),
            "device_class": st.none() | st.sampled_from(DEVICE_CLASSES),
        }
    ),
    max_size=20,
)


@given(rows)
def test_rows_to_events_and_back(rows: list[dict]) -> None:
    for row in rows:
        row["currency"] = None if row["price_minor"] is None else "EUR"
    frame = pl.DataFrame(rows, schema=SCHEMA)
    events = to_events(frame)
    assert len({event.key for event in events}) == frame.height
    assert from_events(events).equals(frame)
    for event in events:  # each is a valid message, not only a struct
        assert codec.decode(codec.encode(event), Event) == event
