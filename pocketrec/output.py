"""A verb's result on standard output: for people, or as one JSON object for programs."""

from collections.abc import Iterator, Mapping

import msgspec


def encode(result: Mapping[str, object]) -> bytes:
    """JSON for a file that people open as well."""
    return msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n"


def emit(result: Mapping[str, object], as_json: bool) -> None:
    """Print a result of JSON values."""
    if as_json:
        print(msgspec.json.encode(result).decode())
        return
    lines = list(_lines(result, ""))
    width = max((len(name) for name, _ in lines), default=0)
    for name, value in lines:
        print(f"{name:<{width}}  {value}")


def _lines(result: Mapping[str, object], path: str) -> Iterator[tuple[str, str]]:
    for key, value in result.items():
        if isinstance(value, Mapping):
            yield from _lines(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", f"{value:,}" if type(value) is int else str(value)
