"""The HTTP service: reads bodies within their limits, calls the store in a thread, answers."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path

from litestar import Litestar, Request, Response, get, post
from litestar.exceptions import HTTPException
from litestar.static_files import create_static_files_router
from sqlalchemy import select

from contracts.codec import decode, encode
from contracts.errors import AuthenticationError, PermissionDenied, WireError
from contracts.rounds import RoundUpdate
from contracts.sync import CHALLENGE_HEADER, EnrolRequest, SyncRequest, SyncResponse
from sync_server import devices, openapi, rounds, tables
from sync_server.challenges import Challenges
from sync_server.group_commit import GroupCommit
from sync_server.settings import ServerSettings
from sync_server.sql_store import open_store
from sync_server.store import Store
from sync_server.sync import Prepared, prepare, sync_together
from sync_server.wire import JSON, Body, answer, problem, read_body

LARGE_BODY_BYTES = 2**15  # some 300 events, compressed

_log = logging.getLogger(__name__)


def create_app(settings: ServerSettings) -> Litestar:
    """The service over one store, which is opened (and migrated) when the application starts."""
    challenges = Challenges(settings.secret_key)
    repository = Path(settings.repository)
    repository.mkdir(parents=True, exist_ok=True)  # phones may sync before the first bundle is published

    @asynccontextmanager
    async def opened_store(app: Litestar) -> AsyncIterator[None]:
        store = await asyncio.to_thread(open_store, settings.database_url, settings.clock())
        app.state.store, app.state.device_keys = store, devices.Keys(store)
        app.state.challenges, app.state.settings = challenges, settings
        app.state.turns = GroupCommit(partial(sync_together, store, settings))
        try:
            yield
        finally:
            await asyncio.to_thread(app.state.turns.close)
            await asyncio.to_thread(store.close)

    def signed(request: Request, body: Body) -> str:
        state, header = request.app.state, request.headers.get("authorization")
        now_ms, path = state.store.now_ms(), request.url.path
        return devices.authenticate(state.device_keys, challenges, header, request.method, path, body.sent, now_ms)

    def read_sync(request: Request, body: Body) -> Prepared:
        device_id, now_ms = signed(request, body), request.app.state.store.now_ms()
        wanted = decode(body.decoded(settings.max_decoded_bytes), SyncRequest, body.format)
        return prepare(settings, device_id, wanted, body.format, now_ms)

    @post("/v1/devices")
    async def enrol_device(request: Request) -> Response:
        store: Store = request.app.state.store
        body = await read_body(request, settings.max_body_bytes)

        def work() -> Response:
            wanted = decode(body.decoded(settings.max_decoded_bytes), EnrolRequest, body.format)
            return answer(devices.enrol(store, challenges, wanted, settings.staff), request, body.format)

        return await asyncio.to_thread(work)

    @post("/v1/sync")
    async def sync_device(request: Request) -> Response:
        body = await read_body(request, settings.max_body_bytes)
        # A thread costs a small request more than its work; a large one would keep all others waiting.
        if len(body.sent) > LARGE_BODY_BYTES:
            prepared = await asyncio.to_thread(read_sync, request, body)
        else:
            prepared = read_sync(request, body)
        found: SyncResponse = await request.app.state.turns.sync(prepared)
        return _challenged(request, answer(found, request, body.format))

    @post("/v1/rounds/{task_id:str}")
    async def hand_in(request: Request, task_id: str) -> Response:
        store: Store = request.app.state.store
        body = await read_body(request, settings.max_body_bytes)

        def work() -> Response:
            signed(request, body)
            update = decode(body.decoded(settings.max_decoded_bytes), RoundUpdate, body.format)
            if update.task_id != task_id:
                raise WireError("the body names another task than the address: send both the same")
            return _challenged(request, answer(rounds.submit(store, update), request, body.format))

        return await asyncio.to_thread(work)

    @get("/healthz", sync_to_thread=False)
    def healthz() -> Response:
        return Response(encode({"status": "ok"}), media_type=JSON)

    @get("/readyz", sync_to_thread=True)
    def readyz(request: Request) -> Response:
        store: Store = request.app.state.store
        with store.read() as connection:
            generation = connection.execute(select(tables.store.c.generation)).scalar_one()
        return Response(encode({"status": "ready", "generation": generation}), media_type=JSON)

    described = encode(openapi.document(settings.repository_path))

    @get("/schema", sync_to_thread=False)
    def schema() -> Response:
        return Response(described, media_type=JSON)

    return Litestar(
        [
            enrol_device,
            sync_device,
            hand_in,
            healthz,
            readyz,
            schema,
            create_static_files_router(settings.repository_path, [repository], resolve_symlinks=True),
        ],
        lifespan=[opened_store],
        exception_handlers={Exception: _problem_of},
        openapi_config=None,
        logging_config=None,  # whoever runs the service decides where logs go
        request_max_body_size=None,  # `read_body` counts, and names the limit
    )


def _challenged(request: Request, response: Response) -> Response:
    """An answer to a device with the challenge for its next request."""
    device_id = devices.claimed_id(request.headers.get("authorization"))
    if device_id is not None:
        state = request.app.state
        response.headers[CHALLENGE_HEADER] = state.challenges.issue(device_id, state.store.now_ms())
    return response


def _problem_of(request: Request, error: Exception) -> Response:
    """Every error as a Problem; only what nobody foresaw is a 5xx, and is logged."""
    if isinstance(error, (WireError, AuthenticationError, PermissionDenied)):
        return _challenged(request, problem(error.http_status, str(error)))
    if isinstance(error, HTTPException) and error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
        return problem(error.status_code, error.detail)
    _log.exception("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem(
        HTTPStatus.INTERNAL_SERVER_ERROR, "the server failed and has noted why: send the request again later"
    )
