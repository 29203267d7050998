"""The endpoints of the page. Every look-up and every act is noted in the audit log, with who asked and about whom."""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qsl

from litestar import Request, Response, get, post
from litestar.datastructures import Cookie

from contracts.codec import encode
from contracts.errors import AuthenticationError, PocketrecError, UnknownError, WireError
from contracts.identity import owner_kind
from sync_server import audit_log, erasure, people, person_export
from sync_server.staff import Role
from sync_server.staff_page.health import health
from sync_server.staff_page.person import Person, find_person
from sync_server.staff_page.session import COOKIE, LIFETIME_MS, Session, Sessions, check_form
from sync_server.staff_page.views import HEADERS, page, to
from sync_server.store import Store
from sync_server.tls import PROXIED
from sync_server.turn import Turn, take_turn
from sync_server.unmerge import lift, unmerge
from sync_server.wire import JSON, read_limited

HOME = "/staff"
MAX_FORM_BYTES = 2**14
FORM = "application/x-www-form-urlencoded"
UNKNOWN = "nobody is known by this"

Form = dict[str, list[str]]
Act = Callable[[Request, Session, Form], Response]


def _session(request: Request) -> Session | None:
    state = request.app.state
    return Sessions(state.settings).read(request.cookies.get(COOKIE), state.store.now_ms())


def _shown(session: Session | None, show: Callable[[Session], Response]) -> Response:
    """A page for who is logged in; else the login, and for what goes wrong a page that says what."""
    if session is None:
        return page("login.html", status=HTTPStatus.UNAUTHORIZED, problem="")
    try:
        return show(session)
    except PocketrecError as error:
        return page("problem.html", session, error.http_status, problem=str(error))


async def _form(request: Request) -> Form:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise WireError(f"send the form as {FORM}")
    sent = (await read_limited(request, MAX_FORM_BYTES)).decode(errors="replace")
    form: Form = {}
    for name, value in parse_qsl(sent, keep_blank_values=True):
        form.setdefault(name, []).append(value)
    return form


async def _act(request: Request, act: Act) -> Response:
    """Do what a form of ours asks for, for who is logged in."""
    form = await _form(request)

    def show(session: Session) -> Response:
        check_form(session, "".join(form.get("form_token", [])))
        return act(request, session, form)

    return await asyncio.to_thread(lambda: _shown(_session(request), show))


def _one(form: Form, name: str) -> str:
    return form.get(name, [""])[0].strip()


@get(HOME, sync_to_thread=True)
def home(request: Request) -> Response:
    def show(session: Session) -> Response:
        session.require(Role.READ)
        store: Store = request.app.state.store
        with store.read() as connection:
            found = health(connection, store.now_ms())
        return page("home.html", session, health=found, publishes=request.app.state.settings.broker is not None)

    return _shown(_session(request), show)


@get(f"{HOME}/style.css", sync_to_thread=False)
def style() -> Response:
    text = files("sync_server.staff_page").joinpath("style.css").read_bytes()
    return Response(text, media_type="text/css", headers={"x-content-type-options": "nosniff"})


@post(f"{HOME}/session")
async def log_in(request: Request) -> Response:
    token, state = _one(await _form(request), "token"), request.app.state
    try:
        cookie = Sessions(state.settings).begin(token, state.store.now_ms())
    except AuthenticationError as error:
        return page("login.html", status=error.http_status, problem=str(error))
    response = to(HOME)
    response.set_cookie(_cookie(request, cookie, LIFETIME_MS // 1000))
    return response


@post(f"{HOME}/session/end")
async def log_out(request: Request) -> Response:
    def act(request: Request, session: Session, form: Form) -> Response:
        response = to(HOME)
        response.set_cookie(_cookie(request, "", 0))
        return response

    return await _act(request, act)


@post(f"{HOME}/people")
async def look_up(request: Request) -> Response:
    """From an identifier to its person's page: the identifier is in no address, and so in no log."""

    def act(request: Request, session: Session, form: Form) -> Response:
        session.require(Role.READ)
        name = _one(form, "identifier")
        owner_kind(name)
        with take_turn(request.app.state.store) as turn:
            found = people.look_up(turn, [name]).get(name)
            audit_log.record(turn, session.actor, "look_up", found.handle if found else "")
        if found is not None:
            return to(f"{HOME}/people/{found.handle}")
        return page("problem.html", session, HTTPStatus.NOT_FOUND, problem=f"{UNKNOWN} identifier: check its spelling")

    return await _act(request, act)


@get(f"{HOME}/people/{{handle:str}}", sync_to_thread=True)
def show_person(request: Request, handle: str) -> Response:
    def show(session: Session) -> Response:
        session.require(Role.READ)
        with take_turn(request.app.state.store) as turn:
            person = find_person(turn.connection, handle)
            audit_log.record(turn, session.actor, "look_up", person.handle if person else "")
            noted = person.noted(turn.connection) if person else []
        if person is None:
            problem = f"{UNKNOWN} handle (any more): look the identifier up again"
            return page("problem.html", session, HTTPStatus.NOT_FOUND, problem=problem)
        return page("person.html", session, person=person, noted=noted, asked=handle, may_act=session.may(Role.ERASE))

    return _shown(_session(request), show)


def _with_person(request: Request, session: Session, handle: str, do: Callable[[Turn, Person], Response]) -> Response:
    """Do something for a person whom a form names, in one transaction."""
    session.require(Role.ERASE)
    with take_turn(request.app.state.store) as turn:
        person = find_person(turn.connection, handle)
        if person is None:
            raise UnknownError(f"{UNKNOWN} handle (any more): look the identifier up again")
        return do(turn, person)


@post(f"{HOME}/people/{{handle:str}}/unmerge")
async def unmerge_person(request: Request, handle: str) -> Response:
    """Those that are ticked are somebody else than the others."""

    def act(request: Request, session: Session, form: Form) -> Response:
        def do(turn: Turn, person: Person) -> Response:
            ticked = set(form.get("part", []))
            unmerge(turn, session.actor, ticked, {one.handle for one in person.identifiers} - ticked)
            return to(f"{HOME}/people/{handle}")

        return _with_person(request, session, handle, do)

    return await _act(request, act)


@post(f"{HOME}/people/{{handle:str}}/lift")
async def lift_separation(request: Request, handle: str) -> Response:
    def act(request: Request, session: Session, form: Form) -> Response:
        def do(turn: Turn, person: Person) -> Response:
            shown = _one(form, "separation")
            mine = {str(one.number): one.number for one in person.separations}
            if shown not in mine:
                raise UnknownError("this separation is not in force: load the person's page again")
            lift(turn, session.actor, mine[shown])
            return to(f"{HOME}/people/{handle}")

        return _with_person(request, session, handle, do)

    return await _act(request, act)


@post(f"{HOME}/people/{{handle:str}}/export")
async def export_person(request: Request, handle: str) -> Response:
    """All that is held, as a file for the person."""

    def act(request: Request, session: Session, form: Form) -> Response:
        def do(turn: Turn, person: Person) -> Response:
            content = encode(person_export.export(turn, person.id, session.actor))
            named = {"content-disposition": f'attachment; filename="{person.handle}.json"'}
            return Response(content, media_type=JSON, headers=HEADERS | named)

        return _with_person(request, session, handle, do)

    return await _act(request, act)


@post(f"{HOME}/people/{{handle:str}}/erase")
async def erase_person(request: Request, handle: str) -> Response:
    def act(request: Request, session: Session, form: Form) -> Response:
        if _one(form, "confirmed") != "erase":
            raise WireError("erasing is for ever: type erase into the field beside the button")

        def do(turn: Turn, person: Person) -> Response:
            state = request.app.state
            erasure.erase(turn, state.journal, state.store.generation, person.id, session.actor)
            return page("erased.html", session, owners=len(person.identifiers))

        return _with_person(request, session, handle, do)

    return await _act(request, act)


def _cookie(request: Request, value: str, seconds: int) -> Cookie:
    secure = request.url.scheme == "https" or request.app.state.settings.tls == PROXIED
    return Cookie(key=COOKIE, value=value, path=HOME, max_age=seconds, httponly=True, samesite="strict", secure=secure)


STAFF_PAGE_ROUTES: tuple[Any, ...] = (
    home,
    style,
    log_in,
    log_out,
    look_up,
    show_person,
    unmerge_person,
    lift_separation,
    export_person,
    erase_person,
)
