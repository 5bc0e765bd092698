"""The tables. Times are milliseconds since the epoch; ids are hex text unless said otherwise."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    false,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    type_annotation_map = {  # noqa: RUF012  (SQLAlchemy reads it from the class)
        dict[str, Any]: JSON,
        list[Any]: JSON,
    }


class WorkspaceSetting(Base):
    """Facts of this workspace made once, such as `workspace_id`."""

    __tablename__ = "workspace_settings"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(Text)


class User(Base):
    """A person who may sign in. `id` is digits in text, as SCIM clients expect."""

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(String(20), primary_key=True)
    user_name: Mapped[str] = mapped_column(String(255), unique=True)
    display_name: Mapped[str] = mapped_column(String(255), default="")
    active: Mapped[bool] = mapped_column(Boolean, default=True)
    admin: Mapped[bool] = mapped_column(Boolean, default=False)
    created_at: Mapped[int] = mapped_column(BigInteger)


class Token(Base):
    """A personal access token. Only the SHA-256 hex digest of its text is kept."""

    __tablename__ = "tokens"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    comment: Mapped[str] = mapped_column(Text, default="")
    creation_time: Mapped[int] = mapped_column(BigInteger)
    expiry_time: Mapped[int] = mapped_column(BigInteger, default=-1)


class Endpoint(Base):
    """A serving endpoint: what the user asked for. `config_update` holds the wire value.

    `active_version` is the configuration that serves, `pending_version` the one being deployed or, after
    `UPDATE_FAILED`, the one that failed. `deleting` marks an endpoint that is gone for users while the
    reconciler takes its replicas down; its row leaves when that is done. `kind` is the `EntityKind` of its
    served entities, None before the first configuration. `stopped` keeps `active_version`: what a start deploys.
    """

    __tablename__ = "endpoints"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(63), index=True)
    creator: Mapped[str] = mapped_column(String(255))
    creator_id: Mapped[str] = mapped_column(String(20))
    creation_timestamp: Mapped[int] = mapped_column(BigInteger)
    last_updated_timestamp: Mapped[int] = mapped_column(BigInteger)
    description: Mapped[str] = mapped_column(Text, default="")
    route_optimized: Mapped[bool] = mapped_column(Boolean, default=False)
    budget_policy_id: Mapped[str | None] = mapped_column(Text)
    tags: Mapped[list[Any]] = mapped_column(default=list)
    email_notifications: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    rate_limits: Mapped[list[Any] | None] = mapped_column(JSON)
    ai_gateway: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    telemetry_config: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    config_update: Mapped[str] = mapped_column(String(32), default="NOT_UPDATING")
    active_version: Mapped[int | None] = mapped_column(Integer)
    pending_version: Mapped[int | None] = mapped_column(Integer)
    last_version: Mapped[int] = mapped_column(Integer, default=0)
    deleting: Mapped[bool] = mapped_column(Boolean, default=False)
    stopped: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())
    kind: Mapped[str | None] = mapped_column(String(32))

    __table_args__ = (
        # A name is taken while a live endpoint holds it; one that is being deleted no longer does.
        Index("uq_endpoint_live_name", "name", unique=True, sqlite_where=(deleting.is_(False)),
              postgresql_where=(deleting.is_(False))),
    )


class Config(Base):
    """One version of an endpoint's configuration, never changed after it is written.

    `body` holds `traffic_config` and `auto_capture_config` as echoed, and `served_entities`: a list of
    `{"name", "deployment_id"}` in the order given; the rest of an entity is in its deployment.
    """

    __tablename__ = "configs"

    endpoint_id: Mapped[str] = mapped_column(ForeignKey("endpoints.id", ondelete="CASCADE"), primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True)
    body: Mapped[dict[str, Any]] = mapped_column()
    start_time: Mapped[int] = mapped_column(BigInteger)
    created_by: Mapped[str] = mapped_column(String(255))


class Deployment(Base):
    """A served entity on its way to serving, or serving. `spec` is the served entity as the user gave it.

    `phase` is a `DeploymentPhase`; `message` explains it in words; `trigger` names what moved it there.
    `max_concurrency` is the provisioned concurrency that it may grow to, counted against the workspace's quota.
    """

    __tablename__ = "deployments"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    endpoint_id: Mapped[str] = mapped_column(ForeignKey("endpoints.id", ondelete="CASCADE"), index=True)
    served_name: Mapped[str] = mapped_column(String(63))
    spec: Mapped[dict[str, Any]] = mapped_column()
    creator: Mapped[str] = mapped_column(String(255))
    creation_timestamp: Mapped[int] = mapped_column(BigInteger)
    phase: Mapped[str] = mapped_column(String(32), default="PENDING")
    message: Mapped[str] = mapped_column(Text, default="")
    trigger: Mapped[str] = mapped_column(String(64), default="CONFIG_ACCEPTED")
    environment_key: Mapped[str | None] = mapped_column(String(64))
    model_path: Mapped[str | None] = mapped_column(Text)
    failures: Mapped[int] = mapped_column(Integer, default=0)
    max_concurrency: Mapped[int] = mapped_column(Integer, default=0, server_default="0")


class Replica(Base):
    """A model process. `pid` and `started_at` (kernel start ticks) together name it for its whole life."""

    __tablename__ = "replicas"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    deployment_id: Mapped[str] = mapped_column(ForeignKey("deployments.id", ondelete="CASCADE"), index=True)
    phase: Mapped[str] = mapped_column(String(32), default="STARTING")
    address: Mapped[str] = mapped_column(Text)
    pid: Mapped[int | None] = mapped_column(Integer)
    started_at: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[int] = mapped_column(BigInteger)


class Event(Base):
    """Something that happened to an endpoint, kept for its Events list. Outlives the endpoint's row."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    endpoint_id: Mapped[str] = mapped_column(String(32), index=True)
    endpoint_name: Mapped[str] = mapped_column(String(63))
    served_name: Mapped[str | None] = mapped_column(String(63))
    event_type: Mapped[str] = mapped_column(String(64))
    status: Mapped[str] = mapped_column(String(32))
    trigger: Mapped[str] = mapped_column(String(64), default="")
    message: Mapped[str] = mapped_column(Text)
    timestamp: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (UniqueConstraint("endpoint_id", "id"),)
