"""Metrics of served entities, minute by minute.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "metric_minutes",
        sa.Column("endpoint_id", sa.String(length=32), nullable=False),
        sa.Column("served_name", sa.String(length=63), nullable=False),
        sa.Column("minute", sa.BigInteger(), nullable=False),
        sa.Column("requests", sa.Integer(), nullable=False),
        sa.Column("ok_2xx", sa.Integer(), nullable=False),
        sa.Column("errors_4xx", sa.Integer(), nullable=False),
        sa.Column("errors_5xx", sa.Integer(), nullable=False),
        sa.Column("latency", sa.JSON(), nullable=False),
        sa.Column("latency_total", sa.Float(), nullable=False),
        sa.Column("queue", sa.JSON(), nullable=False),
        sa.Column("queue_total", sa.Float(), nullable=False),
        sa.Column("prediction", sa.JSON(), nullable=False),
        sa.Column("prediction_total", sa.Float(), nullable=False),
        sa.Column("batch_total", sa.Float(), nullable=False),
        sa.Column("batch_count", sa.Integer(), nullable=False),
        sa.Column("cold_starts", sa.Integer(), nullable=False),
        sa.Column("cpu_percentage", sa.Float(), nullable=True),
        sa.Column("memory_percentage", sa.Float(), nullable=True),
        sa.Column("replicas", sa.Integer(), nullable=False),
        sa.Column("provisioned_concurrency", sa.Integer(), nullable=False),
        sa.Column("used_concurrency", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["endpoint_id"], ["endpoints.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("endpoint_id", "served_name", "minute"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_metric_minutes_minute", "metric_minutes", ["minute"])


def downgrade() -> None:
    op.drop_index("ix_metric_minutes_minute", table_name="metric_minutes")
    op.drop_table("metric_minutes")
