"""Which version of its profile a device was told last, and when a sync last changed anything."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("devices", sa.Column("profile_version", sa.BigInteger()))
    op.add_column("devices", sa.Column("changed_at", sa.BigInteger()))
    op.create_index("ix_devices_owner_id", "devices", ["owner_id"])
