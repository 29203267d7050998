"""The service against its own description: whatever the schema allows, and whatever it does not, nothing is a 5xx."""

import base64
import gzip
import io
import tarfile
from urllib.parse import unquote

import msgspec
import pytest
import requests
import schemathesis
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from contracts import codec
from contracts.events import EventType
from contracts.sync import SIGNATURE_SCHEME, Problem, signed_bytes
from sync_server import openapi

API = schemathesis.openapi.from_dict(msgspec.json.decode(codec.encode(openapi.document("/repository"))))
OPERATIONS = [found.ok() for found in API.get_all_operations()]
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 15  # of an operation
JSON, MESSAGEPACK = codec.FORMATS
STAFF_TOKEN = "a-staff-token-of-the-tests"


@schemathesis.serializer(MESSAGEPACK)
def as_messagepack(ctx, value):
    try:
        return msgspec.msgpack.encode(value)
    except OverflowError:  # MessagePack has no such integer
        return msgspec.json.encode(value)


@schemathesis.serializer("application/x-tar")
def as_tar(ctx, value):
    data, upload = msgspec.json.encode(value), io.BytesIO()
    with tarfile.open(fileobj=upload, mode="w") as tar:
        member = tarfile.TarInfo("metadata/timestamp.json")
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
    return upload.getvalue()


class Credentials(requests.auth.AuthBase):
    """Signs or identifies a request as its operation's security scheme asks."""

    def __init__(self, world, phone, security: list[dict]) -> None:
        self._world, self._phone = world, phone
        self._schemes = {name for one in security for name in one}

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        body = request.body or b""
        sent = body.encode() if isinstance(body, str) else body
        if SIGNATURE_SCHEME in self._schemes:
            challenge = self._world.wire.challenges[self._phone.device_id]
            path = unquote(request.path_url.partition("?")[0])
            signature = self._phone.key.sign(signed_bytes(request.method, path, challenge, sent))
            encoded = base64.urlsafe_b64encode(signature).decode().rstrip("=")
            request.headers["authorization"] = f"{SIGNATURE_SCHEME} {self._phone.device_id}.{challenge}.{encoded}"
        elif self._schemes:
            request.headers["authorization"] = f"Bearer {STAFF_TOKEN}"
        return request


@pytest.fixture(scope="module")
def phone(http_world):
    phone = http_world.phone()
    phone.log_in(f"login:{phone.device_id}")
    return phone


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_operation_answers_as_it_says(http_world, phone, operation, data):
    """Half of the requests speak for the device that signs them: without that, none would come further."""
    case = data.draw(operation.as_strategy(generation_mode=data.draw(st.sampled_from(GenerationMode))))
    if isinstance(case.body, dict) and "device_id" in case.body and data.draw(st.booleans()):
        mine = {"device_id": phone.device_id, "epoch": phone.epoch, "generation": phone.generation}
        case.body = case.body | mine
    credentials = Credentials(http_world, phone, operation.definition.raw.get("security", []))
    case.call_and_validate(base_url=str(http_world.wire.http.base_url), auth=credentials, checks=CHECKS)


def operations(world):
    for path, methods in openapi.document(world.settings.repository_path)["paths"].items():
        for method in methods.keys() & {"get", "post", "put", "delete"}:
            yield method, path.replace("{", "").replace("}", ""), methods[method]


def test_what_needs_credentials_is_401_without_and_403_for_whom_lacks_the_role(http_world):
    asked = 0
    for method, path, operation in operations(http_world):
        schemes = {name for one in operation.get("security", []) for name in one}
        if not schemes:
            continue
        asked += 1
        for header in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"{SIGNATURE_SCHEME} a.b.c"}):
            answer = http_world.wire.http.request(method, path, headers=header)
            assert answer.status_code == 401, (method, path, answer.text)
            assert codec.decode(answer.content, Problem).status == 401
        if openapi.STAFF_SCHEME in schemes:
            roles = [
                role
                for role in ("ingest", "read", "erase", "publish", "metrics")
                if f"`{role}`" in operation["summary"]
            ]
            assert roles, f"{path} does not name the role that it needs"
            lacking = {"read": "ingest"}.get(roles[0], "read")
            header = {"authorization": f"Bearer a-token-for-{lacking}-alone"}
            assert http_world.wire.http.request(method, path, headers=header).status_code == 403, (method, path)
    assert asked


def test_every_schema_that_is_named_is_there(http_world):
    text = http_world.wire.http.get("/schema").text
    described = msgspec.json.decode(text)
    named = set()

    def collect(value) -> None:
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                named.add(value["$ref"].removeprefix("#/components/schemas/"))
            for inner in value.values():
                collect(inner)
        elif isinstance(value, list):
            for inner in value:
                collect(inner)

    collect(described)
    assert described["openapi"].startswith("3.1")
    assert named <= set(described["components"]["schemas"])
    secured = {name for *_, one in operations(http_world) for each in one.get("security", []) for name in each}
    assert secured <= set(described["components"]["securitySchemes"])


@pytest.fixture(scope="module")
def whole(phone) -> bytes:
    return codec.encode(phone.request(phone.event(), phone.event(type=EventType.VIEW)))


def nearly_bodies(whole: bytes):
    """A request's bytes, damaged: some overwritten, cut out, doubled; or any bytes at all."""
    packed = msgspec.msgpack.encode(msgspec.json.decode(whole))
    place = st.integers(0, len(packed))
    damaged = st.builds(
        lambda body, start, end, inside: body[:start] + inside + body[end:],
        st.sampled_from([whole, packed]),
        place,
        place,
        st.binary(max_size=8),
    )
    return damaged | st.binary(max_size=200)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_bytes_break_an_endpoint(http_world, phone, whole, data):
    body = data.draw(nearly_bodies(whole))
    coding, compress = data.draw(
        st.sampled_from(
            [("", bytes), ("gzip", gzip.compress), ("zstd", zstandard.compress), ("gzip", bytes), ("br", bytes)]
        )
    )
    posts = [path for method, path, _ in operations(http_world) if method == "post"]
    path, format = data.draw(st.sampled_from(posts)), data.draw(st.sampled_from(codec.FORMATS))
    headers = {"content-type": format} | ({"content-encoding": coding} if coding else {})
    answer = http_world.wire.post(path, compress(body), phone.device_id, **headers)
    assert answer.status_code < 500, answer.text
    if not answer.is_success:
        assert codec.decode(answer.content, Problem).status == answer.status_code
