"""JSON and MessagePack of the same structs, with errors that name the field."""

from collections.abc import Hashable
from functools import cache
from typing import Any, Literal, TypeVar, cast, get_args

import msgspec

from contracts.errors import LimitError, WireError

Format = Literal["application/json", "application/msgpack"]
FORMATS: tuple[str, ...] = get_args(Format)
MAX_DEPTH = 64  # arrays and objects within one another that are always read

_TOO_LONG = "Expected `array` of length <="  # how msgspec says it, with limit and field
T = TypeVar("T")

# Made once: for an event, to make one takes as long as to use it.
_ENCODERS: dict[str, msgspec.json.Encoder | msgspec.msgpack.Encoder] = dict(
    zip(FORMATS, (kind(order="deterministic") for kind in (msgspec.json.Encoder, msgspec.msgpack.Encoder)), strict=True)
)
_DECODERS = dict(zip(FORMATS, (msgspec.json.Decoder, msgspec.msgpack.Decoder), strict=True))


@cache  # of as many types as the contracts have
def _decoder(type: Hashable, format: str) -> msgspec.json.Decoder | msgspec.msgpack.Decoder:
    return _DECODERS[format](cast(Any, type))


def encode(value: object, format: str = "application/json") -> bytes:
    """Encode a struct.

    Args:
        value: a msgspec struct or anything msgspec encodes.
        format: one of `FORMATS`.

    Raises:
        WireError: if the format is none of `FORMATS`.
    """
    if format in _ENCODERS:
        return _ENCODERS[format].encode(value)
    raise WireError(f"content type {format!r} is not known: use one of {', '.join(FORMATS)}")


def decode(data: bytes | msgspec.Raw, type: type[T], format: str = "application/json") -> T:
    """Decode and validate a struct.

    Raises:
        WireError: if the bytes are not valid in the format or do not fit the type; the message names the field.
        LimitError: if a list is longer than the type allows, or something is nested too deeply.
    """
    try:
        if format in _DECODERS:
            return cast(T, _decoder(cast(Hashable, type), format).decode(data))
    except RecursionError:
        raise LimitError(f"not a valid {type.__name__}: nested deeper than MAX_DEPTH = {MAX_DEPTH}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if str(error).startswith(_TOO_LONG):
            raise LimitError(f"not a valid {type.__name__}: {error}") from None
        raise WireError(f"not a valid {type.__name__}: {error}") from None
    raise WireError(f"content type {format!r} is not known: use one of {', '.join(FORMATS)}")
