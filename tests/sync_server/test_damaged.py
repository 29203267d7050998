"""What is damaged beyond its events is refused, in time that grows with its length and no faster."""

import pytest

from contracts.errors import WireError
from sync_server.damaged import read_request

JSON = "application/json"


@pytest.mark.parametrize("tail", [b"", b"\\", b"]}"])
def test_a_string_that_nothing_closes_is_looked_at_once(tail: bytes) -> None:
    """Asked for anew at every quote, two megabytes would take hours."""
    with pytest.raises(WireError):
        read_request(b'{"events":[' + b'\\"' * 10**6 + tail, JSON)


def test_a_quote_behind_a_backslash_closes_nothing() -> None:
    fields = b'"device_id":"d","epoch":1,"generation":"g","sent_at":0,"boot_id":"","uptime_ms":0'
    read = read_request(b'{"events":[{"a\\\\":"],\\"[","b":NaN},{"seq":2}],' + fields + b"}", JSON)
    assert len(read.events) == 2
    assert b"damaged" in bytes(read.events[0])
    assert bytes(read.events[1]) == b'{"seq":2}'
