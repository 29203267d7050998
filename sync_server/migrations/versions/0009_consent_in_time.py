"""Decisions about consent have a time of their own, and devices are remembered by the numbers they spoke of."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

# Decisions that were taken without their clocks were made when they arrived.
SINCE = """
UPDATE consents SET since = (
    SELECT COALESCE(MIN(fact.received_at), 0) FROM consent_facts AS fact
    WHERE fact.owner_id = consents.owner_id AND fact.purpose = consents.purpose AND fact.applied AND fact.granted
    AND fact.version > (
        SELECT COALESCE(MAX(refusal.version), 0) FROM consent_facts AS refusal
        WHERE refusal.owner_id = consents.owner_id AND refusal.purpose = consents.purpose
        AND refusal.applied AND NOT refusal.granted
    )
) WHERE granted
"""


def upgrade() -> None:
    op.add_column("devices", sa.Column("reported_epoch", sa.BigInteger(), nullable=True))
    op.add_column("devices", sa.Column("reported_seq", sa.BigInteger(), nullable=True))
    op.add_column("consents", sa.Column("since", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("consent_facts", sa.Column("made_ms", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("consent_facts", sa.Column("boot_id", sa.String(length=64), nullable=False, server_default=""))
    op.add_column("consent_facts", sa.Column("uptime_ms", sa.BigInteger(), nullable=False, server_default="0"))
    op.execute("UPDATE consent_facts SET made_ms = received_at")
    op.execute(SINCE)
