"""Registered models that are served by stage.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "legacy_endpoints",
        sa.Column(
            "endpoint_id", sa.String(length=32), sa.ForeignKey("endpoints.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("registered_model_name", sa.String(length=256), nullable=False, unique=True),
        sa.Column("compute", sa.JSON(), nullable=False),
        sa.Column("stages", sa.JSON(), nullable=True),
        sa.Column("problem", sa.Text(), nullable=False, server_default=""),
    )


def downgrade() -> None:
    op.drop_table("legacy_endpoints")
