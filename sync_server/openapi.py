"""The OpenAPI 3.1 description of the service, made from the contracts' own types.

The endpoints decode their bodies by themselves (two formats, three codings, one error shape), which a framework cannot
see in their signatures.
"""

from importlib.metadata import version
from typing import Any

import msgspec

from contracts.bundle import Publication
from contracts.codec import FORMATS
from contracts.events import Event
from contracts.people import Forgotten, PersonExport, PersonRequest
from contracts.profile import ProfileRequest, ProfileResponse
from contracts.recommendations import RecommendationRequest, RecommendationResponse
from contracts.rounds import RoundReceipt, RoundUpdate
from contracts.sync import (
    CHALLENGE_HEADER,
    SIGNATURE_SCHEME,
    EnrolRequest,
    EnrolResponse,
    Problem,
    Revocation,
    SyncRequest,
    SyncResponse,
)
from contracts.unmerge import Lifted, Separation, UnmergeRequest, Why

PROBLEM_TYPE = "application/problem+json"  # RFC 9457
_PREFIX = "#/components/schemas/"
STAFF_SCHEME = "Staff"
_TYPES = (
    *(EnrolRequest, EnrolResponse, Revocation),
    *(PersonRequest, PersonExport, Forgotten),
    *(SyncRequest, SyncResponse, RoundUpdate, RoundReceipt, Event, Problem),
    *(RecommendationRequest, RecommendationResponse, ProfileRequest, ProfileResponse),
    *(UnmergeRequest, Separation, Lifted, Why, Publication),
)


def document(repository_path: str) -> dict[str, Any]:
    """The whole description, as the JSON object that `/schema` answers."""
    _, schemas = msgspec.json.schema_components(_TYPES, ref_template=_PREFIX + "{name}")
    schemas["SyncRequest"]["properties"]["events"]["items"] = {"$ref": _PREFIX + Event.__name__}
    schemas["EnrolRequest"]["properties"]["public_key"]["pattern"] = (
        "^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$"  # 32 bytes
    )
    return {
        "openapi": "3.1.0",
        "info": {"title": "pocketrec sync server", "version": version("pocketrec")},
        "paths": {
            "/v1/devices": {"post": _enrolment()},
            "/v1/devices/{device_id}/revocation": {
                "parameters": [_path("device_id")],
                "post": _post("Revoke a device; needs the role `ingest`", None, Revocation, by=STAFF_SCHEME),
            },
            "/v1/people/export": {"post": _post("All that is held about a person", PersonRequest, PersonExport)},
            "/v1/people/erase": {"post": _post("Forget a person", PersonRequest, Forgotten)},
            "/v1/people/{handle}/export": {
                "parameters": [_path("handle")],
                "post": _post("Export a person; needs the role `erase`", None, PersonExport, by=STAFF_SCHEME),
            },
            "/v1/people/{handle}/erase": {
                "parameters": [_path("handle")],
                "post": _post("Forget a person; needs the role `erase`", None, Forgotten, by=STAFF_SCHEME),
            },
            "/v1/sync": {"post": _post("A whole sync in one request", SyncRequest, SyncResponse)},
            "/v1/recommendations": {
                "post": _post("What a person may want now", RecommendationRequest, RecommendationResponse)
            },
            "/v1/profile": {"post": _post("What is known of a person", ProfileRequest, ProfileResponse)},
            "/v1/bundles": {"post": _publication()},
            "/v1/people/unmerge": {
                "post": _post(
                    "Keep two sides apart; needs the role `erase`", UnmergeRequest, Separation, by=STAFF_SCHEME
                )
            },
            "/v1/people/separations/{number}/lift": {
                "parameters": [_path("number")],
                "post": _post("Let links count again; needs the role `erase`", None, Lifted, by=STAFF_SCHEME),
            },
            "/v1/people/why": {
                "parameters": [_query("one"), _query("other")],
                "get": _get("Why two owners are one person; needs the role `read`", _content(Why), by=STAFF_SCHEME),
            },
            "/v1/rounds/{task_id}": {
                "parameters": [_path("task_id")],
                "post": _post("Hand in the update of a federated round", RoundUpdate, RoundReceipt),
            },
            f"{repository_path}/{{file}}": {
                "parameters": [_path("file")],
                "get": _get("A file of the TUF repository", {"application/octet-stream": {}}),
            },
            "/healthz": {"get": _get("The process answers", {"application/json": {}})},
            "/readyz": {"get": _get("The store answers", {"application/json": {}})},
            "/metrics": {"get": _metrics()},
            "/schema": {"get": _get("This description", {"application/json": {}})},
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                SIGNATURE_SCHEME: {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": f"`{SIGNATURE_SCHEME} <device_id>.<challenge>.<base64url Ed25519 signature>`; the "
                    f"challenge is the newest that an answer carried in the header `{CHALLENGE_HEADER}`, and the "
                    "signature is over five lines: the scheme, the method, the path, the challenge, and the SHA-256 of "
                    "the body as sent, in hexadecimal",
                },
                STAFF_SCHEME: {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "a token of the staff; the operation's summary names the role that it needs",
                },
            },
        },
    }


def _enrolment() -> dict[str, Any]:
    operation = _post("Enrol a device's key", EnrolRequest, EnrolResponse, by=None)
    said = {
        "401": "a device of the shop without a token of the staff, or a device without an attestation where the server "
        f"asks for one: attest the challenge in the header `{CHALLENGE_HEADER}`",
        "403": "the token lacks the role `ingest`, or the attestation is refused, or the device was revoked",
        "429": "the quota of this address, or of who lets the device in, is used up for this hour",
    }
    for status, description in said.items():
        operation["responses"][status] = operation["responses"]["default"] | {"description": description}
    return operation


def _publication() -> dict[str, Any]:
    said = "Hand in a publication: a tar of the TUF repository's metadata/ and targets/; needs the role `publish`"
    operation = _post(said, None, Publication, by=STAFF_SCHEME)
    operation["requestBody"] = {"required": True, "content": {"application/x-tar": {}}}
    operation["responses"] = _responses(_content(Publication), STAFF_SCHEME, takes_body=True)
    return operation


def _post(summary: str, takes: type | None, answers: type, *, by: str | None = SIGNATURE_SCHEME) -> dict[str, Any]:
    """An operation.

    Args:
        takes: the body's type; None where there is none.
        answers: the answer's type.
        by: who may ask, one of the security schemes; None for everybody.
    """
    operation: dict[str, Any] = {"summary": summary, "responses": _responses(_content(answers), by, takes is not None)}
    if takes is not None:
        operation["requestBody"] = {"required": True, "content": _content(takes)}
    return operation | ({"security": [{by: []}]} if by else {})


def _metrics() -> dict[str, Any]:
    content = {"text/plain": {"schema": {"type": "string"}}}
    responses = _responses(content, STAFF_SCHEME, takes_body=False)
    summary = "What Prometheus reads, of all workers; needs the role `metrics`"
    return {"summary": summary, "responses": responses, "security": [{STAFF_SCHEME: []}]}


def _get(summary: str, content: dict[str, Any], by: str | None = None) -> dict[str, Any]:
    operation = {"summary": summary, "responses": _responses(content, by, False)}
    return operation | {"security": [{by: []}]} if by else operation


def _responses(content: dict[str, Any], by: str | None, takes_body: bool) -> dict[str, Any]:
    said = {"default": "not done; the detail says what to do"}
    if takes_body:
        said |= {"400": "the body is malformed", "413": "the body is beyond the limit that the detail names"}
    if by:
        said |= {"401": "nobody has proven who asks", "403": "who asks may not do this"}
    if by == SIGNATURE_SCHEME:
        said["429"] = "the device asks too often: `Retry-After` says when to come back"
    problem = {PROBLEM_TYPE: {"schema": {"$ref": _PREFIX + Problem.__name__}}}
    problems = {status: {"description": description, "content": problem} for status, description in said.items()}
    return {"200": {"description": "done", "content": content}} | problems


def _path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query(name: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": True, "schema": {"type": "string"}}


def _content(type_: type) -> dict[str, Any]:
    return {format: {"schema": {"$ref": _PREFIX + type_.__name__}} for format in FORMATS}
