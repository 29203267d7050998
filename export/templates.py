"""The package's templates: what they print, they were given; a name that is missing is an error."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contracts.bundle import Estimate

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, **values: Any) -> str:
    """Render `<template>.j2` of this folder; HTML is escaped."""
    return _environment().get_template(f"{template}.j2").render(**values)


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "estimate": estimate,
        "size": size,
        "kotlin": kotlin_literal,
        "swift": swift_literal,
    }
    return environment


def estimate(value: Estimate | None) -> str:
    """A statistic with its interval, such as ".2236 [.2150, .2320]"."""
    if value is None:
        return "not measured"
    middle, low, high = (f"{number:.4f}".removeprefix("0") for number in (value.value, value.low, value.high))
    return f"{middle} [{low}, {high}]"


def size(count: int) -> str:
    """Bytes for people, in decimal units."""
    return f"{count / 1e6:.2f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def kotlin_literal(text: str) -> str:
    """A string literal; a name out of someone's data must not end it or be read as code."""

    def unprintable(one: str) -> str:
        units = one.encode("utf-16-be")
        return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))

    return _literal(text, '"\\$', unprintable)


def swift_literal(text: str) -> str:
    """A string literal, as `kotlin_literal`."""
    return _literal(text, '"\\', lambda one: f"\\u{{{ord(one):x}}}")


def _literal(text: str, special: str, unprintable: Callable[[str], str]) -> str:
    escaped = (f"\\{one}" if one in special else one if one.isprintable() else unprintable(one) for one in text)
    return f'"{"".join(escaped)}"'
