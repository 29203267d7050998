"""The endpoints with which devices enrol and staff revoke them."""

import asyncio

from litestar import Request, Response, post

from contracts.codec import decode
from contracts.sync import EnrolRequest
from sync_server.enrolment import revoke
from sync_server.staff import Role, require
from sync_server.wire import JSON, answer, read_body


@post("/v1/devices")
async def enrol_device(request: Request) -> Response:
    state = request.app.state
    body = await read_body(request, state.settings.max_body_bytes)
    address = request.client.host if request.client else "unknown"

    def work() -> Response:
        wanted = decode(body.decoded(state.settings.max_decoded_bytes), EnrolRequest, body.format)
        return answer(state.enrol(wanted, address), request, body.format)

    return await asyncio.to_thread(work)


@post("/v1/devices/{device_id:str}/revocation", sync_to_thread=True)
def revoke_device(request: Request, device_id: str) -> Response:
    name = require(request, Role.INGEST)
    return answer(revoke(request.app.state.store, name, device_id), request, JSON)


ENROLMENT_ROUTES = (enrol_device, revoke_device)
