"""The endpoints of a person's rights: export and erasure, for the person and for staff who act for them."""

import asyncio
from collections.abc import Callable

from litestar import Request, Response, post

from contracts.codec import decode
from contracts.errors import UnknownError
from contracts.people import Forgotten, PersonExport, PersonRequest
from sync_server import devices, erasure, people, person_export
from sync_server.signed import challenged, signer
from sync_server.staff import Role, require
from sync_server.turn import Turn, take_turn
from sync_server.wire import JSON, answer, read_body

NOBODY = "nothing is held about this person: there is nothing to do"

Act = Callable[[Request, Turn, int, str], PersonExport | Forgotten]
"""What is done for a person (the id) by an actor."""


def _export(request: Request, turn: Turn, person_id: int, actor: str) -> PersonExport:
    return person_export.export(turn, person_id, actor)


def _erase(request: Request, turn: Turn, person_id: int, actor: str) -> Forgotten:
    state = request.app.state
    done = erasure.erase(turn, state.journal, state.store.generation, person_id, actor)
    return Forgotten(erased_at=done.erased_at, owners=len(done.handles))


async def _by_person(request: Request, act: Act) -> Response:
    """Do it for whoever proves, on a device that signs the request, to be the person."""
    state = request.app.state
    body = await read_body(request, state.settings.max_body_bytes)

    def work() -> Response:
        device_id = devices.find(state.store, signer(request, body).device_id).device_id
        wanted = decode(body.decoded(state.settings.max_decoded_bytes), PersonRequest, body.format)
        settings, now_ms = state.settings, state.store.now_ms()
        (claims,) = settings.issuer.verify_fetching([wanted.identity_token], now_ms)
        with take_turn(state.store) as turn:
            owner = people.look_up(turn, [claims.sub]).get(claims.sub)
            if owner is None:
                raise UnknownError(NOBODY)
            done = act(request, turn, owner.person_id, f"owner on device {device_id}")
        return challenged(request, answer(done, request, body.format))

    return await asyncio.to_thread(work)


def _by_staff(request: Request, act: Act, role: Role, handle: str) -> Response:
    actor = f"staff {require(request, role)}"
    with take_turn(request.app.state.store) as turn:
        person_id = people.person_of(turn.connection, handle)
        if person_id is None:
            raise UnknownError(NOBODY)
        done = act(request, turn, person_id, actor)
    return answer(done, request, JSON)


@post("/v1/people/export")
async def export_me(request: Request) -> Response:
    return await _by_person(request, _export)


@post("/v1/people/erase")
async def erase_me(request: Request) -> Response:
    return await _by_person(request, _erase)


@post("/v1/people/{handle:str}/export", sync_to_thread=True)
def export_person(request: Request, handle: str) -> Response:
    return _by_staff(request, _export, Role.ERASE, handle)


@post("/v1/people/{handle:str}/erase", sync_to_thread=True)
def erase_person(request: Request, handle: str) -> Response:
    return _by_staff(request, _erase, Role.ERASE, handle)


RIGHTS_ROUTES = (export_me, erase_me, export_person, erase_person)
