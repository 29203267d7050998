"""Enrolments are counted by the hour, and devices can be revoked."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("devices", sa.Column("revoked_at", sa.BigInteger(), nullable=True))
    op.create_table(
        "enrolments",
        sa.Column("source", sa.String(length=128), nullable=False),
        sa.Column("hour", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("source"),
    )
