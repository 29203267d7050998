"""The endpoints for those who operate the server."""

from litestar import Request, Response, get
from prometheus_client import CONTENT_TYPE_LATEST
from sqlalchemy import select

from contracts.codec import encode
from sync_server import tables
from sync_server.staff import Role, require
from sync_server.store import Store
from sync_server.wire import JSON


@get("/healthz", sync_to_thread=False)
def healthz() -> Response:
    return Response(encode({"status": "ok"}), media_type=JSON)


@get("/readyz", sync_to_thread=True)
def readyz(request: Request) -> Response:
    """503 where the store does not answer, as every endpoint then is."""
    store: Store = request.app.state.store
    with store.read() as connection:
        generation = connection.execute(select(tables.store.c.generation)).scalar_one()
    return Response(encode({"status": "ready", "generation": generation}), media_type=JSON)


@get("/metrics", sync_to_thread=True)
def metrics(request: Request) -> Response:
    require(request, Role.METRICS)
    state = request.app.state
    return Response(state.metrics.exposition(state.store), media_type=CONTENT_TYPE_LATEST)


OPERATION_ROUTES = (healthz, readyz, metrics)
