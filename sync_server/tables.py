"""The schema. `migrations/` creates it; a test holds the two together.

Times are milliseconds since 1970 by the server's clock. A `stamp` is the store-wide change number of the transaction
that last changed the row.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()

Key = BigInteger().with_variant(Integer(), "sqlite")  # SQLite numbers rows by itself only under the name INTEGER

store = Table(
    "store",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # one row, number 1
    Column("generation", String(64), nullable=False),
    Column("changes", BigInteger, nullable=False),  # the last stamp given out
    Column("published", BigInteger, nullable=False, server_default="0"),  # every row of the outbox up to this id
    Column("identifier_version", Integer, nullable=False),  # of the key in force, 0 before the first
)

identifier_keys = Table(  # every version that a server has had
    "identifier_keys",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("fingerprint", String(64), nullable=False),
)

devices = Table(
    "devices",
    metadata,
    Column("device_id", String(128), primary_key=True),
    Column("public_key", LargeBinary(32), nullable=False, unique=True),
    Column("role", String(16), nullable=False),
    Column("epoch", BigInteger, nullable=False),  # the newest one issued
    Column("enrolled_at", BigInteger, nullable=False),
    Column("synced_at", BigInteger),
    Column("owner_id", Key, index=True),  # the current owner, once proven
    Column("profile_version", BigInteger),  # of the current owner's profile, as last told
    Column("changed_at", BigInteger),  # the last sync that brought or changed anything
    Column("revoked_at", BigInteger),
    Column("erased_at", BigInteger),  # whom it served was erased then, and it still holds what it knew of them
    Column("reported_epoch", BigInteger),  # of the last sync,
    Column("reported_seq", BigInteger),  # and the greatest number that it spoke of: -1 if of none
    Column("reported_after", BigInteger),  # after which moment that sync's request was made, 0 if nothing tells
)

enrolments = Table(  # of the current hour
    "enrolments",
    metadata,
    Column("source", String(128), primary_key=True),  # who of the staff, or a keyed digest of hour and address
    Column("hour", BigInteger, nullable=False),
    Column("count", BigInteger, nullable=False),
)

owners = Table(  # an identifier each; see sync_server.identifiers
    "owners",
    metadata,
    Column("id", Key, primary_key=True),
    Column("kind", String(16), nullable=False),  # one of contracts.identity.OwnerKind
    Column("key_version", Integer, nullable=False),
    Column("digest", String(128), nullable=False, unique=True),  # of `kind:value` under that key, hexadecimal
    Column("handle", String(32), nullable=False),  # random: what logs and messages call this owner
    Column("person_id", Key, nullable=False, index=True),  # the smallest id among the owners linked to this one
    Column("stamp", BigInteger, nullable=False),  # when it appeared, was linked or decided on consent
    Column("profile_stamp", BigInteger, nullable=False),  # when its summary changed last, 0 before the first event
    Column("not_before", BigInteger, nullable=False),  # what was made up to then is barred, 0 where nothing is
    sqlite_autoincrement=True,
)

Index("owners_handle", owners.c.handle, unique=True)

links = Table(
    "links",
    metadata,
    Column("first_id", Key, ForeignKey("owners.id"), primary_key=True),
    Column("second_id", Key, ForeignKey("owners.id"), primary_key=True, index=True),
    Column("device_id", String(128), nullable=False),  # which showed the token that says so
    Column("linked_at", BigInteger, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),  # why it joins nobody, empty where it may
)

separations = Table(  # "not the same person", until lifted
    "separations",
    metadata,
    Column("id", Key, primary_key=True),
    Column("actor", Text, nullable=False),
    Column("made_at", BigInteger, nullable=False),
    Column("lifted_at", BigInteger),
    Column("lifted_by", Text),
    sqlite_autoincrement=True,
)

separated = Table(
    "separated",
    metadata,
    Column("separation_id", Key, ForeignKey("separations.id"), primary_key=True),
    Column("owner_id", Key, ForeignKey("owners.id", ondelete="CASCADE"), primary_key=True, index=True),
    Column("side", Integer, nullable=False),  # 0 or 1
)

proofs = Table(
    "proofs",
    metadata,
    Column("owner_id", Key, ForeignKey("owners.id"), primary_key=True),
    Column("device_id", String(128), ForeignKey("devices.device_id"), primary_key=True),
    Column("proven_at", BigInteger, nullable=False),
)

consents = Table(
    "consents",
    metadata,
    Column("owner_id", Key, ForeignKey("owners.id"), primary_key=True),
    Column("purpose", String(32), primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("granted", Boolean, nullable=False),
    Column("since", BigInteger, nullable=False),  # of a grant: when it was made, or the first of those it renews
    Column("stamp", BigInteger, nullable=False),
)

consent_facts = Table(
    "consent_facts",
    metadata,
    Column("owner_id", Key, ForeignKey("owners.id"), primary_key=True),
    Column("fact_id", String(128), primary_key=True),
    Column("purpose", String(32), nullable=False),
    Column("granted", Boolean, nullable=False),
    Column("cites", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),  # the standing version afterwards
    Column("applied", Boolean, nullable=False),
    Column("device_id", String(128), nullable=False),
    Column("made_ms", BigInteger, nullable=False),  # fixed when it was received
    Column("boot_id", String(64), nullable=False),  # the device's own clock, empty where it sent none
    Column("uptime_ms", BigInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("device_id", String(128), primary_key=True),
    Column("epoch", BigInteger, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("payload_hash", LargeBinary(32), nullable=False),
    Column("verdict", String(16), nullable=False),  # accepted, quarantined or refused: given once, for ever
    Column("reason", Text, nullable=False),
    Column("owner_id", Key),  # where the device may speak for the owner that the event names
    Column("occurred_ms", BigInteger),  # of events that are kept, as are the following: fixed when first received
    Column("uncertain", Boolean),
    Column("profiled", Boolean),  # whether it is in the owner's profile; of a quarantined one, whether it may come in
    Column("payload", LargeBinary),  # JSON without the owner, of events that are accepted or quarantined
    Column("received_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
QUARANTINED = text(
    "verdict = 'quarantined'"
)  # few rows; spelled out, or no database would use the index for a parameter
Index("events_quarantined", events.c.received_at, sqlite_where=QUARANTINED, postgresql_where=QUARANTINED)

owner_events = Table(  # where to look for an owner's events: ranges of numbers among which they are
    "owner_events",
    metadata,
    Column("owner_id", Key, primary_key=True),
    Column("device_id", String(128), primary_key=True),
    Column("epoch", BigInteger, primary_key=True),
    Column("first", BigInteger, primary_key=True),
    Column("last", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

quarantine = Table(  # poison events without a readable key, for `quarantine_days`
    "quarantine",
    metadata,
    Column("device_id", String(128), primary_key=True),
    Column("payload_hash", LargeBinary(32), primary_key=True),  # keyed, see sync_server.received
    Column("reason", Text, nullable=False),
    Column("received_at", BigInteger, nullable=False),
)

settled_ranges = Table(  # received or dropped: disjoint, not adjacent
    "settled_ranges",
    metadata,
    Column("device_id", String(128), primary_key=True),
    Column("epoch", BigInteger, primary_key=True),
    Column("first", BigInteger, primary_key=True),
    Column("last", BigInteger, nullable=False),
)

dropped_ranges = Table(
    "dropped_ranges",
    metadata,
    Column("device_id", String(128), primary_key=True),
    Column("epoch", BigInteger, primary_key=True),
    Column("first", BigInteger, primary_key=True),
    Column("last", BigInteger, primary_key=True),
    Column("counts", Text, nullable=False),  # JSON, by event type
    Column("received_at", BigInteger, nullable=False),
)

item_activities = Table(
    "item_activities",
    metadata,
    Column("owner_id", Key, ForeignKey("owners.id"), primary_key=True),
    Column("item_id", String(128), primary_key=True),
    Column("weights", Text, nullable=False),  # JSON of contracts.summary.Weights
    Column("last_hour", BigInteger, nullable=False),
    Column("event", Integer, nullable=False),
    Column("stamp", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
Index("item_activities_stamp", item_activities.c.owner_id, item_activities.c.stamp)

order_lines = Table(
    "order_lines",
    metadata,
    Column("owner_id", Key, ForeignKey("owners.id"), primary_key=True),
    Column("order_id", String(128), primary_key=True),
    Column("item_id", String(128), primary_key=True),
    Column("hour", BigInteger, nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("refunded", Boolean, nullable=False),
    Column("stamp", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
Index("order_lines_stamp", order_lines.c.owner_id, order_lines.c.stamp)

hour_counts = Table(  # of events that no order line tells of; see contracts.windows
    "hour_counts",
    metadata,
    Column("owner_id", Key, ForeignKey("owners.id"), primary_key=True),
    Column("hour", BigInteger, primary_key=True),  # since 1970
    Column("event", Integer, primary_key=True),  # EVENT_CODES
    Column("events", BigInteger, nullable=False),  # how many
    Column("stamp", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
Index("hour_counts_stamp", hour_counts.c.owner_id, hour_counts.c.stamp)

rounds = Table(
    "rounds",
    metadata,
    Column("round_id", String(128), primary_key=True),
    Column("gateway", String(128), primary_key=True),
    Column("bundle_version", BigInteger, nullable=False),
    Column("adapter", LargeBinary, nullable=False),
    Column("clipping_norm", Float, nullable=False),
    Column("learning_rate", Float, nullable=False),
    Column("epochs", Integer, nullable=False),
    Column("deadline", BigInteger, nullable=False),
    Column("closed", Boolean, nullable=False),
)

round_tasks = Table(
    "round_tasks",
    metadata,
    Column("task_id", String(128), primary_key=True),
    Column("round_id", String(128), nullable=False),
    Column("gateway", String(128), nullable=False),
    Column("person_id", Key, ForeignKey("owners.id"), nullable=False, index=True),  # as frozen when the round opened
    Column("delta", LargeBinary),
    Column("answered_at", BigInteger),
    UniqueConstraint("round_id", "person_id"),
)

tombstones = Table(  # of erased identifiers; an owner who comes later takes `not_before` from here
    "tombstones",
    metadata,
    Column("digest", String(128), primary_key=True),
    Column("key_version", Integer, nullable=False),
    Column("erased_at", BigInteger, nullable=False),
)

erasures = Table(  # those of the journal that were carried out here
    "erasures",
    metadata,
    Column("erasure_id", String(32), primary_key=True),
    Column("erased_at", BigInteger, nullable=False),
    Column("owners", BigInteger, nullable=False),  # how many
    Column("request", String(64), nullable=False, index=True),  # see sync_server.erasure.request_key; empty if of staff
)

audit_log = Table(  # rows are only ever added: triggers refuse the rest
    "audit_log",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),  # 1, 2, 3 ...
    Column("at", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", String(32), nullable=False),
    Column("handle", String(32), nullable=False, index=True),  # of a person or an owner; empty: about nobody
    Column("detail", Text, nullable=False),  # JSON
    Column("hash", LargeBinary(32), nullable=False),
)

outbox = Table(  # an id is never given twice, even after its row is pruned
    "outbox",
    metadata,
    Column("id", Key, primary_key=True),
    Column("handle", String(128), nullable=False, index=True),
    Column("created_at", BigInteger, nullable=False),
    Column("body", Text, nullable=False),  # JSON of contracts.outbox.Message
    sqlite_autoincrement=True,
)
