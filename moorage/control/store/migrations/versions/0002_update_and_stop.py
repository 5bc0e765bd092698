"""Stopped endpoints, the kind of an endpoint, and the provisioned concurrency of a deployment.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_SIZES = {"Small": 4, "Medium": 16, "Large": 64}

_endpoints = sa.table("endpoints", sa.column("kind", sa.String), sa.column("last_version", sa.Integer))
_deployments = sa.table(
    "deployments",
    sa.column("id", sa.String),
    sa.column("spec", sa.JSON),
    sa.column("max_concurrency", sa.Integer),
)


def upgrade() -> None:
    op.add_column("endpoints", sa.Column("stopped", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("endpoints", sa.Column("kind", sa.String(length=32), nullable=True))
    op.add_column("deployments", sa.Column("max_concurrency", sa.Integer(), nullable=False, server_default="0"))
    connection = op.get_bind()
    # Every configuration of the first schema was one of custom models.
    connection.execute(_endpoints.update().where(_endpoints.c.last_version > 0).values(kind="CUSTOM_MODEL"))
    for identifier, spec in connection.execute(sa.select(_deployments.c.id, _deployments.c.spec)).all():
        most = spec.get("max_provisioned_concurrency") or _SIZES.get(spec.get("workload_size"), 4)
        connection.execute(
            _deployments.update().where(_deployments.c.id == identifier).values(max_concurrency=most)
        )


def downgrade() -> None:
    op.drop_column("deployments", "max_concurrency")
    op.drop_column("endpoints", "kind")
    op.drop_column("endpoints", "stopped")
