"""Service principals, groups, permissions, secrets, OAuth secrets and the audit log.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import secrets
import time

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_users = sa.table("users", sa.column("id", sa.String), sa.column("admin", sa.Boolean))
_groups = sa.table(
    "groups",
    sa.column("id", sa.String),
    sa.column("display_name", sa.String),
    sa.column("entitlements", sa.JSON),
    sa.column("roles", sa.JSON),
    sa.column("created_at", sa.BigInteger),
)
_members = sa.table("group_members", sa.column("group_id", sa.String), sa.column("member_id", sa.String))


def upgrade() -> None:
    op.create_table(
        "groups",
        sa.Column("id", sa.String(length=20), primary_key=True),
        sa.Column("display_name", sa.String(length=255), nullable=False, unique=True),
        sa.Column("entitlements", sa.JSON(), nullable=False),
        sa.Column("roles", sa.JSON(), nullable=False),
        sa.Column("external_id", sa.String(length=255), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "group_members",
        sa.Column(
            "group_id", sa.String(length=20), sa.ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("member_id", sa.String(length=20), primary_key=True),
    )
    op.create_index("ix_group_members_member_id", "group_members", ["member_id"])
    op.create_table(
        "permissions",
        sa.Column("object_type", sa.String(length=32), primary_key=True),
        sa.Column("object_id", sa.String(length=256), primary_key=True),
        sa.Column("principal_id", sa.String(length=20), primary_key=True),
        sa.Column("level", sa.String(length=32), nullable=False),
    )
    op.create_index("ix_permissions_principal_id", "permissions", ["principal_id"])
    op.create_table(
        "registered_model_owners",
        sa.Column("name", sa.String(length=256), primary_key=True),
        sa.Column("owner_id", sa.String(length=20), nullable=False),
    )
    op.create_table(
        "secret_scopes",
        sa.Column("name", sa.String(length=128), primary_key=True),
        sa.Column("backend_type", sa.String(length=32), nullable=False),
        sa.Column("created_by", sa.String(length=20), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "secrets",
        sa.Column(
            "scope", sa.String(length=128), sa.ForeignKey("secret_scopes.name", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("key", sa.String(length=128), primary_key=True),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.Column("last_updated_timestamp", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "oauth_secrets",
        sa.Column("id", sa.String(length=32), primary_key=True),
        sa.Column("service_principal_id", sa.String(length=20), sa.ForeignKey("users.id", ondelete="CASCADE"),
                  nullable=False, index=True),
        sa.Column("digest", sa.String(length=64), nullable=False, unique=True),
        sa.Column("hint", sa.String(length=16), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("expire_time", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "oauth_grants",
        sa.Column("digest", sa.String(length=64), primary_key=True),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("user_id", sa.String(length=20), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("expiry_time", sa.BigInteger(), nullable=False, index=True),
        sa.Column("family", sa.String(length=32), nullable=False, index=True),
        sa.Column("used_time", sa.BigInteger(), nullable=True),
    )
    op.create_table(
        "audit_log",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("timestamp", sa.BigInteger(), nullable=False, index=True),
        sa.Column("user_id", sa.String(length=20), nullable=False),
        sa.Column("user_name", sa.String(length=255), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("object_type", sa.String(length=32), nullable=False),
        sa.Column("object_id", sa.String(length=255), nullable=False),
        sa.Column("source_address", sa.String(length=64), nullable=False),
        sa.Column("request_id", sa.String(length=128), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
    )
    op.create_table(
        "model_accounts",
        sa.Column("creator_id", sa.String(length=20), primary_key=True),
        sa.Column("number", sa.Integer(), nullable=False, unique=True),
    )
    op.add_column("users", sa.Column("kind", sa.String(length=32), nullable=False, server_default="user"))
    op.add_column("users", sa.Column("entitlements", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("users", sa.Column("roles", sa.JSON(), nullable=False, server_default="[]"))
    for name in ("given_name", "family_name", "external_id"):
        op.add_column("users", sa.Column(name, sa.String(length=255), nullable=True))
    op.add_column("tokens", sa.Column("kind", sa.String(length=16), nullable=False, server_default="personal"))
    op.add_column("tokens", sa.Column("only_endpoint", sa.String(length=32), nullable=True))
    op.add_column("tokens", sa.Column("created_by_id", sa.String(length=20), nullable=True))
    op.add_column("tokens", sa.Column("last_used_day", sa.BigInteger(), nullable=True))
    op.add_column("tokens", sa.Column("family", sa.String(length=32), nullable=True))
    for name in ("expiry_time", "family"):
        op.create_index(f"ix_tokens_{name}", "tokens", [name])

    connection = op.get_bind()
    now = time.time_ns() // 1_000_000
    ids = {name: str(10**15 + secrets.randbelow(8 * 10**15)) for name in ("admins", "users")}
    for name, identifier in ids.items():
        connection.execute(
            _groups.insert().values(id=identifier, display_name=name, entitlements=[], roles=[], created_at=now)
        )
    for user_id in connection.scalars(sa.select(_users.c.id).where(_users.c.admin)).all():
        connection.execute(_members.insert().values(group_id=ids["admins"], member_id=user_id))
    op.drop_column("users", "admin")


def downgrade() -> None:
    op.add_column("users", sa.Column("admin", sa.Boolean(), nullable=False, server_default=sa.false()))
    connection = op.get_bind()
    admins = (
        sa.select(_members.c.member_id)
        .join(_groups, _groups.c.id == _members.c.group_id)
        .where(_groups.c.display_name == "admins")
    )
    connection.execute(_users.update().where(_users.c.id.in_(admins)).values(admin=True))
    for name in ("expiry_time", "family"):
        op.drop_index(f"ix_tokens_{name}", "tokens")
    for name in ("family", "last_used_day", "created_by_id", "only_endpoint", "kind"):
        op.drop_column("tokens", name)
    for name in ("external_id", "family_name", "given_name", "roles", "entitlements", "kind"):
        op.drop_column("users", name)
    for name in ("model_accounts", "audit_log", "oauth_grants", "oauth_secrets", "secrets", "secret_scopes",
                 "registered_model_owners", "permissions",
                 "group_members", "groups"):
        op.drop_table(name)
