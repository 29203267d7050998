"""A person's rights over HTTP: with a proof of who they are on a device of theirs, or through the staff."""

import base64

import msgspec
import pytest

from contracts import codec
from contracts.consent import Purpose
from contracts.people import Forgotten, PersonExport, PersonRequest
from contracts.sync import VerdictKind, signed_bytes
from sync_server.erasure import OF_OWNERS


@pytest.fixture
def ada(http_world):
    """Somebody whom no other test knows."""
    phone = http_world.phone()
    phone.log_in(f"login:{phone.device_id}")
    phone.sync(phone.event("milk"))
    return phone


def ask(phone, what, token=None, format="application/json"):
    """The answer to a request of a person's own."""
    body = PersonRequest(identity_token=token or phone.world.provider.token(phone.owner))
    return phone.world.wire.post(
        f"/v1/people/{what}", codec.encode(body, format), phone.device_id, **{"content-type": format}
    )


def ask_staff(world, handle, what, token):
    return world.wire.http.post(f"/v1/people/{handle}/{what}", headers={"authorization": f"Bearer {token}"})


@pytest.mark.parametrize("format", codec.FORMATS)
def test_a_person_gets_all_that_is_held_about_them(ada, format):
    answered = ask(ada, "export", format=format)
    assert answered.status_code == 200
    held = codec.decode(answered.content, PersonExport, format)
    assert [event.payload["item_id"] for event in held.events] == ["milk"]
    assert [(one.device_id, one.current) for one in held.devices] == [(ada.device_id, False)]
    assert held.audit[-1].actor == f"owner on device {ada.device_id}"


def test_a_person_is_forgotten(ada):
    first = ada.event("late")
    ada.world.pass_hours(1)
    erased = codec.decode(ask(ada, "erase").content, Forgotten)
    assert (erased.erased_at, erased.owners) == (ada.world.clock.now_ms(), 1)
    assert ask(ada, "export").status_code == 404
    token = ada.world.provider.token(ada.owner)
    assert [verdict.kind for verdict in ada.sync(first, identity_tokens=(token,)).verdicts] == [VerdictKind.REFUSED]


def test_who_proves_nothing_is_told_and_given_nothing(http_world, ada):
    assert ask(ada, "export", token="x.y.z").status_code == 401
    unsigned = codec.encode(PersonRequest(identity_token=http_world.provider.token(ada.owner)))
    assert http_world.wire.http.post("/v1/people/erase", content=unsigned).status_code == 401
    assert ask(ada, "export", token=http_world.provider.token("login:nobody at all")).status_code == 404
    assert ask(ada, "export").status_code == 200


def test_the_staff_act_by_handle_with_the_role_for_it(http_world, ada, staff_tokens):
    handle = codec.decode(ask(ada, "export").content, PersonExport).handle
    for token, status in ((staff_tokens["ingest"], 403), ("no token of anybody", 401)):
        assert ask_staff(http_world, handle, "export", token).status_code == status
        assert ask_staff(http_world, handle, "erase", token).status_code == status
    held = codec.decode(ask_staff(http_world, handle, "export", staff_tokens["erase"]).content, PersonExport)
    assert held.handle == handle
    assert held.audit[-1].actor.startswith("staff ")
    assert codec.decode(ask_staff(http_world, handle, "erase", staff_tokens["erase"]).content, Forgotten).owners == 1
    for what in ("export", "erase"):
        assert ask_staff(http_world, handle, what, staff_tokens["erase"]).status_code == 404


def test_an_erasure_done_by_a_server_outlives_its_kill(server_process):
    world = server_process.start()
    phone = world.phone()
    phone.log_in("login:ada")
    phone.sync(phone.event("milk"))
    assert ask(phone, "erase").status_code == 200
    server_process.kill()
    again = server_process.start()
    again.wire.keys = world.wire.keys
    phone.world = again
    phone.sync()
    assert ask(phone, "export").status_code == 404
    assert msgspec.json.decode(again.wire.http.get("/readyz").content)["generation"] == phone.generation
    assert server_process.stop() == 0


class Recorder:
    """Somebody on the network, who keeps what a phone signed and delivers it when they like."""

    def __init__(self, phone, request_id: str = "") -> None:
        self.phone = phone
        body = PersonRequest(identity_token=phone.world.provider.token(phone.owner), request_id=request_id)
        self.body = codec.encode(body)
        challenge = phone.world.wire.challenges[phone.device_id]
        signature = phone.key.sign(signed_bytes("POST", "/v1/people/erase", challenge, self.body))
        encoded = base64.urlsafe_b64encode(signature).decode().rstrip("=")
        self.headers = {"authorization": f"PocketrecDevice {phone.device_id}.{challenge}.{encoded}"}

    def deliver(self):
        return self.phone.world.wire.http.post("/v1/people/erase", content=self.body, headers=self.headers)


def test_an_erasure_that_somebody_recorded_erases_nobody_who_came_back(server_process):
    world = server_process.start()
    phone = world.phone()
    phone.log_in("login:ada", "card:1")
    phone.sync(phone.event("milk"))
    with_id, without, held_back = Recorder(phone, "wish-1"), Recorder(phone), Recorder(phone, "wish-2")
    world.pass_hours(1)
    first = with_id.deliver()
    assert (first.status_code, codec.decode(first.content, Forgotten).owners) == (200, 2)
    assert with_id.deliver().content == first.content  # nobody is there to be erased

    def come_back(item):
        world.pass_hours(1)
        again = world.phone()
        again.log_in("login:ada", purposes=())
        world.pass_hours(1)
        clocks = {"decided_at": world.clock.now_ms(), "boot_id": "boot", "uptime_ms": again.uptime_ms}
        again.sync(consents=tuple(again.fact(purpose, **clocks) for purpose in Purpose))
        again.sync(again.event(item))
        world.pass_hours(1)
        return again

    again = come_back("bread")
    assert with_id.deliver().content == first.content
    assert (held_back.deliver().status_code, without.deliver().status_code) == (401, 401)
    held = codec.decode(ask(again, "export").content, PersonExport)
    assert [event.payload["item_id"] for event in held.events] == ["bread"]
    new = Recorder(again)
    second = new.deliver()
    assert codec.decode(second.content, Forgotten).erased_at == world.clock.now_ms()
    come_back("eggs")
    server_process.kill()
    world = phone.world = again.world = server_process.start()
    world.wire.keys |= {one.device_id: one.key for one in (phone, again)}
    assert (with_id.deliver().content, new.deliver().content) == (first.content, second.content)
    again.sync(owner="login:ada", identity_tokens=(world.provider.token("login:ada"),))
    held = codec.decode(ask(again, "export").content, PersonExport)
    assert [event.payload["item_id"] for event in held.events] == ["eggs"]


def test_a_wish_that_is_repeated_with_another_challenge_is_the_same_wish(ada):
    ada.world.pass_hours(1)
    first = Recorder(ada, "wish").deliver()
    assert first.status_code == 200
    ada.sync()
    assert Recorder(ada, "wish").deliver().content == first.content
    other = ada.world.phone()
    other.owner = ada.owner
    assert Recorder(other, "wish").deliver().status_code == 404  # of another device


def test_every_table_about_owners_is_in_the_export():
    """Or follows from another part of it: decisions say what stands, and events whose they are."""
    told = {
        "links": "links", "separated": "separations", "proofs": "proofs", "consent_facts": "decisions",
        "item_activities": "summaries", "order_lines": "summaries", "hour_counts": "hours",
    }  # fmt: skip
    derived = {"consents", "owner_events"}
    assert {table.name for table in OF_OWNERS} <= told.keys() | derived
    assert set(told.values()) <= set(PersonExport.__struct_fields__)
