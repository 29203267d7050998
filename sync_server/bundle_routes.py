"""The endpoint with which staff hand in what was published elsewhere."""

import asyncio
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from litestar import Request, Response, post

from contracts.bundle import Publication
from contracts.errors import BundleError, LimitError, WireError
from sync_server import audit_log
from sync_server.staff import Role, require
from sync_server.store import Store
from sync_server.turn import take_turn
from sync_server.wire import JSON, answer, chunks_of


@post("/v1/bundles")
async def publish_bundle(request: Request) -> Response:
    name, state = require(request, Role.PUBLISH), request.app.state
    with TemporaryFile() as upload:
        await _receive(request, upload, state.settings.max_publication_bytes)
        done = await asyncio.to_thread(_adopt, state.store, Path(state.settings.repository), name, upload)
    return answer(done, request, JSON)


async def _receive(request: Request, upload: IO[bytes], max_bytes: int) -> None:
    size = 0
    async for chunk in chunks_of(request):
        size += len(chunk)
        if size > max_bytes:
            raise LimitError(
                f"the upload is longer than max_publication_bytes = {max_bytes}: leave out what the server has already"
            )
        await asyncio.to_thread(upload.write, chunk)
    upload.seek(0)


def _adopt(store: Store, repository: Path, name: str, upload: IO[bytes]) -> Publication:
    from export.adoption import adopt  # python-tuf, which nothing else here needs

    try:
        done = adopt(upload, repository, partial(_note, store, name))
    except BundleError as error:
        raise WireError(" ".join(str(error).split())) from None
    return Publication(bundle_version=done.version, added=len(done.added))


def _note(store: Store, name: str, version: int) -> None:
    """Before phones can see it: whoever is cut off in between has published nothing unseen."""
    with take_turn(store) as turn:
        audit_log.record(turn, f"staff {name}", "publish", "", {"bundle": version})


BUNDLE_ROUTES = (publish_bundle,)
