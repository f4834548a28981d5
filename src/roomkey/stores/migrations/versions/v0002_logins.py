"""Add login sessions, refresh tokens, OAuth clients, single-use values, and display names."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the tables."""
    op.add_column("users", sa.Column("name", sa.String(), nullable=False, server_default=""))
    op.create_table(
        "login_sessions",
        sa.Column("session_id", sa.String(64), primary_key=True),
        sa.Column("subject", sa.String(255), nullable=False, index=True),
        sa.Column("client_id", sa.String(255), nullable=False),
        sa.Column("auth_time", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False, index=True),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("user_agent", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.BigInteger()),
    )
    op.create_table(
        "refresh_tokens",
        sa.Column("token_hash", sa.String(64), primary_key=True),
        sa.Column(
            "session_id",
            sa.String(64),
            sa.ForeignKey("login_sessions.session_id", ondelete="CASCADE"),
            nullable=False,
            index=True,
        ),
        sa.Column("used_at", sa.BigInteger()),
    )
    op.create_table(
        "one_time",
        sa.Column("name_hash", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False, index=True),
        sa.Column("used_at", sa.BigInteger()),
        sa.Column("became", sa.String(255)),
    )
    op.create_table(
        "clients",
        sa.Column("client_id", sa.String(150), primary_key=True),
        sa.Column("secret_hash", sa.String(64)),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("redirect_uris", sa.JSON(), nullable=False),
        sa.Column("grants", sa.JSON(), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("roles", sa.JSON(), nullable=False),
        sa.Column("rooms", sa.JSON(), nullable=False),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
    )
