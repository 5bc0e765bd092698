"""Comments on versions of registered models, and requests to move them to a stage.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "registry_comments",
        sa.Column("id", sa.String(length=32), primary_key=True),
        sa.Column("model_name", sa.String(length=256), nullable=False),
        sa.Column("version", sa.String(length=20), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("creator", sa.String(length=255), nullable=False),
        sa.Column("creator_id", sa.String(length=20), nullable=False),
        sa.Column("creation_timestamp", sa.BigInteger(), nullable=False),
        sa.Column("last_updated_timestamp", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_registry_comments_version", "registry_comments", ["model_name", "version"])
    op.create_table(
        "transition_requests",
        sa.Column("id", sa.String(length=32), primary_key=True),
        sa.Column("model_name", sa.String(length=256), nullable=False),
        sa.Column("version", sa.String(length=20), nullable=False),
        sa.Column("to_stage", sa.String(length=16), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("creator", sa.String(length=255), nullable=False),
        sa.Column("creator_id", sa.String(length=20), nullable=False),
        sa.Column("creation_timestamp", sa.BigInteger(), nullable=False),
        sa.UniqueConstraint(
            "model_name", "version", "to_stage", "creator_id", name="uq_transition_requests_asked_once"
        ),
    )


def downgrade() -> None:
    op.drop_table("transition_requests")
    op.drop_table("registry_comments")
