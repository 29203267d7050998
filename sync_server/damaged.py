"""Requests in which an event is no JSON or MessagePack at all: it is set aside alone, the others are taken.

`contracts.sync` leaves events undecoded until each is judged by itself, but they must be skipped over to read what
follows, and that fails for a NaN in JSON, half a surrogate pair, or nesting beyond every parser. Only when it does, the
body is walked here by its brackets or lengths, and each event that cannot be skipped is handed over as bytes, with what
of its key can be read.
"""

import json
import re
from collections.abc import Iterator
from itertools import islice

import msgspec

from contracts.codec import decode, encode
from contracts.errors import WireError
from contracts.sync import SyncRequest
from sync_server.received import DAMAGED

MAX_STEPS = 200_000  # brackets and strings, or MessagePack's values: 500 events have some 20,000; more is no accident
# Possessive, and a string that nothing closes goes to the end: no byte is looked at from two places, whatever comes.
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\(?:.|\Z))*+(?:"|\Z)|[\[\]{},]', re.DOTALL)
_ENVELOPE = {"device_id": str, "epoch": int, "seq": int, "owner": str}
_FIXED_BYTES = {  # that follow a MessagePack type
    **dict.fromkeys((0xC0, 0xC2, 0xC3), 0),
    **dict(zip(range(0xCA, 0xD4), (4, 8, 1, 2, 4, 8, 1, 2, 4, 8), strict=True)),
    **dict(zip(range(0xD4, 0xD9), (2, 3, 5, 9, 17), strict=True)),
}
_LENGTH_BYTES = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_EXTENSIONS = (0xC7, 0xC8, 0xC9)  # have one more byte, their type
_COUNT_BYTES = {0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}
_MAPS = (0xDE, 0xDF)


def read_request(body: bytes, format: str) -> SyncRequest:
    """Decode a request, without the events that nothing can decode.

    Raises:
        WireError: if it is damaged elsewhere than inside its events.
    """
    try:
        return decode(body, SyncRequest, format)
    except WireError as error:
        try:
            spans = list(_msgpack_events(body) if format.endswith("msgpack") else _json_events(body))
        except (IndexError, ValueError):
            raise error from None
        return decode(_without_damage(body, spans, format), SyncRequest, format)


def _without_damage(body: bytes, spans: list[tuple[int, int]], format: str) -> bytes:
    """The body with other events in place of those that cannot be skipped over."""
    parts, end = [], 0
    for first, last in spans:
        try:
            decode(body[first:last], msgspec.Raw, format)
        except WireError:
            parts += [body[end:first], _handed_over(body[first:last], format)]
            end = last
    return b"".join([*parts, body[end:]])


def _handed_over(event: bytes, format: str) -> bytes:
    """What stands for an event: `sync_server.received` knows it by its field."""
    found = {DAMAGED: event}
    try:
        return encode(found | _envelope(event), format)
    except UnicodeEncodeError:  # half a surrogate pair in the key itself
        return encode(found, format)


def _envelope(event: bytes) -> dict[str, object]:
    """What can be read of a JSON event's key and owner by a parser that takes NaN and control characters."""
    try:
        read = json.loads(event.decode("utf-8", "replace"), strict=False)
    except (ValueError, RecursionError):
        return {}
    known = read.items() if isinstance(read, dict) else ()
    return {name: value for name, value in known if type(value) is _ENVELOPE.get(name)}


def _json_events(body: bytes) -> Iterator[tuple[int, int]]:
    """Where each event of a JSON request begins and ends, told by brackets and commas outside of strings."""
    depth, key, first = 0, b"", 0
    for token in islice(_TOKEN.finditer(body), MAX_STEPS):
        found = token[0]
        inside = depth == 2 and key == b'"events"'
        if inside and found in b",]" and body[first : token.start()].strip():
            yield first, token.start()
            first = token.end()
        if found in b"[{":
            depth += 1
            if depth == 2 and key == b'"events"':
                first = token.end()
        elif found in b"]}":
            if inside:
                return
            depth -= 1
        elif depth == 1 and found != b",":
            key = found
    raise ValueError("no end of the events")


def _msgpack_events(body: bytes) -> Iterator[tuple[int, int]]:
    """Where each event of a MessagePack request begins and ends, told by lengths."""
    fields, at = _opened(body, 0)
    steps = MAX_STEPS
    for _ in range(fields // 2):
        end, steps = _end(body, at, steps)
        is_events, at = body[at:end] == b"\xa6events", end
        if is_events:
            count, at = _opened(body, at)
            for _ in range(count):
                end, steps = _end(body, at, steps)
                yield at, end
                at = end
            return
        at, steps = _end(body, at, steps)
    raise ValueError("no events")


def _end(body: bytes, at: int, steps: int) -> tuple[int, int]:
    """Where a MessagePack value ends, without recursion, and how many steps are left."""
    pending = 1
    while pending:
        inside, at = _opened(body, at)
        pending += inside - 1
        steps -= 1
        if steps < 0:
            raise ValueError("too many values")
    return at, steps


def _opened(body: bytes, at: int) -> tuple[int, int]:
    """How many values are inside the one that begins here, and where the first of them, or what follows, begins."""
    kind, at = body[at], at + 1
    if kind <= 0x7F or kind >= 0xE0:
        return 0, at
    if kind <= 0x8F:
        return 2 * (kind & 0x0F), at
    if kind <= 0x9F:
        return kind & 0x0F, at
    if kind <= 0xBF:
        return 0, at + (kind & 0x1F)
    if kind in _FIXED_BYTES:
        return 0, at + _FIXED_BYTES[kind]
    if kind in _LENGTH_BYTES:
        width = _LENGTH_BYTES[kind]
        return 0, at + width + int.from_bytes(body[at : at + width]) + (kind in _EXTENSIONS)
    if kind in _COUNT_BYTES:
        width = _COUNT_BYTES[kind]
        return int.from_bytes(body[at : at + width]) * (2 if kind in _MAPS else 1), at + width
    raise ValueError(f"{kind:#x} is no MessagePack")
