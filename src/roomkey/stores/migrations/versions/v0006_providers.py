"""Add the users of OpenID providers: their links to accounts, and the provider's names of their login sessions."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create the table, the columns and their indexes."""
    op.create_table(
        "provider_links",
        sa.Column("issuer", sa.String(255), primary_key=True),
        sa.Column("subject", sa.String(255), primary_key=True),
        sa.Column("username", sa.String(150), nullable=False),
    )
    for name in ("issuer", "subject", "session"):
        op.add_column(
            "login_sessions", sa.Column(f"provider_{name}", sa.String(255), nullable=False, server_default="")
        )
    op.add_column(
        "login_sessions", sa.Column("provider_auth_time", sa.BigInteger(), nullable=False, server_default="0")
    )
    for name in ("subject", "session"):
        op.create_index(f"ix_login_sessions_provider_{name}", "login_sessions", [f"provider_{name}", "provider_issuer"])
