"""Add first-party clients, those of the server's own operator."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column. Existing clients are not first-party clients."""
    op.add_column("clients", sa.Column("first_party", sa.Boolean(), nullable=False, server_default=sa.false()))
