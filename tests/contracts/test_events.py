"""Events keep every bit of themselves on the wire, and malformed ones are named."""

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.codec import FORMATS, decode, encode
from contracts.errors import LimitError, WireError
from contracts.events import EVENT_CODES, Event, EventKey, EventType, Money
from contracts.identity import OwnerKind, owner_kind
from contracts.sync import MAX_EVENTS, SEND_ORDER, SyncRequest

identities = st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",)), min_size=1, max_size=128)
counts = st.integers(0, 2**53)
amounts = st.integers(-(2**53), 2**53)
events = st.builds(
    Event,
    device_id=identities,
    epoch=counts,
    seq=counts,
    type=st.sampled_from(EventType),
    owner=identities,
    occurred_at=amounts,
    boot_id=st.text(max_size=64),
    uptime_ms=counts,
    item_id=st.none() | identities,
    quantity=st.integers(1, 1_000_000),
    price=st.none() | st.builds(Money, amounts, st.from_regex("[A-Z]{3}", fullmatch=True)),
    order_id=st.none() | identities,
    context=st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3),
)
EXAMPLE = {
    "device_id": "d",
    "epoch": 1,
    "seq": 0,
    "type": "view",
    "owner": "login:a",
    "occurred_at": 0,
    "boot_id": "",
    "uptime_ms": 0,
}


@given(events, st.sampled_from(FORMATS))
def test_an_event_comes_back_as_it_was(event, format):
    assert decode(encode(event, format), Event, format) == event


@given(events, st.sampled_from(FORMATS), st.sampled_from(FORMATS))
def test_the_canonical_form_does_not_depend_on_how_an_event_travelled(event, one, other):
    travelled = decode(encode(decode(encode(event, one), Event, one), other), Event, other)
    assert encode(travelled) == encode(event)


@given(st.lists(events, max_size=5), st.sampled_from(FORMATS))
def test_events_travel_raw_inside_a_request(sent, format):
    raw = tuple(msgspec.Raw(encode(event, format)) for event in sent)
    fixed = {"device_id": "d", "epoch": 1, "generation": "g", "sent_at": 0, "boot_id": "", "uptime_ms": 0}
    request = decode(encode(SyncRequest(events=raw, **fixed), format), SyncRequest, format)
    assert [decode(one, Event, format) for one in request.events] == sent


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"quantity": 0}, "quantity"),
        ({"quantity": 1.5}, "quantity"),
        ({"seq": -1}, "seq"),
        ({"seq": 2**53 + 1}, "seq"),
        ({"device_id": ""}, "device_id"),
        ({"device_id": "x" * 129}, "device_id"),
        ({"type": "teleported"}, "type"),
        ({"price": {"amount": 1.5, "currency": "EUR"}}, "price.amount"),
        ({"price": {"amount": 1, "currency": "euro"}}, "price.currency"),
        ({"context": {"hour": 3}}, "context"),
    ],
)
@pytest.mark.parametrize("format", FORMATS)
def test_a_malformed_event_names_the_field(change, names, format):
    with pytest.raises(WireError, match=names):
        decode(encode(EXAMPLE | change, format), Event, format)


@pytest.mark.parametrize("missing", sorted(EXAMPLE))
def test_a_missing_field_is_named(missing):
    with pytest.raises(WireError, match=missing):
        decode(encode({name: value for name, value in EXAMPLE.items() if name != missing}), Event)


@given(st.binary(max_size=200), st.sampled_from(FORMATS))
def test_no_bytes_break_the_decoder(data, format):
    with suppress(WireError):
        decode(data, SyncRequest, format)


@pytest.mark.parametrize(("nested", "format"), [(b"[" * 10**5, FORMATS[0]), (b"\x91" * 10**5, FORMATS[1])])
def test_deep_nesting_is_a_wire_error(nested, format):
    with pytest.raises(LimitError, match="MAX_DEPTH"):
        decode(nested, list, format)


def test_unknown_formats_are_refused():
    for use in (lambda: encode(1, "text/plain"), lambda: decode(b"1", int, "text/plain")):
        with pytest.raises(WireError, match="text/plain"):
            use()


def test_a_request_carries_at_most_so_many_events():
    fixed = {"device_id": "d", "epoch": 1, "generation": "g", "sent_at": 0, "boot_id": "", "uptime_ms": 0}
    full = fixed | {"events": [0] * MAX_EVENTS}
    assert len(decode(encode(full), SyncRequest).events) == MAX_EVENTS
    with pytest.raises(WireError, match=str(MAX_EVENTS)):
        decode(encode(fixed | {"events": [0] * (MAX_EVENTS + 1)}), SyncRequest)


def test_every_event_type_has_a_code_of_its_own_and_a_place_in_the_order_of_sending():
    assert sorted(EVENT_CODES.values()) == list(range(1, len(EventType) + 1))
    assert sorted(SEND_ORDER) == sorted(EventType)


@given(events)
def test_a_key_is_ordered_as_a_device_numbers(event):
    assert event.key == EventKey(event.device_id, event.epoch, event.seq)
    assert (
        event.key
        < EventKey(event.device_id, event.epoch, event.seq + 1)
        < EventKey(event.device_id, event.epoch + 1, 0)
    )


def test_owners_are_kind_and_value():
    assert owner_kind("login:a:b") is OwnerKind.LOGIN
    for owner in ("", "login", "login:", ":a", "robot:a"):
        with pytest.raises(WireError, match="kind:value"):
            owner_kind(owner)
