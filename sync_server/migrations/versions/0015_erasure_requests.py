"""Erasures know the request that they answered."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.add_column("erasures", sa.Column("owners", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("erasures", sa.Column("request", sa.String(length=64), nullable=False, server_default=""))
    op.create_index(op.f("ix_erasures_request"), "erasures", ["request"])
