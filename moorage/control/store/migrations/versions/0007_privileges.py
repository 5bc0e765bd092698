"""Privileges on catalogs, schemas and models.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "privilege_grants",
        sa.Column("full_name", sa.String(length=256), primary_key=True),
        sa.Column("securable_type", sa.String(length=32), primary_key=True),
        sa.Column("principal_id", sa.String(length=20), primary_key=True),
        sa.Column("privilege", sa.String(length=64), primary_key=True),
    )
    op.create_index("ix_privilege_grants_principal_id", "privilege_grants", ["principal_id"])


def downgrade() -> None:
    op.drop_table("privilege_grants")
