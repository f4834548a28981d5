"""Add the shared secret of the servers, the row of the write probe, and an index of sessions by client."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the tables and the index."""
    op.create_table(
        "secrets",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("secret", sa.String(64), nullable=False),
    )
    op.create_table(
        "probe",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("written_at", sa.Double(), nullable=False),
    )
    op.create_index("ix_login_sessions_client_id", "login_sessions", ["client_id"])
