"""The endpoints of a person's rights: export and erasure, for the person and for staff who act for them."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from litestar import Request, Response, post

from contracts.codec import decode
from contracts.errors import AuthenticationError, UnknownError
from contracts.people import Forgotten, PersonExport, PersonRequest
from sync_server import devices, erasure, people, person_export
from sync_server.people import Owner
from sync_server.signed import challenged, signer
from sync_server.staff import Role, require
from sync_server.turn import Turn, take_turn
from sync_server.wire import JSON, answer, read_body

NOBODY = "nothing is held about this person: there is nothing to do"
EARLIER = "this person was erased since the challenge was given: sign again, with the challenge in this answer's header"


@dataclass(frozen=True)
class Asked:
    """A request of a person's own, proven."""

    owner: Owner | None  # None if nobody is known by that name
    actor: str
    key: str  # see `sync_server.erasure.request_key`
    challenged_at: int  # since when it was made, milliseconds since 1970


def _export(request: Request, turn: Turn, person_id: int, actor: str) -> PersonExport:
    return person_export.export(turn, person_id, actor)


def _erase(request: Request, turn: Turn, person_id: int, actor: str, key: str = "") -> Forgotten:
    state = request.app.state
    done = erasure.erase(turn, state.journal, state.store.generation, person_id, actor, key)
    return Forgotten(erased_at=done.erased_at, owners=len(done.handles))


def _export_me(request: Request, turn: Turn, asked: Asked) -> PersonExport:
    if asked.owner is None:
        raise UnknownError(NOBODY)
    return _export(request, turn, asked.owner.person_id, asked.actor)


def _erase_me(request: Request, turn: Turn, asked: Asked) -> Forgotten:
    """Whoever came back is not who a request of before was about, whether it comes again or was held back."""
    if (done := erasure.answered(turn.connection, asked.key)) is not None:
        return done
    if asked.owner is None:
        raise UnknownError(NOBODY)
    if asked.owner.not_before >= asked.challenged_at:
        raise AuthenticationError(EARLIER)
    return _erase(request, turn, asked.owner.person_id, asked.actor, asked.key)


async def _by_person(request: Request, act: Callable[[Request, Turn, Asked], PersonExport | Forgotten]) -> Response:
    """Do it for whoever proves, on a device that signs the request, to be the person."""
    state = request.app.state
    body = await read_body(request, state.settings.max_body_bytes)

    def work() -> Response:
        signed = signer(request, body)
        device_id = devices.find(state.store, signed.device_id).device_id
        wanted = decode(body.decoded(state.settings.max_decoded_bytes), PersonRequest, body.format)
        settings, now_ms = state.settings, state.store.now_ms()
        (claims,) = settings.issuer.verify_fetching([wanted.identity_token], now_ms)
        key = erasure.request_key(device_id, wanted.request_id.encode() or signed.challenge.encode() + body.sent)
        with take_turn(state.store) as turn:
            owner = people.look_up(turn, [claims.sub]).get(claims.sub)
            asked = Asked(owner, f"owner on device {device_id}", key, signed.challenged_at)
            done = act(request, turn, asked)
        return challenged(request, answer(done, request, body.format))

    return await asyncio.to_thread(work)


Act = Callable[[Request, Turn, int, str], PersonExport | Forgotten]
"""What is done for a person (the id) by an actor."""


def _by_staff(request: Request, act: Act, role: Role, handle: str) -> Response:
    """By handle, which leads to nobody after an erasure: who comes back has another."""
    actor = f"staff {require(request, role)}"
    with take_turn(request.app.state.store) as turn:
        person_id = people.person_of(turn.connection, handle)
        if person_id is None:
            raise UnknownError(NOBODY)
        done = act(request, turn, person_id, actor)
    return answer(done, request, JSON)


@post("/v1/people/export")
async def export_me(request: Request) -> Response:
    return await _by_person(request, _export_me)


@post("/v1/people/erase")
async def erase_me(request: Request) -> Response:
    return await _by_person(request, _erase_me)


@post("/v1/people/{handle:str}/export", sync_to_thread=True)
def export_person(request: Request, handle: str) -> Response:
    return _by_staff(request, _export, Role.ERASE, handle)


@post("/v1/people/{handle:str}/erase", sync_to_thread=True)
def erase_person(request: Request, handle: str) -> Response:
    return _by_staff(request, _erase, Role.ERASE, handle)


RIGHTS_ROUTES = (export_me, erase_me, export_person, erase_person)
