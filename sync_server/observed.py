"""Around the whole service: every request has an id, is counted, logged, and waited for when the server ends.

An answer also ends its request: what of a refused body nobody read is read here and thrown away. The server would close
a connection with a body left in it, under the client's next request.
"""

import asyncio
import secrets
import time
from contextlib import suppress
from itertools import count
from typing import Any

from litestar import Litestar
from litestar.enums import HttpMethod, ScopeType
from litestar.types import ASGIApp, HTTPReceiveMessage, Message, Receive, Scope, Send

from sync_server.logs import REQUEST_ID, request_log
from sync_server.metrics import UNROUTED

RANDOM_BYTES = 4  # of this process in the ids of its requests; the rest counts them
REQUEST_ID_HEADER = b"x-request-id"
METHODS = frozenset(HttpMethod)
NO_ANSWER = 499  # the client went away before there was one; nginx's number for it
LEFT_BYTES, LEFT_S = 2**20, 1.0  # read of a body that nobody wants, and how long; beyond, the connection is closed


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


class WatchedBody:
    """A request's body on its way to whoever reads it."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        names = {name for name, _ in scope["headers"]}
        self._receive = receive
        self._ended = not names & {b"content-length", b"transfer-encoding"}

    async def receive(self) -> HTTPReceiveMessage:
        message: Any = await self._receive()
        self._ended = not message.get("more_body", False)  # the end, or the client went away
        return message

    async def leave(self) -> bool:
        """Read what is left, and tell whether that was all of it."""
        if self._ended:  # as nearly always
            return True
        with suppress(TimeoutError):
            async with asyncio.timeout(LEFT_S):
                left = LEFT_BYTES
                while not self._ended and left > 0:
                    message: Any = await self.receive()
                    left -= len(message.get("body", b""))
        return self._ended


def observed(app: Litestar, log_requests: bool) -> ASGIApp:
    """The service with its observers; needs `metrics` and `in_flight` in the application's state."""

    ours, numbers = secrets.token_hex(RANDOM_BYTES), count(1)

    async def observe(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        began, status = time.perf_counter(), NO_ANSWER
        request_id = f"{ours}{next(numbers):08x}"
        token, body = REQUEST_ID.set(request_id), WatchedBody(scope, receive)

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message["headers"], (REQUEST_ID_HEADER, request_id.encode())]
                if not await body.leave():
                    headers.append((b"connection", b"close"))
                message["headers"] = headers
            await send(message)

        try:
            with app.state.in_flight:
                await app(scope, body.receive, send_and_note)
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
