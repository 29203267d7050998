"""Owners know when their summary changed: a sync that changed nothing then reads no summary."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

LATEST = """
UPDATE owners SET profile_stamp = (
    SELECT COALESCE(MAX(stamp), 0) FROM (
        SELECT stamp FROM item_activities WHERE owner_id = owners.id
        UNION ALL SELECT stamp FROM order_lines WHERE owner_id = owners.id
    ) AS changed
), stamp = (
    SELECT MAX(stamp) FROM (
        SELECT owners.stamp AS stamp UNION ALL SELECT stamp FROM consents WHERE owner_id = owners.id
    ) AS decided
)
"""


def upgrade() -> None:
    op.add_column("owners", sa.Column("profile_stamp", sa.BigInteger(), nullable=False, server_default="0"))
    op.execute(LATEST)
