"""The HTTP service: reads bodies within their limits, calls the store in a thread, answers."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

from litestar import Litestar, Request, Response, get, post
from litestar.exceptions import HTTPException
from litestar.static_files import create_static_files_router
from sqlalchemy.exc import InterfaceError, OperationalError

from contracts.codec import decode, encode
from contracts.errors import AuthenticationError, PermissionDenied, TooManyError, WireError
from contracts.rounds import RoundUpdate
from contracts.sync import CHALLENGE_HEADER, SyncResponse
from sync_server import devices, openapi, rounds
from sync_server.active_bundle import ActiveBundle
from sync_server.bundle_routes import BUNDLE_ROUTES
from sync_server.challenges import Challenges
from sync_server.channels import CHANNEL_ROUTES
from sync_server.damaged import read_request
from sync_server.enrolment import NotAttested, enrolling
from sync_server.enrolment_routes import ENROLMENT_ROUTES
from sync_server.erasure_journal import ErasureJournal
from sync_server.group_commit import GroupCommit
from sync_server.identity_keys import UnknownKeyError
from sync_server.metrics import Metrics
from sync_server.observed import InFlight
from sync_server.operation_routes import OPERATION_ROUTES
from sync_server.rates import Rates
from sync_server.recommendations import Recommendations
from sync_server.recovery import make_ready, note_end
from sync_server.rights import RIGHTS_ROUTES
from sync_server.settings import ServerSettings
from sync_server.signed import challenged, signer
from sync_server.sql_store import open_store
from sync_server.staff_page.routes import STAFF_PAGE_ROUTES
from sync_server.store import Store
from sync_server.sync import Prepared, prepare, sync_together
from sync_server.unmerge_routes import UNMERGE_ROUTES
from sync_server.upkeep import Upkeep
from sync_server.wire import JSON, Body, answer, problem, read_body

LARGE_BODY_BYTES = 2**15  # some 300 events, compressed

_log = logging.getLogger(__name__)


def create_app(settings: ServerSettings) -> Litestar:
    """The service over one store, which is opened (and migrated) when the application starts."""
    repository = Path(settings.repository)
    repository.mkdir(parents=True, exist_ok=True)  # phones may sync before the first bundle is published

    @asynccontextmanager
    async def opened_store(app: Litestar) -> AsyncIterator[None]:
        publishes = settings.broker is not None
        store = await asyncio.to_thread(open_store, settings.database_url, settings.clock(), settings.keys, publishes)
        journal = ErasureJournal(Path(settings.erasure_journal))
        await asyncio.to_thread(make_ready, store, journal)
        app.state.store, app.state.device_keys, app.state.journal = store, devices.Keys(store), journal
        app.state.metrics, app.state.in_flight = Metrics(), InFlight()
        app.state.challenges, app.state.settings = Challenges(settings.secret_key), settings
        app.state.enrol, app.state.rates = enrolling(store, settings), Rates(settings.phone_rate, settings.shop_rate)
        app.state.bundle = ActiveBundle(repository)
        app.state.recommendations = Recommendations(store, app.state.bundle)
        app.state.turns = GroupCommit(app.state.metrics.counting(partial(sync_together, store, settings)))
        upkeep = Upkeep(store, settings, journal)
        try:
            yield
        finally:
            await app.state.in_flight.none_left()  # the process that runs this one ends it in the end
            await asyncio.to_thread(app.state.turns.close)
            await asyncio.to_thread(upkeep.close)
            await asyncio.to_thread(note_end, store, journal)
            await asyncio.to_thread(store.close)

    def read_sync(request: Request, body: Body) -> Callable[[], Prepared]:
        """What is left to do when a request is signed, counted and decoded, each once."""
        state, device = request.app.state, signer(request, body)
        wanted = read_request(body.decoded(settings.max_decoded_bytes), body.format)
        state.rates.events(device.device_id, device.role, len(wanted.events) + len(wanted.held) + len(wanted.dropped))
        return partial(prepare, settings, device.device_id, wanted, body.format, state.store.now_ms())

    async def done(body: Body, work: Callable[[], Any]) -> Any:
        # A thread costs a small request more than its work; a large one would keep all others waiting.
        return await asyncio.to_thread(work) if len(body.sent) > LARGE_BODY_BYTES else work()

    @post("/v1/sync")
    async def sync_device(request: Request) -> Response:
        body = await read_body(request, settings.max_body_bytes)
        preparation = await done(body, partial(read_sync, request, body))
        try:
            prepared = await done(body, preparation)
        except UnknownKeyError:
            await asyncio.to_thread(settings.issuer.keys.refresh)
            prepared = await done(body, preparation)
        found: SyncResponse = await request.app.state.turns.sync(prepared)
        return challenged(request, answer(found, request, body.format))

    @post("/v1/rounds/{task_id:str}")
    async def hand_in(request: Request, task_id: str) -> Response:
        store: Store = request.app.state.store
        body = await read_body(request, settings.max_body_bytes)

        def work() -> Response:
            devices.find(store, signer(request, body).device_id)
            update = decode(body.decoded(settings.max_decoded_bytes), RoundUpdate, body.format)
            if update.task_id != task_id:
                raise WireError("the body names another task than the address: send both the same")
            return challenged(request, answer(rounds.submit(store, update), request, body.format))

        return await asyncio.to_thread(work)

    described = encode(openapi.document(settings.repository_path))

    @get("/schema", sync_to_thread=False)
    def schema() -> Response:
        return Response(described, media_type=JSON)

    return Litestar(
        [
            *ENROLMENT_ROUTES,
            *CHANNEL_ROUTES,
            *RIGHTS_ROUTES,
            *BUNDLE_ROUTES,
            *UNMERGE_ROUTES,
            sync_device,
            hand_in,
            *OPERATION_ROUTES,
            *STAFF_PAGE_ROUTES,
            schema,
            create_static_files_router(settings.repository_path, [repository], resolve_symlinks=True),
        ],
        lifespan=[opened_store],
        exception_handlers={Exception: _problem_of},
        openapi_config=None,
        logging_config=None,  # whoever runs the service decides where logs go
        request_max_body_size=None,  # `read_body` counts, and names the limit
    )


def _problem_of(request: Request, error: Exception) -> Response:
    """Every error as a Problem; only what nobody foresaw is a 5xx, and is logged."""
    if isinstance(error, (WireError, AuthenticationError, PermissionDenied)):
        response = challenged(request, problem(error.http_status, str(error)))
        if isinstance(error, TooManyError):
            response.headers["retry-after"] = str(error.retry_after_s)
        if isinstance(error, NotAttested):
            response.headers[CHALLENGE_HEADER] = error.challenge
        return response
    if isinstance(error, HTTPException) and error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
        response = problem(error.status_code, error.detail)
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            response.headers |= error.headers or {}  # `Allow`, which RFC 9110 (15.5.6) asks for
        return response
    if isinstance(error, (OperationalError, InterfaceError)):
        _log.error("the store does not answer", exc_info=error)
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, "the store does not answer: send the request again later")
    _log.error("a request failed", exc_info=error)
    return problem(
        HTTPStatus.INTERNAL_SERVER_ERROR, "the server failed and has noted why: send the request again later"
    )
