"""Whatever a device sends that fits the contract, or nearly, is answered or refused: the server never fails."""

from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts import codec
from contracts.consent import ConsentFact, Purpose
from contracts.errors import AuthenticationError, PermissionDenied, WireError
from contracts.events import EventType
from contracts.sync import Dropped, SeqRange, SyncRequest

counts = st.one_of(st.integers(0, 3), st.integers(0, 2**53))
known = st.sampled_from(["login:ada", "card:1", "anonymous:1", "\0", "a\0b", "\ud7ff\U0010ffff"])
text = known | st.text(max_size=20)
identities = text.filter(bool)
ranges = st.builds(SeqRange, counts, counts)
json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def phone(new_world):
    with TemporaryDirectory() as folder, new_world(Path(folder)) as world:
        phone = world.phone()
        phone.log_in("login:ada")
        yield phone


def nearly_events(phone):
    """An event with up to three fields replaced by anything, or something else altogether."""
    event = msgspec.to_builtins(phone.event())
    changed = st.dictionaries(st.sampled_from(sorted({*event, "order_id", "context", "quantity"})), json, max_size=3)
    keyed = st.fixed_dictionaries({"seq": counts, "type": st.sampled_from(list(EventType))})
    return st.builds(lambda key, change: event | key | change, keyed, changed) | json


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_request_breaks_the_server(phone, data):
    events = data.draw(st.lists(nearly_events(phone), max_size=3))
    facts = st.builds(
        ConsentFact,
        fact_id=identities,
        owner=identities,
        purpose=st.sampled_from(Purpose),
        granted=st.booleans(),
        cites=counts,
    )
    dropped = st.builds(Dropped, range=ranges, counts=st.dictionaries(st.sampled_from(EventType), counts, max_size=2))
    fields = data.draw(
        st.fixed_dictionaries(
            {},
            optional={
                "epoch": counts,
                "generation": identities,
                "sent_at": st.integers(),
                "boot_id": text,
                "uptime_ms": counts,
                "held": st.lists(ranges, max_size=3).map(tuple),
                "dropped": st.lists(dropped, max_size=3).map(tuple),
                "owner": identities,
                "identity_tokens": st.lists(text, max_size=2).map(tuple),
                "consents": st.lists(facts, max_size=2).map(tuple),
                "profile_version": counts,
                "bundle_version": counts,
            },
        )
    )
    format = data.draw(st.sampled_from(codec.FORMATS))
    try:
        raw = [msgspec.Raw(codec.encode(event, format)) for event in events]
        sent = codec.encode(phone.request(*raw, format=format, **fields), format)
    except OverflowError:  # MessagePack has no such integer
        return
    try:
        request = codec.decode(sent, SyncRequest, format)
        answer = phone.world.wire.sync(phone.device_id, request, format)
    except (WireError, AuthenticationError, PermissionDenied):
        return
    assert [verdict.position for verdict in answer.verdicts] == list(range(len(events)))
    codec.encode(answer)
