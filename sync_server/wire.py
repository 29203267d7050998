"""Bodies: read within limits, decompressed within limits, answered in the format of the request."""

import threading
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from http import HTTPStatus
from io import BytesIO
from typing import Any

import zstandard
from litestar import Request, Response

from contracts.codec import FORMATS, encode
from contracts.errors import LimitError, WireError
from contracts.sync import Problem
from sync_server.openapi import PROBLEM_TYPE

JSON, MESSAGEPACK = FORMATS

MAX_WINDOW_BYTES = 2**23  # memory that one zstd stream may claim; levels up to 19 keep within it
MIN_COMPRESSED_BYTES = 1024  # smaller answers are sent as they are


@dataclass(frozen=True)
class Body:
    sent: bytes  # as it came, which is what the device signed
    encoding: str  # content coding, empty for none
    format: str  # one of `contracts.codec.FORMATS`

    def decoded(self, max_decoded_bytes: int) -> bytes:
        """The body decompressed.

        Raises:
            WireError: if the coding is unknown or the body is damaged.
            LimitError: if it decompresses to more than the limit.
        """
        return decompress(self.sent, self.encoding, max_decoded_bytes)


async def read_body(request: Request, max_body_bytes: int) -> Body:
    """Read a request's body.

    Raises:
        WireError: if the content type is none of `FORMATS`.
        LimitError: if the body is longer than the limit.
    """
    format = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    if format not in FORMATS:
        raise WireError(f"content type {format!r} is not known: use one of {', '.join(FORMATS)}")
    sent = await read_limited(request, max_body_bytes)
    return Body(sent, request.headers.get("content-encoding", "").strip().lower(), format)


async def read_limited(request: Request, max_body_bytes: int) -> bytes:
    """A request's body as it came.

    Raises:
        LimitError: if it is longer than the limit.
        WireError: if the client goes away before its end.
    """
    chunks, size = [], 0
    async for chunk in chunks_of(request):
        size += len(chunk)
        if size > max_body_bytes:
            raise LimitError(f"the body is longer than max_body_bytes = {max_body_bytes}: send fewer events at once")
        chunks.append(chunk)
    return b"".join(chunks)


async def chunks_of(request: Request) -> AsyncIterator[bytes]:
    """A request's body, as it comes in.

    Raises:
        WireError: if the client goes away before its end.
    """
    more = True
    while more:
        message: Any = await request.receive()
        if message["type"] == "http.disconnect":
            raise WireError("the body was cut off: send it again")
        more = message.get("more_body", False)
        yield message.get("body", b"")


def decompress(data: bytes, encoding: str, max_bytes: int) -> bytes:
    """Undo a content coding without ever holding more than the limit.

    Raises:
        WireError: if the coding is unknown or the data is damaged.
        LimitError: if the result would be longer than `max_bytes`.
    """
    if encoding in ("", "identity"):
        plain, complete = data, True
    elif encoding in _DECOMPRESS:
        try:
            plain, complete = _DECOMPRESS[encoding](data, max_bytes)
        except (zstandard.ZstdError, zlib.error) as error:
            raise WireError(f"the {encoding} body is damaged ({error}): send it again") from None
    else:
        raise WireError(f"content encoding {encoding!r} is not known: use {', '.join(_DECOMPRESS)} or none")
    if len(plain) > max_bytes:
        raise _too_long(max_bytes)
    if not complete:
        raise WireError(f"the {encoding} body is cut short or goes on after its end: send it again")
    return plain


def _too_long(max_bytes: int) -> LimitError:
    return LimitError(f"the body decompresses to more than max_decoded_bytes = {max_bytes}: send fewer events")


class _Contexts(threading.local):
    """One for each thread: to make one takes longer than to decompress a small body."""

    def __init__(self) -> None:
        self.zstd = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)


_contexts = _Contexts()


def _unzstd(data: bytes, max_bytes: int) -> tuple[bytes, bool]:
    """At most one byte more than the limit, and whether the data is one whole frame."""
    context = _contexts.zstd
    told = zstandard.frame_content_size(data)
    if told > max_bytes:
        raise _too_long(max_bytes)
    if told > 0:  # as of most bodies: into a buffer of that size, in one go
        return context.decompress(data, allow_extra_data=False), True
    plain = context.stream_reader(BytesIO(data)).read(max_bytes + 1)
    if len(plain) > max_bytes:
        return plain, False
    whole = context.decompressobj()  # the bounded reader does not tell where the frame ends
    whole.decompress(data)
    return plain, whole.eof and not whole.unused_data


def _gunzip(data: bytes, max_bytes: int) -> tuple[bytes, bool]:
    """At most one byte more than the limit, and whether the data is one whole member."""
    context = zlib.decompressobj(wbits=31)
    return context.decompress(data, max_bytes + 1), context.eof and not context.unused_data


_DECOMPRESS = {"zstd": _unzstd, "gzip": _gunzip}


def answer(value: object, request: Request, format: str) -> Response:
    """An answer in the format of the request, compressed where the device takes zstd."""
    content = encode(value, format)
    headers = {"vary": "accept-encoding"}
    if len(content) >= MIN_COMPRESSED_BYTES and "zstd" in request.headers.get("accept-encoding", ""):
        content = zstandard.compress(content)
        headers["content-encoding"] = "zstd"
    return Response(content, status_code=200, media_type=format, headers=headers)


def problem(status: int, detail: str) -> Response:
    """An answer that is no success; always JSON."""
    body = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail)
    return Response(encode(body), status_code=status, media_type=PROBLEM_TYPE)
