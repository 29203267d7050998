"""Pages: templates filled in, with headers that let a browser do nothing but show them and send their forms."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from litestar import Response
from markupsafe import Markup

from contracts.outbox import kind_of
from sync_server.staff_page.session import Session

HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def page(template: str, session: Session | None = None, status: int = 200, **values: Any) -> Response:
    """A page of `templates/`, for a session if there is one."""
    field = '<input type="hidden" name="form_token" value="{}">'
    shown = {"session": session, "form_token": lambda: Markup(field).format(session.form_token if session else "")}
    text = _templates().get_template(template).render(**shown, **values)
    return Response(text, status_code=status, media_type="text/html; charset=utf-8", headers=HEADERS)


def to(address: str) -> Response:
    """See there: after a form, so that loading the page again sends nothing again."""
    return Response(b"", status_code=303, headers={**HEADERS, "location": address})


@lru_cache
def _templates() -> Environment:
    made = Environment(
        loader=PackageLoader("sync_server.staff_page"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    made.filters["time"] = _time
    made.filters["kind"] = kind_of
    return made


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
