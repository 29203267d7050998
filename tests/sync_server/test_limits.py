"""Every limit of a request, by name: what is beyond it is 413 and says so; what is at it is taken."""

import gzip

import msgspec
import pytest
import zstandard

from contracts import codec
from contracts.consent import Purpose
from contracts.errors import LimitError
from contracts.sync import (
    MAX_CONSENTS,
    MAX_EVENTS,
    MAX_RANGES,
    MAX_TOKENS,
    Dropped,
    Problem,
    SeqRange,
    VerdictKind,
)
from sync_server import progress

RANGES = tuple(SeqRange(2 * number, 2 * number) for number in range(MAX_RANGES + 1))
JSON, MESSAGEPACK = codec.FORMATS


def told(world, device, body: bytes, status: int = 413, **headers: str) -> str:
    answer = world.wire.post("/v1/sync", body, device.device_id, **headers)
    problem = codec.decode(answer.content, Problem)
    assert (answer.status_code, problem.status) == (status, status), problem
    assert "\n" not in problem.detail
    return problem.detail


def test_a_body_over_the_limit_names_the_limit(http_world):
    phone, limit = http_world.phone(), http_world.settings.max_body_bytes
    assert f"max_body_bytes = {limit}" in told(http_world, phone, b" " * (limit + 1))
    assert "truncated" in told(http_world, phone, b" " * limit, status=400)


@pytest.mark.parametrize(("coding", "compress"), [("zstd", zstandard.compress), ("gzip", gzip.compress)])
def test_a_decompression_bomb_is_stopped_at_the_limit(http_world, coding, compress):
    phone, limit = http_world.phone(), http_world.settings.max_decoded_bytes
    bomb = compress(b" " * 200_000_000)
    assert len(bomb) < http_world.settings.max_body_bytes
    assert f"max_decoded_bytes = {limit}" in told(http_world, phone, bomb, **{"content-encoding": coding})
    full = compress(b" " * limit)
    assert "truncated" in told(http_world, phone, full, status=400, **{"content-encoding": coding})


def over(phone, name: str) -> tuple[dict, int]:
    """Fields of a request with one more than a list may hold, and how many it may."""
    fact = phone.fact(Purpose.ANALYTICS)
    lists = {
        "held": (RANGES, MAX_RANGES),
        "dropped": (tuple(Dropped(range=one, counts={}) for one in RANGES), MAX_RANGES),
        "identity_tokens": (("token",) * (MAX_TOKENS + 1), MAX_TOKENS),
        "consents": ((fact,) * (MAX_CONSENTS + 1), MAX_CONSENTS),
        "events": ((msgspec.Raw(codec.encode(phone.event())),) * (MAX_EVENTS + 1), MAX_EVENTS),
    }
    return {name: lists[name][0]}, lists[name][1]


@pytest.mark.parametrize("name", ["held", "dropped", "identity_tokens", "consents", "events"])
def test_a_list_that_is_too_long_names_its_field_and_its_limit(http_world, name):
    phone = http_world.phone()
    fields, limit = over(phone, name)
    request = msgspec.structs.replace(phone.request(), **fields)
    detail = told(http_world, phone, codec.encode(request))
    assert f"<= {limit} " in detail
    assert f"`$.{name}`" in detail
    at_the_limit = msgspec.structs.replace(request, **{name: fields[name][:limit]})
    answer = http_world.wire.post("/v1/sync", codec.encode(at_the_limit), phone.device_id)
    assert answer.status_code != 413


@pytest.mark.parametrize("format", codec.FORMATS)
@pytest.mark.parametrize("field", ["unknown", "boot_id", "held"])
def test_what_is_nested_too_deeply_names_the_limit(http_world, format, field):
    phone = http_world.phone()

    def nested(depth: int) -> bytes:
        body = msgspec.to_builtins(phone.request()) | {field: "here"}
        inner = b"[" * depth + b"]" * depth if format == JSON else b"\x91" * depth + b"\xc0"
        here = b'"here"' if format == JSON else b"\xa4here"
        return codec.encode(body, format).replace(here, inner)

    headers = {"content-type": format}
    if field == "unknown":
        assert f"MAX_DEPTH = {codec.MAX_DEPTH}" in told(http_world, phone, nested(100_000), **headers)
        deepest = nested(codec.MAX_DEPTH - 1)
        assert http_world.wire.post("/v1/sync", deepest, phone.device_id, **headers).status_code == 200
    else:
        assert f"`$.{field}" in told(http_world, phone, nested(100_000), status=400, **headers)


def test_an_epoch_is_settled_in_few_ranges_or_the_request_is_refused_whole(world, monkeypatch):
    monkeypatch.setattr(progress, "MAX_SETTLED_RANGES", 5)
    phone = world.phone()
    phone.log_in("login:ada")
    made = [phone.event() for _ in range(14)]
    assert phone.sync(*made[0:10:2]).watermark == 0
    with pytest.raises(LimitError, match="epoch 1 would be settled in 6 ranges, MAX_SETTLED_RANGES = 5"):
        phone.sync(made[10])
    with pytest.raises(LimitError):
        phone.sync(dropped=(Dropped(range=SeqRange(12, 12), counts={}),))
    answer = phone.sync(*made[1:10:2], *made[12:14])  # fills the gaps
    assert [verdict.kind for verdict in answer.verdicts] == [VerdictKind.ACCEPTED] * 7
    assert answer.watermark == 9
    assert phone.sync(made[10], made[11]).watermark == 13
