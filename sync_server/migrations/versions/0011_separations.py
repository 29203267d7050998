"""Links that lead beyond a limit keep their reason; staff can take apart what was wrongly taken for one person."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("links", sa.Column("reason", sa.Text(), nullable=False, server_default=""))
    op.create_index(op.f("ix_links_second_id"), "links", ["second_id"], unique=False)
    op.create_table(
        "separations",
        sa.Column("id", KEY, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("lifted_at", sa.BigInteger(), nullable=True),
        sa.Column("lifted_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "separated",
        sa.Column("separation_id", KEY, nullable=False),
        sa.Column("owner_id", KEY, nullable=False),
        sa.Column("side", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["separation_id"], ["separations.id"]),
        sa.ForeignKeyConstraint(["owner_id"], ["owners.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("separation_id", "owner_id"),
    )
    op.create_index(op.f("ix_separated_owner_id"), "separated", ["owner_id"], unique=False)
