"""The endpoints with which staff see why owners are one person, take them apart, and put them together again."""

import asyncio

from litestar import Request, Response, get, post

from contracts.codec import decode
from contracts.errors import UnknownError, WireError
from contracts.unmerge import Lifted, UnmergeRequest, Why
from sync_server import audit_log
from sync_server.staff import Role, require
from sync_server.turn import take_turn
from sync_server.unmerge import lift, unmerge, why
from sync_server.wire import JSON, answer, read_body

MAX_DIGITS = 18  # of a database's integers


@post("/v1/people/unmerge")
async def unmerge_person(request: Request) -> Response:
    state = request.app.state
    name = require(request, Role.ERASE)
    body = await read_body(request, state.settings.max_body_bytes)

    def work() -> Response:
        wanted = decode(body.decoded(state.settings.max_decoded_bytes), UnmergeRequest, body.format)
        with take_turn(state.store) as turn:
            done = unmerge(turn, f"staff {name}", wanted.one_side, wanted.other_side)
        return answer(done, request, body.format)

    return await asyncio.to_thread(work)


@post("/v1/people/separations/{number:str}/lift", sync_to_thread=True)
def lift_separation(request: Request, number: str) -> Response:
    name = require(request, Role.ERASE)
    if not number.isdecimal() or len(number) > MAX_DIGITS:
        raise UnknownError(f"separation {number!r} is not in force: name one by its number")
    with take_turn(request.app.state.store) as turn:
        persons = lift(turn, f"staff {name}", int(number))
    return answer(Lifted(persons=persons), request, JSON)


@get("/v1/people/why", sync_to_thread=True)
def why_one_person(request: Request) -> Response:
    name = require(request, Role.READ)
    one, other = request.query_params.get("one"), request.query_params.get("other")
    if not one or not other:
        raise WireError("say of which two owners: send their handles as ?one=...&other=...")
    with take_turn(request.app.state.store) as turn:
        found = why(turn.connection, one, other)
        actor = f"staff {name}"
        audit_log.record_all(turn, [audit_log.Entry(actor, "why", handle) for handle in (one, other) if found])
    return answer(Why(links=found), request, JSON)


UNMERGE_ROUTES = (unmerge_person, lift_separation, why_one_person)
