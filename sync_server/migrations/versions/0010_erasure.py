"""Tombstones, which erasures were carried out, and where the events of an owner are."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
PLACES = """
INSERT INTO owner_events (owner_id, device_id, epoch, first, last)
SELECT owner_id, device_id, epoch, MIN(seq), MAX(seq) FROM events WHERE owner_id IS NOT NULL
GROUP BY owner_id, device_id, epoch ORDER BY owner_id, device_id, epoch
"""


def upgrade() -> None:
    op.add_column("devices", sa.Column("erased_at", sa.BigInteger(), nullable=True))
    op.add_column("owners", sa.Column("not_before", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_table(
        "owner_events",
        sa.Column("owner_id", KEY, nullable=False),
        sa.Column("device_id", sa.String(length=128), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner_id", "device_id", "epoch", "first"),
        sqlite_with_rowid=False,
    )
    op.execute(PLACES)
    op.create_table(
        "tombstones",
        sa.Column("digest", sa.String(length=128), nullable=False),
        sa.Column("key_version", sa.Integer(), nullable=False),
        sa.Column("erased_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_table(
        "erasures",
        sa.Column("erasure_id", sa.String(length=32), nullable=False),
        sa.Column("erased_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("erasure_id"),
    )
