"""Who of the staff may do what: a token that nobody holds is 401, a role that is lacking 403."""

import hashlib
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contracts.errors import AuthenticationError, PermissionDenied
from contracts.identity import DeviceRole
from contracts.sync import EnrolRequest
from sync_server.staff import Member, Role, actor, require, token_digest

STAFF = {
    "ada": Member(token_sha256=hashlib.sha256(b"ada's token").hexdigest(), roles=frozenset({Role.READ, Role.ERASE})),
    "bob": Member(token_sha256=hashlib.sha256(b"bob's token").hexdigest(), roles=frozenset({Role.INGEST})),
}


def with_header(authorization: str | None) -> SimpleNamespace:
    """What of a request `require` reads."""
    state = SimpleNamespace(settings=SimpleNamespace(staff=STAFF))
    headers = {} if authorization is None else {"authorization": authorization}
    return SimpleNamespace(app=SimpleNamespace(state=state), headers=headers)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("name", STAFF)
def test_a_token_opens_exactly_its_roles(name, role):
    if role in STAFF[name].roles:
        assert actor(STAFF, f"{name}'s token", role) == name
        assert require(with_header(f"Bearer {name}'s token"), role) == name
    else:
        with pytest.raises(PermissionDenied, match=f"{name} lacks the role {role}"):
            actor(STAFF, f"{name}'s token", role)


@pytest.mark.parametrize("token", [None, "", "wrong", "ÿ", "\ud800".encode("utf-8", "replace").decode()])
def test_an_unknown_token_is_nobody(token):
    with pytest.raises(AuthenticationError, match="role read"):
        actor(STAFF, token, Role.READ)
    with pytest.raises(AuthenticationError):
        actor({}, token, Role.READ)


def test_the_digest_in_the_settings_is_no_token():
    with pytest.raises(AuthenticationError):
        actor(STAFF, STAFF["ada"].token_sha256, Role.READ)
    assert token_digest("ada's token") == STAFF["ada"].token_sha256


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic ada's token", "ada's token"])
def test_a_header_without_a_bearer_token_is_refused(header):
    with pytest.raises(AuthenticationError, match="role read"):
        require(with_header(header), Role.READ)


def test_a_device_of_the_shop_enrols_with_the_role_ingest(world):
    def enrol(token: str | None):
        key = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
        return world.wire.enrol(EnrolRequest(public_key=key, role=DeviceRole.TILL, staff_token=token))

    assert enrol("a-token-for-ingest-alone").device_id
    with pytest.raises(PermissionDenied, match="lacks the role ingest"):
        enrol("a-token-for-read-alone")
    with pytest.raises(AuthenticationError):
        enrol(None)
