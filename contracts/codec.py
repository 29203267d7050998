"""JSON and MessagePack of the same structs, with errors that name the field."""

from typing import Literal, TypeVar, get_args

import msgspec

from contracts.errors import LimitError, WireError

Format = Literal["application/json", "application/msgpack"]
FORMATS: tuple[str, ...] = get_args(Format)
MAX_DEPTH = 64  # arrays and objects within one another that are always read

_TOO_LONG = "Expected `array` of length <="  # how msgspec says it, with limit and field
T = TypeVar("T")


def encode(value: object, format: str = "application/json") -> bytes:
    """Encode a struct.

    Args:
        value: a msgspec struct or anything msgspec encodes.
        format: one of `FORMATS`.

    Raises:
        WireError: if the format is none of `FORMATS`.
    """
    if format == "application/json":
        return msgspec.json.encode(value, order="deterministic")
    if format == "application/msgpack":
        return msgspec.msgpack.encode(value, order="deterministic")
    raise WireError(f"content type {format!r} is not known: use one of {', '.join(FORMATS)}")


def decode(data: bytes | msgspec.Raw, type: type[T], format: str = "application/json") -> T:
    """Decode and validate a struct.

    Raises:
        WireError: if the bytes are not valid in the format or do not fit the type; the message names the field.
        LimitError: if a list is longer than the type allows, or something is nested too deeply.
    """
    try:
        if format == "application/json":
            return msgspec.json.decode(data, type=type)
        if format == "application/msgpack":
            return msgspec.msgpack.decode(data, type=type)
    except RecursionError:
        raise LimitError(f"not a valid {type.__name__}: nested deeper than MAX_DEPTH = {MAX_DEPTH}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if str(error).startswith(_TOO_LONG):
            raise LimitError(f"not a valid {type.__name__}: {error}") from None
        raise WireError(f"not a valid {type.__name__}: {error}") from None
    raise WireError(f"content type {format!r} is not known: use one of {', '.join(FORMATS)}")
