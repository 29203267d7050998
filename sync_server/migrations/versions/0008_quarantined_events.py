"""Quarantined events are found by time: they are few, and the fleet's health counts those of a day."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

QUARANTINED = sa.text("verdict = 'quarantined'")


def upgrade() -> None:
    op.create_index(
        "events_quarantined", "events", ["received_at"], sqlite_where=QUARANTINED, postgresql_where=QUARANTINED
    )
