"""The OpenAPI 3.1 description of the service, made from the contracts' own types.

The endpoints decode their bodies by themselves (two formats, three codings, one error shape), which a framework cannot
see in their signatures.
"""

from importlib.metadata import version
from typing import Any

import msgspec

from contracts.codec import FORMATS
from contracts.events import Event
from contracts.rounds import RoundReceipt, RoundUpdate
from contracts.sync import (
    CHALLENGE_HEADER,
    SIGNATURE_SCHEME,
    EnrolRequest,
    EnrolResponse,
    Problem,
    SyncRequest,
    SyncResponse,
)

PROBLEM_TYPE = "application/problem+json"  # RFC 9457
_PREFIX = "#/components/schemas/"
_TYPES = (EnrolRequest, EnrolResponse, SyncRequest, SyncResponse, RoundUpdate, RoundReceipt, Event, Problem)


def document(repository_path: str) -> dict[str, Any]:
    """The whole description, as the JSON object that `/schema` answers."""
    _, schemas = msgspec.json.schema_components(_TYPES, ref_template=_PREFIX + "{name}")
    schemas["SyncRequest"]["properties"]["events"]["items"] = {"$ref": _PREFIX + Event.__name__}
    task_id = {"name": "task_id", "in": "path", "required": True, "schema": {"type": "string"}}
    file = {"name": "file", "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "pocketrec sync server", "version": version("pocketrec")},
        "paths": {
            "/v1/devices": {"post": _post("Enrol a device's key", EnrolRequest, EnrolResponse, signed=False)},
            "/v1/sync": {"post": _post("A whole sync in one request", SyncRequest, SyncResponse)},
            "/v1/rounds/{task_id}": {
                "parameters": [task_id],
                "post": _post("Hand in the update of a federated round", RoundUpdate, RoundReceipt),
            },
            f"{repository_path}/{{file}}": {
                "parameters": [file],
                "get": _get("A file of the TUF repository", {"application/octet-stream": {}}),
            },
            "/healthz": {"get": _get("The process answers", {"application/json": {}})},
            "/readyz": {"get": _get("The store answers", {"application/json": {}})},
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
                }
            },
        },
    }


def _post(summary: str, takes: type, answers: type, *, signed: bool = True) -> dict[str, Any]:
    operation = {
        "summary": summary,
        "requestBody": {"required": True, "content": _content(takes)},
        "responses": _responses(_content(answers)),
    }
    return operation | {"security": [{SIGNATURE_SCHEME: []}]} if signed else operation


def _get(summary: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"summary": summary, "responses": _responses(content)}


def _responses(content: dict[str, Any]) -> dict[str, Any]:
    problem = {PROBLEM_TYPE: {"schema": {"$ref": _PREFIX + Problem.__name__}}}
    return {
        "200": {"description": "done", "content": content},
        "default": {"description": "not done; the detail says what to do", "content": problem},
    }


def _content(type_: type) -> dict[str, Any]:
    return {format: {"schema": {"$ref": _PREFIX + type_.__name__}} for format in FORMATS}
