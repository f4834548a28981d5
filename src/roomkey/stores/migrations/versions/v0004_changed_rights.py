"""Add changed rights to the journal of revocations."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column."""
    op.add_column("revocations", sa.Column("rights", sa.JSON()))
