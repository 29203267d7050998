"""Quarantined events know when they were made and what they may serve; hashes of what cannot be read are keyed.

The clocks of requests that came before are gone: their quarantined events were made when their devices said, but not
later than they came, and may enter the profile where personalization stood by then.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from alembic import op

from sync_server.received import fields_at_rest

revision = "0013"
down_revision = "0012"

PAGE = 5_000  # rows at once
HELD = sa.text(
    "SELECT device_id, epoch, seq, payload, received_at FROM events WHERE verdict = 'quarantined' "
    "AND payload IS NOT NULL AND (device_id, epoch, seq) > (:device_id, :epoch, :seq) "
    f"ORDER BY device_id, epoch, seq LIMIT {PAGE}"
)
CHANGE = sa.text(
    "UPDATE events SET payload = :payload, payload_hash = :payload_hash, occurred_ms = :occurred_ms, uncertain = TRUE, "
    "profiled = EXISTS (SELECT 1 FROM consents WHERE consents.owner_id = events.owner_id AND granted "
    "AND purpose = 'personalization' AND since <= :occurred_ms) "
    "WHERE device_id = :device_id AND epoch = :epoch AND seq = :seq"
)


def upgrade() -> None:
    connection = op.get_bind()
    for page in _pages(connection):
        connection.execute(CHANGE, [_held(row) for row in page])
    nobody_s = sa.text("UPDATE events SET payload_hash = :none WHERE verdict = 'quarantined' AND payload IS NULL")
    connection.execute(nobody_s, {"none": b""})
    op.execute("DELETE FROM quarantine")  # counted, and named by hashes without a key


def _pages(connection: sa.Connection) -> Iterator[Sequence[Any]]:
    last: dict[str, Any] = {"device_id": "", "epoch": -1, "seq": -1}
    while page := connection.execute(HELD, last).all():
        yield page
        last = {name: getattr(page[-1], name) for name in last}


def _held(row: Any) -> dict[str, Any]:
    fields = msgspec.json.decode(bytes(row.payload))
    payload, said = fields_at_rest(fields), fields.get("occurred_at")
    made = said if type(said) is int and 0 <= said <= row.received_at else row.received_at
    return {
        "device_id": row.device_id,
        "epoch": row.epoch,
        "seq": row.seq,
        "payload": payload,
        "payload_hash": hashlib.sha256(payload).digest(),
        "occurred_ms": made,
    }
