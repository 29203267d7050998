"""The service over real HTTP: what it takes, and how it says no."""

import base64
import gzip
import re
import socket
import time
from pathlib import Path

import httpx
import msgspec
import pytest
import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contracts import codec
from contracts.bundle import BundleTarget
from contracts.identity import DeviceRole
from contracts.rounds import RoundReceipt, RoundUpdate
from contracts.sync import EnrolRequest, Problem, SyncRequest, SyncResponse, VerdictKind, signed_bytes
from sync_server import openapi
from sync_server.app import create_app


def problem(response: httpx.Response, status: int) -> str:
    """The detail of an answer that must be a Problem with this status."""
    assert response.headers["content-type"] == "application/problem+json"
    body = codec.decode(response.content, Problem)
    assert (response.status_code, body.status) == (status, status), body
    return body.detail


def kinds(response: SyncResponse) -> list[VerdictKind]:
    return [verdict.kind for verdict in response.verdicts]


@pytest.fixture
def publish():
    """Write what of a TUF repository the server reads: unsigned, for only phones verify signatures."""

    def write(repository, targets, timestamp):
        metadata, files = Path(repository, "metadata"), Path(repository, "targets")
        metadata.mkdir(parents=True, exist_ok=True)
        listed = {}
        for path, data in targets.items():
            (files / path).parent.mkdir(parents=True, exist_ok=True)
            (files / path).write_bytes(data)
            version = int(re.findall(r"\d+", path)[0])
            custom = BundleTarget(kind="bundle", version=version, unpacked_sha256="0" * 64, unpacked_bytes=1)
            listed[path] = {"custom": msgspec.to_builtins(custom)}
        named = {
            f"{timestamp}.targets.json": {"targets": listed},
            f"{timestamp}.snapshot.json": {"meta": {"targets.json": {"version": timestamp}}},
            "timestamp.json": {"meta": {"snapshot.json": {"version": timestamp}}},
        }
        for name, signed in named.items():
            (metadata / name).write_bytes(msgspec.json.encode({"signed": signed}))

    return write


@pytest.mark.parametrize("format", codec.FORMATS)
def test_a_sync_in_both_formats(http_world, format):
    phone = http_world.phone()
    phone.log_in(f"login:{phone.device_id}")
    answer = phone.sync(phone.event(), phone.event("bread"), format=format, owner=phone.owner)
    assert kinds(answer) == [VerdictKind.ACCEPTED] * 2
    assert (answer.watermark, answer.gaps, answer.epoch) == (1, (), phone.epoch)
    assert answer.profile is not None
    assert set(answer.profile.items) == {"milk", "bread"}


@pytest.mark.parametrize(("coding", "compress"), [("zstd", zstandard.compress), ("gzip", gzip.compress)])
def test_compressed_bodies_are_signed_as_sent(http_world, coding, compress):
    phone = http_world.phone()
    body = compress(codec.encode(phone.request()))
    assert http_world.wire.post("/v1/sync", body, phone.device_id, **{"content-encoding": coding}).status_code == 200


def test_a_large_answer_is_compressed_for_those_who_take_it(http_world):
    phone = http_world.phone()
    phone.log_in(f"login:{phone.device_id}")
    phone.sync(*(phone.event(f"item-{number}") for number in range(200)))
    body = codec.encode(phone.request(owner=phone.owner))
    plain = http_world.wire.post("/v1/sync", body, phone.device_id, **{"accept-encoding": "identity"})
    packed = http_world.wire.post("/v1/sync", body, phone.device_id, **{"accept-encoding": "zstd"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "zstd"
    unpacked = packed.content if packed.content[:1] == b"{" else zstandard.decompress(packed.content)
    assert codec.decode(unpacked, SyncResponse).profile == codec.decode(plain.content, SyncResponse).profile


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "truncated"),
        (b"", "truncated"),
        (b"[]", "Expected `object`"),
        (b'{"device_id": NaN}', "malformed"),
        (b'{"device_id": "\xff"}', "codec can't decode"),
        (b'{"device_id": "x"}', "missing required field `epoch`"),
    ],
)
def test_bad_json_is_a_problem_that_says_where(http_world, body, says):
    phone = http_world.phone()
    assert says in problem(http_world.wire.post("/v1/sync", body, phone.device_id), 400)


def test_bad_messagepack_is_a_problem(http_world):
    phone = http_world.phone()
    for body in (b"\xc1", b"\x81"):
        problem(http_world.wire.post("/v1/sync", body, phone.device_id, **{"content-type": "application/msgpack"}), 400)


def test_unknown_formats_and_codings_are_named(http_world):
    phone = http_world.phone()
    body = codec.encode(phone.request())
    post = http_world.wire.post
    assert "text/plain" in problem(post("/v1/sync", body, phone.device_id, **{"content-type": "text/plain"}), 400)
    assert "br" in problem(post("/v1/sync", body, phone.device_id, **{"content-encoding": "br"}), 400)
    for coding in ("zstd", "gzip"):
        assert "damaged" in problem(post("/v1/sync", body, phone.device_id, **{"content-encoding": coding}), 400)
    cut = gzip.compress(body)[:-9]
    assert "cut short" in problem(post("/v1/sync", cut, phone.device_id, **{"content-encoding": "gzip"}), 400)


def test_a_wrong_signature_an_unknown_device_and_another_devices_body(http_world):
    phone, other = http_world.phone(), http_world.phone()
    body = codec.encode(phone.request())
    post, keys = http_world.wire.post, http_world.wire.keys
    assert "Authorization" in problem(post("/v1/sync", body), 401)
    keys["nobody"] = keys["a.b"] = Ed25519PrivateKey.generate()
    assert "not enrolled" in problem(post("/v1/sync", body, "nobody"), 401)
    assert "not enrolled" in problem(post("/v1/sync", body, "a.b"), 401)
    right, keys[phone.device_id] = keys[phone.device_id], keys["nobody"]
    assert "signature" in problem(post("/v1/sync", body, phone.device_id), 401)
    keys[phone.device_id] = right
    assert "signed a request of" in problem(post("/v1/sync", body, other.device_id), 403)
    challenge = http_world.wire.challenges[phone.device_id]
    signed = f"PocketrecDevice {phone.device_id}.{challenge}.no-base64!"
    headers = {"authorization": signed, "content-type": "application/json"}
    problem(http_world.wire.http.post("/v1/sync", content=body, headers=headers), 401)


def test_a_signature_is_good_for_one_request_to_one_address(http_world):
    phone, other = http_world.phone(), http_world.phone()
    wire, body = http_world.wire, codec.encode(phone.request())

    def sent(path: str, challenge: str, signed_path: str = "/v1/sync") -> httpx.Response:
        signature = phone.key.sign(signed_bytes("POST", signed_path, challenge, body))
        encoded = base64.urlsafe_b64encode(signature).decode().rstrip("=")
        headers = {"authorization": f"PocketrecDevice {phone.device_id}.{challenge}.{encoded}"}
        return wire.http.post(path, content=body, headers={"content-type": "application/json", **headers})

    challenge = wire.challenges[phone.device_id]
    assert sent("/v1/sync", challenge).is_success
    assert "signature" in problem(sent("/v1/rounds/x", challenge), 401)
    assert "none of this server's" in problem(sent("/v1/sync", wire.challenges[other.device_id]), 401)
    assert "none of this server's" in problem(sent("/v1/sync", "invented"), 401)


def test_an_old_challenge_is_answered_with_a_new_one(http_world):
    phone = http_world.phone()
    http_world.pass_hours(25)
    body, post = codec.encode(phone.request()), http_world.wire.post
    assert "older than 24 hours" in problem(post("/v1/sync", body, phone.device_id), 401)
    assert post("/v1/sync", body, phone.device_id).is_success


def test_an_event_without_key_is_set_aside_alone(http_world):
    phone = http_world.phone()
    phone.log_in(f"login:{phone.device_id}")
    without_key = msgspec.Raw(b'{"type": "purchase", "owner": "login:x"}')
    answer = phone.sync(phone.event(), without_key, phone.event())
    assert kinds(answer) == [VerdictKind.ACCEPTED, VerdictKind.QUARANTINED, VerdictKind.ACCEPTED]
    assert "device_id" in answer.verdicts[1].reason
    assert answer.watermark == 1


def test_a_poisoned_event_in_messagepack_is_set_aside_alone(http_world):
    phone = http_world.phone()
    phone.log_in(f"login:{phone.device_id}")
    poison = msgspec.to_builtins(phone.event())
    nan = msgspec.Raw(msgspec.msgpack.encode(poison | {"quantity": float("nan")}))
    answer = phone.sync(nan, phone.event(), format="application/msgpack")
    assert kinds(answer) == [VerdictKind.QUARANTINED, VerdictKind.ACCEPTED]


def test_a_till_needs_the_staffs_token(http_world):
    key = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    for token in (None, "wrong", "ÿ"):
        body = codec.encode(EnrolRequest(public_key=key, role=DeviceRole.TILL, staff_token=token))
        assert "staff" in problem(http_world.wire.post("/v1/devices", body), 401)


def test_enrolling_again_keeps_the_device_and_moves_its_epoch(http_world):
    phone = http_world.phone()
    public_key = phone.key.public_key().public_bytes_raw()
    again = http_world.wire.enrol(EnrolRequest(public_key=public_key))
    assert (again.device_id, again.epoch, again.generation) == (phone.device_id, phone.epoch + 1, phone.generation)


def test_unknown_addresses_and_methods_are_problems_too(http_world):
    problem(http_world.wire.http.get("/v1/nothing"), 404)
    for answer in (http_world.wire.http.get("/v1/sync"), http_world.wire.http.put("/v1/sync", content=b"{}")):
        problem(answer, 405)
        assert "POST" in answer.headers["allow"]
    problem(http_world.wire.http.get("/repository/metadata/1.root.json"), 404)
    problem(http_world.wire.http.get("/repository/..%2f..%2fsettings.json"), 404)


def test_a_request_that_ends_in_mid_body_fails_nothing(http_world, staff_tokens):
    def answered(status: str) -> float:
        headers = {"authorization": f"Bearer {staff_tokens['metrics']}"}
        text = http_world.wire.http.get("/metrics", headers=headers).text
        counted = re.findall(rf'pocketrec_requests_total{{.*status="{status}"}} (\S+)', text)
        return sum(map(float, counted))

    refused, failed = answered("400"), answered(r"5\d\d")
    url = http_world.wire.http.base_url
    for path in ("/v1/sync", "/v1/devices", "/v1/bundles"):
        with socket.create_connection((url.host, url.port)) as connection:
            token = f"authorization: Bearer {staff_tokens['publish']}"
            lines = (f"POST {path} HTTP/1.1", f"host: {url.host}", token, "content-length: 100", "", "{")
            connection.sendall("\r\n".join(lines).encode())
    deadline = time.monotonic() + 30
    while answered("400") < refused + 3:
        assert time.monotonic() < deadline, "a request that was cut off is still waited for"
        time.sleep(0.02)
    assert answered(r"5\d\d") == failed


def test_health_readiness_and_description(http_world):
    http = http_world.wire.http
    assert http.get("/healthz").json() == {"status": "ok"}
    assert http.get("/readyz").json()["status"] == "ready"
    described = http.get("/schema").json()
    assert described == msgspec.json.decode(codec.encode(openapi.document("/repository")))
    assert set(re.findall(r"#/components/schemas/(\w+)", http.get("/schema").text)) <= set(
        described["components"]["schemas"]
    )
    for path, operations in described["paths"].items():
        for method in set(operations) & {"get", "post"}:
            answer = http.request(method, re.sub(r"{\w+}", "none", path))
            assert answer.status_code != 405


def test_the_repository_is_served_and_its_newest_bundle_offered(http_world, publish):
    phone = http_world.phone()
    assert phone.sync().bundle is None
    publish(http_world.settings.repository, {"bundles/7.tar.zst": b"seven", "bundles/8.tar.zst": b"eight"}, timestamp=1)
    offer = phone.sync(bundle_version=7).bundle
    assert offer is not None
    assert (offer.version, offer.repository) == (8, "/repository")
    assert phone.sync(bundle_version=8).bundle is None
    served = http_world.wire.http.get(f"{offer.repository}/targets/bundles/8.tar.zst")
    assert served.content == b"eight"
    assert "content-encoding" not in served.headers  # or a client would unpack it before it checks the hash
    publish(http_world.settings.repository, {"bundles/9.tar.zst": b"nine"}, timestamp=2)
    assert phone.sync(bundle_version=8).bundle.version == 9


def test_a_round_is_answered_over_http(http_world):
    phone = http_world.phone()
    body = codec.encode(RoundUpdate(task_id="unknown", delta=b""))
    answer = http_world.wire.post("/v1/rounds/unknown", body, phone.device_id)
    assert not codec.decode(answer.content, RoundReceipt).accepted
    assert "another task" in problem(http_world.wire.post("/v1/rounds/other", body, phone.device_id), 400)
    problem(http_world.wire.post("/v1/rounds/unknown", body), 401)


def test_the_description_names_every_endpoint_of_the_service(http_world):
    routes = {re.sub(r":\w+}", "}", route.path) for route in create_app(http_world.settings).routes}
    described = {path.replace("{file}", "{file_path}") for path in openapi.document("/repository")["paths"]}
    assert described == {route for route in routes if not route.startswith("/staff")}  # a page for people


def test_decades_from_now_a_weight_still_fits_messagepack(http_world):
    phone = http_world.phone()
    phone.log_in(f"login:{phone.device_id}")
    now = http_world.clock.time_ms
    try:
        http_world.pass_hours(24 * 365 * 40)
        phone.sync(phone.event())
        answer = phone.sync(owner=phone.owner, format="application/msgpack")
        assert answer.profile is not None
        assert max(answer.profile.items["milk"].weights)[1] < 2**32
    finally:
        http_world.clock.time_ms = now


def test_a_request_type_is_what_the_contract_says(http_world):
    """No endpoint invents a body of its own."""
    paths = openapi.document("/repository")["paths"]
    taken = {name: paths[name]["post"]["requestBody"]["content"] for name in ("/v1/devices", "/v1/sync")}
    for name, type_ in (("/v1/devices", EnrolRequest), ("/v1/sync", SyncRequest)):
        for format in codec.FORMATS:
            assert taken[name][format]["schema"]["$ref"].endswith(type_.__name__)
