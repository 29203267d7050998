"""After which moment the last request of a device was made, which may be long before it was taken."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.add_column("devices", sa.Column("reported_after", sa.BigInteger()))
