"""How a device comes to be known: quotas, attestation, revocation, and what a recorded enrolment is worth."""

import json

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select

from contracts import codec
from contracts.errors import AuthenticationError, ConfigError, PermissionDenied, TooManyError, UnknownError
from contracts.identity import DeviceRole
from contracts.rounds import RoundUpdate
from contracts.sync import CHALLENGE_HEADER, EnrolRequest, Problem, Revocation, VerdictKind
from sync_server import attestation, census
from sync_server.enrolment import NotAttested, enrolling, revoke
from sync_server.staff_page.health import health
from sync_server.tables import audit_log, enrolments

STAFF_TOKEN = "a-token-for-ingest-alone"


def request(role: DeviceRole = DeviceRole.PHONE, **fields) -> EnrolRequest:
    key = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    token = STAFF_TOKEN if role is DeviceRole.TILL else None
    return EnrolRequest(**({"public_key": key, "role": role, "staff_token": token} | fields))


def with_settings(world, **fields):
    """Two workers' functions over one store."""
    changed = msgspec.structs.replace(world.settings, **fields)
    return enrolling(world.store, changed), enrolling(world.store, changed)


def test_an_address_has_a_quota_by_the_hour_that_workers_count_together(world):
    one, other = with_settings(world, enrolments_per_address_and_hour=3)
    for enrol in (one, other, one):
        enrol(request(), "192.0.2.7")
    with pytest.raises(TooManyError, match="enrolments_per_address_and_hour = 3") as refused:
        other(request(), "192.0.2.7")
    assert refused.value.retry_after_s == 3600  # the world begins on the hour
    other(request(), "192.0.2.8")
    world.pass_hours(0.75)
    with pytest.raises(TooManyError) as refused:
        one(request(), "192.0.2.7")
    assert refused.value.retry_after_s == 900
    world.pass_hours(0.25)
    one(request(), "192.0.2.7")


def test_devices_of_the_shop_count_against_who_lets_them_in(world):
    enrol, _ = with_settings(world, enrolments_per_address_and_hour=1, enrolments_per_staff_and_hour=2)
    enrol(request(DeviceRole.TILL), "192.0.2.7")
    enrol(request(DeviceRole.TILL), "192.0.2.8")
    with pytest.raises(TooManyError, match="enrolments_per_staff_and_hour = 2"):
        enrol(request(DeviceRole.TILL), "192.0.2.9")
    enrol(request(DeviceRole.TILL, staff_token="a-staff-token-of-the-tests"), "192.0.2.9")


def test_no_address_is_kept_and_what_tells_them_apart_is_forgotten_with_the_hour(world):
    enrol, _ = with_settings(world)

    def sources() -> list[str]:
        with world.store.read() as connection:
            return list(connection.execute(select(enrolments.c.source)).scalars())

    enrol(request(), "192.0.2.7")
    (first,) = sources()
    assert "192.0.2.7" not in first
    world.pass_hours(1)
    enrol(request(), "192.0.2.7")
    (second,) = sources()
    assert second != first


def test_a_recorded_enrolment_changes_nothing_for_the_device(world):
    phone = world.phone()
    phone.log_in("login:ada")
    public_key = phone.key.public_key().public_bytes_raw()
    for _ in range(3):
        again = world.wire.enrol(EnrolRequest(public_key=public_key))
        assert again.device_id == phone.device_id
        answer = phone.sync(phone.event(), phone.event())  # in the epoch that it has
        assert [one.kind for one in answer.verdicts] == [VerdictKind.ACCEPTED] * 2
        assert (answer.epoch, answer.gaps) == (phone.epoch, ())
    assert census.count_events(world.store) == 6


def test_a_revoked_device_is_none_of_the_fleet_s_health(world):
    def figures():
        with world.store.read() as connection:
            found = health(connection, world.clock.now_ms())
        return found.devices, found.seen, found.missing

    for phone in (world.phone(), world.phone()):
        phone.log_in(f"login:{phone.device_id}")
        phone.seq = 3
        phone.sync(phone.event())
    assert figures() == (2, 2, 6)
    revoke(world.store, "ada", phone.device_id)
    assert figures() == (1, 1, 3)


def test_a_revoked_device_is_told_so_and_what_it_sent_stays(world):
    phone, other = world.phone(), world.phone()
    phone.log_in("login:ada")
    phone.sync(phone.event())
    first = revoke(world.store, "ada", phone.device_id)
    world.pass_hours(1)
    assert revoke(world.store, "ada", phone.device_id) == first
    with pytest.raises(PermissionDenied, match="revoked"):
        phone.sync(phone.event())
    with pytest.raises(PermissionDenied, match="revoked"):
        world.wire.enrol(EnrolRequest(public_key=phone.key.public_key().public_bytes_raw()))
    assert census.count_events(world.store) == 1
    with world.store.read() as connection:
        entries = connection.execute(select(audit_log.c.actor, audit_log.c.action, audit_log.c.detail)).all()
    entries = [entry for entry in entries if entry.action != "opt_in"]
    assert {(entry.actor, entry.action) for entry in entries} == {("staff ada", "revoke_device")}
    assert all(phone.device_id in entry.detail for entry in entries)
    other.log_in("login:bob")
    assert other.sync(other.event()).verdicts[0].kind is VerdictKind.ACCEPTED
    with pytest.raises(UnknownError):
        revoke(world.store, "ada", "nobody")


def test_staff_revoke_over_http(http_world):
    phone = http_world.phone()
    path = f"/v1/devices/{phone.device_id}/revocation"
    post = http_world.wire.http.post
    assert post(path).status_code == 401
    assert post(path, headers={"authorization": "Bearer a-token-for-read-alone"}).status_code == 403
    staff = {"authorization": f"Bearer {STAFF_TOKEN}"}
    answer = post(path, headers=staff)
    assert codec.decode(answer.content, Revocation).device_id == phone.device_id
    assert post("/v1/devices/nobody/revocation", headers=staff).status_code == 404
    for target, body in (
        ("/v1/sync", codec.encode(phone.request())),
        ("/v1/rounds/x", codec.encode(RoundUpdate(task_id="x", delta=b""))),
    ):
        refused = http_world.wire.post(target, body, phone.device_id)
        assert refused.status_code == 403
        assert "revoked" in codec.decode(refused.content, Problem).detail


OPERATORS_OWN = """
import json

def good(request):
    said = json.loads(request.attestation)
    if said != {"key": request.public_key.hex(), "challenge": request.challenge, "app": "shop"}:
        return f"it is about {said.get('app')!r}, not about this app"
    return ""
"""


@pytest.fixture
def attestation_path(tmp_path, monkeypatch):
    """An operator's module, which this process and every server started from it can import."""
    (tmp_path / "operators_own.py").write_text(OPERATORS_OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "operators_own:good"


def said_by_platform(wanted: EnrolRequest, challenge: str, app: str = "shop") -> EnrolRequest:
    said = json.dumps({"key": wanted.public_key.hex(), "challenge": challenge, "app": app}).encode()
    return EnrolRequest(public_key=wanted.public_key, challenge=challenge, attestation=said)


def test_an_attestation_is_asked_for_over_a_challenge_and_judged(world, attestation_path):
    enrol, _ = with_settings(world, attestation=attestation_path)
    wanted, stranger = request(), request()
    with pytest.raises(NotAttested) as asked:
        enrol(wanted, "192.0.2.7")
    challenge = asked.value.challenge
    with pytest.raises(PermissionDenied, match="not about this app"):
        enrol(said_by_platform(wanted, challenge, app="another"), "192.0.2.7")
    with pytest.raises(NotAttested):  # a challenge that was given for another key
        enrol(said_by_platform(stranger, challenge), "192.0.2.7")
    assert enrol(said_by_platform(wanted, challenge), "192.0.2.7").device_id
    world.pass_hours(25)
    with pytest.raises(NotAttested):  # recorded, and sent again a day later
        enrol(said_by_platform(wanted, challenge), "192.0.2.7")
    with pytest.raises(AuthenticationError, match="staff token"):
        enrol(request(DeviceRole.TILL, staff_token=None), "192.0.2.7")


def test_a_challenge_comes_with_the_answer_that_asks_for_an_attestation(server_process, attestation_path):
    server_process.configure(attestation=attestation_path)
    post, wanted = server_process.start().wire.post, request()
    asked = post("/v1/devices", codec.encode(wanted))
    assert asked.status_code == 401
    challenge = asked.headers[CHALLENGE_HEADER]
    assert post("/v1/devices", codec.encode(said_by_platform(wanted, challenge, app="another"))).status_code == 403
    assert post("/v1/devices", codec.encode(said_by_platform(wanted, challenge))).status_code == 200


@pytest.mark.parametrize("path", ["", "nothing", "no.such.module:f", "json:nothing", "json:__name__", ":x"])
def test_a_path_that_names_no_function_is_refused(path):
    with pytest.raises(ConfigError, match=r"module:function|name a function"):
        attestation.load(path)
