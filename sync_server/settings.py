"""What an operator decides about a server."""

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, field

from contracts.errors import ConfigError
from contracts.identity import OwnerKind
from contracts.sync import MAX_BODY_BYTES, MAX_DECODED_BYTES
from sync_server.clock import Clock, FileClock, SystemClock
from sync_server.identifier_rules import IdentifierRules
from sync_server.identifiers import MIN_KEY_BYTES, IdentifierKeys
from sync_server.identity import Issuer
from sync_server.identity_keys import IdentityKeys
from sync_server.rates import Rate
from sync_server.staff import Member
from sync_server.tls import Tls

KeyVersion = Annotated[int, Meta(ge=1, le=2**31 - 1)]


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """Settings of one server; the JSON file of `python -m sync_server` has the same keys, bytes in base64."""

    database_url: str  # SQLAlchemy's, for instance sqlite:////var/lib/pocketrec/sync.sqlite
    secret_key: Annotated[bytes, Meta(min_length=32)]  # the server's own, shared by its workers; of challenges
    identifier_keys: Annotated[  # of identifiers at rest, by version; see `sync_server.identifiers`
        dict[KeyVersion, Annotated[bytes, Meta(min_length=MIN_KEY_BYTES)]], Meta(min_length=1)
    ]
    placeholders: dict[OwnerKind, list[str]] = {}  # values that stand for nobody, beside those of `identifier_rules`
    identifier_limits: dict[OwnerKind, Annotated[int, Meta(ge=1)]] = {}  # of one person; see `identifier_rules.LIMITS`
    identity_issuer: str  # the `iss` of the shop's OpenID Connect provider, and where its keys are discovered
    identity_audience: str  # the `aud` that its tokens must name
    identity_keys: dict[str, Any] | None = None  # its keys as a JWKS, where they are not to be discovered
    identity_claims: dict[str, OwnerKind] = field(  # claims with further identifiers of the person
        default_factory=lambda: {"card": OwnerKind.CARD}
    )
    identity_leeway_s: Annotated[int, Meta(ge=0, le=600)] = 60  # how far the provider's clock may be off
    attestation: str | None = None  # module:function that judges a phone's or till's attestation when it enrols
    enrolments_per_address_and_hour: Annotated[int, Meta(ge=1)] = 1_000  # phones: many share a carrier's address
    enrolments_per_staff_and_hour: Annotated[int, Meta(ge=1)] = 100  # devices of the shop, by name of the staff
    phone_rate: Rate | None = Rate(requests_per_s=1, requests_at_once=60, events_per_s=100, events_at_once=50_000)
    shop_rate: Rate | None = Rate(
        requests_per_s=200, requests_at_once=2_000, events_per_s=5_000, events_at_once=250_000
    )
    erasure_journal: str  # a file outside the store and its backups, see `sync_server.erasure_journal`
    repository: str  # folder of the TUF repository with metadata/ and targets/; also tells the newest bundle
    staff: dict[str, Member] = {}  # by name, see `sync_server.staff`; without any no till can enrol
    repository_path: Annotated[str, Meta(pattern="^/[a-z0-9_-]+$")] = "/repository"  # where it is served
    broker: str | None = None  # where changes are told: nats://host:4222, amqp://host/ or kafka://host:9092,host:9092
    outbox_days: Annotated[int, Meta(ge=1)] = 28  # how long it is kept what was told to whom
    quarantine_days: Annotated[int, Meta(ge=1)] = 90  # how long it is counted what had no readable key
    tls: Tls = "auto"  # see `sync_server.tls`
    tls_folder: str | None = None  # of the server's own certificate; by default beside a SQLite store or the repository
    trusted_proxies: tuple[str, ...] = ()  # addresses or networks whose X-Forwarded-For tells a client's address
    log_requests: bool = True  # a line for each on standard error
    clock_file: str | None = None  # read the time from this file (see FileClock) instead of the machine's clock
    max_body_bytes: Annotated[int, Meta(ge=1024)] = MAX_BODY_BYTES
    max_decoded_bytes: Annotated[int, Meta(ge=1024)] = MAX_DECODED_BYTES
    max_publication_bytes: Annotated[int, Meta(ge=1024)] = 2**29  # of an upload to /v1/bundles; it lies on the disk
    retry_changed_s: Annotated[int, Meta(ge=1)] = 60  # come back after so long where something changed
    retry_idle_s: Annotated[int, Meta(ge=1)] = 900  # and after so long where nothing did
    retry_longest_s: Annotated[int, Meta(ge=1)] = 4 * 3600  # growing to so long while nothing does

    @cached_property
    def issuer(self) -> Issuer:
        """Of this process: it holds the keys that were discovered."""
        keys = IdentityKeys(self.identity_issuer, self.identity_keys)
        audience, claims = self.identity_audience, self.identity_claims
        return Issuer(self.identity_issuer, audience, keys, claims, self.rules, self.identity_leeway_s)

    @property
    def rules(self) -> IdentifierRules:
        return IdentifierRules(self.placeholders, self.identifier_limits)

    @property
    def keys(self) -> IdentifierKeys:
        return IdentifierKeys(self.identifier_keys)

    def clock(self) -> Clock:
        return SystemClock() if self.clock_file is None else FileClock(Path(self.clock_file))


def load_settings(path: Path) -> ServerSettings:
    """Settings from a JSON file.

    Raises:
        ConfigError: if the file is missing, no JSON, or its keys or values are not those of `ServerSettings`.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=ServerSettings)
    except OSError as error:
        raise ConfigError(f"settings file {path} cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"settings file {path} is not valid: {error}") from None
