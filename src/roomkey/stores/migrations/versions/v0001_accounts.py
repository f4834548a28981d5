"""Add accounts and revocations. Databases without a version already have some or all of these tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the missing tables."""
    known = set(sa.inspect(op.get_bind()).get_table_names())
    if "users" not in known:
        op.create_table(
            "users",
            sa.Column("username", sa.String(150), primary_key=True),
            sa.Column("password_hash", sa.String(), nullable=False),
            sa.Column("roles", sa.JSON(), nullable=False),
            sa.Column("rooms", sa.JSON(), nullable=False),
            sa.Column("disabled", sa.Boolean(), nullable=False),
            sa.Column("created_at", sa.BigInteger(), nullable=False),
        )
    if "revocations" not in known:
        op.create_table(
            "revocations",
            sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
            sa.Column("kind", sa.Text(), nullable=False),
            sa.Column("name", sa.Text(), nullable=False),
            sa.Column("issuer", sa.Text()),
            sa.Column("issued_before", sa.Double(), nullable=False),
            sa.Column("expires_at", sa.Double(), index=True),
            sa.Column("recorded_at", sa.Double(), nullable=False),
            sqlite_autoincrement=True,
        )
