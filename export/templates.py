"""The package's templates: what they print, they were given; a name that is missing is an error."""

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
        "kotlin": lambda text: _literal(text, "\\u{:04x}", extra="$"),
        "swift": lambda text: _literal(text, "\\u{{{:x}}}"),
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


def _literal(text: str, control: str, extra: str = "") -> str:
    """A string literal; a name out of someone's data must not end it or be read as code.

    Args:
        text: any.
        control: format of a code point's escape.
        extra: further characters that a backslash makes plain.
    """
    escaped = "".join(
        f"\\{one}" if one in f'"\\{extra}' else one if one.isprintable() else control.format(ord(one)) for one in text
    )
    return f'"{escaped}"'
