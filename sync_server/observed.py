"""Around the whole service: every request has an id, is counted, logged, and waited for when the server ends."""

import asyncio
import secrets
import time
from typing import Any

from litestar import Litestar
from litestar.enums import HttpMethod, ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from sync_server.logs import REQUEST_ID, request_log
from sync_server.metrics import UNROUTED

ID_BYTES = 8
REQUEST_ID_HEADER = b"x-request-id"
METHODS = frozenset(HttpMethod)
NO_ANSWER = 499  # the client went away before there was one; nginx's number for it


class InFlight:
    """How many requests of this worker are being answered."""

    def __init__(self) -> None:
        self._number = 0
        self._none = asyncio.Event()
        self._none.set()

    def __enter__(self) -> None:
        self._number += 1
        self._none.clear()

    def __exit__(self, *_: object) -> None:
        self._number -= 1
        if not self._number:
            self._none.set()

    async def none_left(self) -> None:
        await self._none.wait()


def observed(app: Litestar, log_requests: bool) -> ASGIApp:
    """The service with its observers; needs `metrics` and `in_flight` in the application's state."""

    async def observe(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        began, status = time.perf_counter(), NO_ANSWER
        request_id = secrets.token_hex(ID_BYTES)
        token = REQUEST_ID.set(request_id)

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (REQUEST_ID_HEADER, request_id.encode())]
            await send(message)

        try:
            with app.state.in_flight:
                await app(scope, receive, send_and_note)
        finally:
            seconds = time.perf_counter() - began
            route = scope.get("path_template") or UNROUTED
            app.state.metrics.answered(route, status, seconds)
            if log_requests:
                fields: dict[str, Any] = {
                    "method": scope["method"] if scope["method"] in METHODS else "OTHER",
                    "route": route,
                    "status": status,
                    "ms": round(seconds * 1000, 2),
                }
                request_log.info("answered", extra={"fields": fields})
            REQUEST_ID.reset(token)

    return observe
