"""Who uses the staff page: a signed cookie, and a signed field in every form.

The token itself is shown once, at the login; after that the browser holds a cookie that scripts cannot read, that no
other site can send (`SameSite=Strict`), and that is worth something for eight hours only. Nothing is stored: a MAC over
name and time, made with the server's secret and the hash of the member's token, tells every worker that the cookie is
true. Who loses the token or a place among the staff loses the session with it. A form carries another MAC, over the
cookie, so that a request counts only if a page of ours made it.
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass

from contracts.errors import AuthenticationError, PermissionDenied
from sync_server.settings import ServerSettings
from sync_server.staff import Member, Role, member_of

COOKIE = "pocketrec_staff"
LIFETIME_MS = 8 * 3_600_000  # a working day


@dataclass(frozen=True)
class Session:
    """A member of the staff in front of a browser."""

    name: str
    member: Member
    form_token: str  # the hidden field of every form

    @property
    def actor(self) -> str:
        """As the audit log calls them."""
        return f"staff {self.name}"

    def may(self, role: Role) -> bool:
        return role in self.member.roles

    def require(self, role: Role) -> None:
        """Raises PermissionDenied if the member lacks a role."""
        if not self.may(role):
            raise PermissionDenied(f"{self.name} lacks the role {role}: ask who runs this server for it")


class Sessions:
    """Gives and checks the cookies of a server."""

    def __init__(self, settings: ServerSettings) -> None:
        self._staff = settings.staff
        self._key = hmac.digest(settings.secret_key, b"pocketrec staff page", hashlib.sha256)

    def begin(self, token: str, now_ms: int) -> str:
        """The cookie of who holds a token.

        Raises:
            AuthenticationError: if nobody does.
        """
        name = member_of(self._staff, token)
        if name is None:
            raise AuthenticationError("the token is unknown: take it from who runs this server")
        said = f"{base64.urlsafe_b64encode(name.encode()).decode().rstrip('=')}.{now_ms}"
        return f"{said}.{self._mac('cookie', said, self._staff[name])}"

    def read(self, cookie: str | None, now_ms: int) -> Session | None:
        """Whose cookie it is; None if it is none, too old, or its member is gone or has another token."""
        encoded, _, rest = (cookie or "").partition(".")
        begun, _, mac = rest.partition(".")
        try:
            name = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
            age_ms = now_ms - int(begun)
        except ValueError:
            return None
        member = self._staff.get(name)
        if member is None or not 0 <= age_ms <= LIFETIME_MS:
            return None
        if not hmac.compare_digest(mac.encode(), self._mac("cookie", f"{encoded}.{begun}", member).encode()):
            return None
        return Session(name, member, self._mac("form", mac, member))

    def _mac(self, purpose: str, said: str, member: Member) -> str:
        text = "\n".join((purpose, member.token_sha256, said)).encode()
        return hmac.digest(self._key, text, hashlib.sha256).hex()


def check_form(session: Session, shown: str) -> None:
    """Raises PermissionDenied unless a form came from a page of this session."""
    if not hmac.compare_digest(shown.encode(), session.form_token.encode()):
        raise PermissionDenied("this form is not from a page of your session: load the page again")
