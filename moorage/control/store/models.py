"""The tables. Times are milliseconds since the epoch; ids are hex text unless said otherwise."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
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
    """A person, or a service principal, whose `user_name` is its application id. `kind` is a `PrincipalKind`.

    `id` is digits in text, as SCIM clients expect; no group has it too.
    """

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(String(20), primary_key=True)
    user_name: Mapped[str] = mapped_column(String(255), unique=True)
    display_name: Mapped[str] = mapped_column(String(255), default="")
    active: Mapped[bool] = mapped_column(Boolean, default=True)
    created_at: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str] = mapped_column(String(32), default="user", server_default="user")
    entitlements: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")
    roles: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")
    given_name: Mapped[str | None] = mapped_column(String(255))
    family_name: Mapped[str | None] = mapped_column(String(255))
    external_id: Mapped[str | None] = mapped_column(String(255))


class Token(Base):
    """A personal access token, or one of OAuth's. Only the SHA-256 hex digest of its text is kept.

    `kind` is a `TokenKind`. `only_endpoint` is the id of the one endpoint that a data-plane token may query;
    `created_by_id` is who made it where that is not its owner; `last_used_day` is midnight UTC. `family` is the
    consent or the client secret that an OAuth token comes from, and with which it is revoked.
    """

    __tablename__ = "tokens"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    comment: Mapped[str] = mapped_column(Text, default="")
    creation_time: Mapped[int] = mapped_column(BigInteger)
    expiry_time: Mapped[int] = mapped_column(BigInteger, default=-1, index=True)
    kind: Mapped[str] = mapped_column(String(16), default="personal", server_default="personal")
    only_endpoint: Mapped[str | None] = mapped_column(String(32))
    created_by_id: Mapped[str | None] = mapped_column(String(20))
    last_used_day: Mapped[int | None] = mapped_column(BigInteger)
    family: Mapped[str | None] = mapped_column(String(32), index=True)


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


class LegacyEndpoint(Base):
    """A registered model that an endpoint serves by stage. The row leaves when serving is disabled.

    `stages` maps versions to their stage as the registry last said it, those that are served only; None before it
    was asked. `compute` maps each stage to its `ComputeConfig`. `problem` says why what serves is not what the
    registry and the compute configuration ask for.
    """

    __tablename__ = "legacy_endpoints"

    endpoint_id: Mapped[str] = mapped_column(ForeignKey("endpoints.id", ondelete="CASCADE"), primary_key=True)
    registered_model_name: Mapped[str] = mapped_column(String(256), unique=True)
    compute: Mapped[dict[str, Any]] = mapped_column()
    stages: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    problem: Mapped[str] = mapped_column(Text, default="")


class Config(Base):
    """One version of an endpoint's configuration, never changed after it is written.

    `body` holds `traffic_config` and `auto_capture_config` as echoed, and `served_entities`: a list of
    `{"name", "deployment_id"}` in the order given; the rest of an entity is in its deployment. Where a registered
    model is served by stage, `aliases` maps stages and versions to the names of the entities that answer for
    them.
    """

    __tablename__ = "configs"

    endpoint_id: Mapped[str] = mapped_column(ForeignKey("endpoints.id", ondelete="CASCADE"), primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True)
    body: Mapped[dict[str, Any]] = mapped_column()
    start_time: Mapped[int] = mapped_column(BigInteger)
    created_by: Mapped[str] = mapped_column(String(255))


class Deployment(Base):
    """A served entity on its way to serving, or serving. `spec` is the served entity as the user gave it, an
    `EntitySpec`; credentials that were given as text are sealed in it.

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


class Notification(Base):
    """News of an update that is to be sent, until it was, or cannot be. Outlives the endpoint's row.

    `channel` and `outcome` are those of `control.notifications`. `recipients` are the addresses that have not got
    it yet, none for a webhook. `serving_version` is the configuration that serves after the update, if any.
    `attempts` counts an attempt before it is made, so that one that ends this process is counted too.
    """

    __tablename__ = "notifications"

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    channel: Mapped[str] = mapped_column(String(16))
    recipients: Mapped[list[Any]] = mapped_column()
    endpoint_id: Mapped[str] = mapped_column(String(32))
    endpoint_name: Mapped[str] = mapped_column(String(63))
    outcome: Mapped[str] = mapped_column(String(32))
    config_version: Mapped[int] = mapped_column(Integer)
    serving_version: Mapped[int | None] = mapped_column(Integer)
    message: Mapped[str] = mapped_column(Text)
    created_at: Mapped[int] = mapped_column(BigInteger)
    attempts: Mapped[int] = mapped_column(Integer, default=0, server_default="0")


class MetricMinute(Base):
    """What a minute saw of a served entity; `served_name` is empty for requests refused before one was drawn.

    `minute` is its beginning. `latency`, `queue` and `prediction` hold counts of requests by the upper bound of
    their bucket in milliseconds, and the `_total` columns the sums. Percentages are averages over replicas, None
    when none was looked at; the last three columns are the most at a time.
    """

    __tablename__ = "metric_minutes"

    endpoint_id: Mapped[str] = mapped_column(ForeignKey("endpoints.id", ondelete="CASCADE"), primary_key=True)
    served_name: Mapped[str] = mapped_column(String(63), primary_key=True)
    minute: Mapped[int] = mapped_column(BigInteger, primary_key=True, index=True)
    requests: Mapped[int] = mapped_column(Integer)
    ok_2xx: Mapped[int] = mapped_column(Integer)
    errors_4xx: Mapped[int] = mapped_column(Integer)
    errors_5xx: Mapped[int] = mapped_column(Integer)
    latency: Mapped[dict[str, Any]] = mapped_column()
    latency_total: Mapped[float] = mapped_column(Float)
    queue: Mapped[dict[str, Any]] = mapped_column()
    queue_total: Mapped[float] = mapped_column(Float)
    prediction: Mapped[dict[str, Any]] = mapped_column()
    prediction_total: Mapped[float] = mapped_column(Float)
    batch_total: Mapped[float] = mapped_column(Float)
    batch_count: Mapped[int] = mapped_column(Integer)
    cold_starts: Mapped[int] = mapped_column(Integer)
    cpu_percentage: Mapped[float | None] = mapped_column(Float)
    memory_percentage: Mapped[float | None] = mapped_column(Float)
    replicas: Mapped[int] = mapped_column(Integer)
    provisioned_concurrency: Mapped[int] = mapped_column(Integer)
    used_concurrency: Mapped[int] = mapped_column(Integer)

    # In the order of the key: one endpoint's minutes lie together, and are read together.
    __table_args__ = ({"sqlite_with_rowid": False},)


class Group(Base):
    """A group of users, service principals and groups. `admins` and `users` are in every workspace."""

    __tablename__ = "groups"

    id: Mapped[str] = mapped_column(String(20), primary_key=True)
    display_name: Mapped[str] = mapped_column(String(255), unique=True)
    entitlements: Mapped[list[Any]] = mapped_column(default=list)
    roles: Mapped[list[Any]] = mapped_column(default=list)
    external_id: Mapped[str | None] = mapped_column(String(255))
    created_at: Mapped[int] = mapped_column(BigInteger)


class GroupMember(Base):
    """A direct membership. `member_id` is the id of a user, a service principal or another group."""

    __tablename__ = "group_members"

    group_id: Mapped[str] = mapped_column(ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True)
    member_id: Mapped[str] = mapped_column(String(20), primary_key=True, index=True)


class Permission(Base):
    """A direct grant. `object_type` is an `ObjectType`, `object_id` an endpoint's id or another object's name."""

    __tablename__ = "permissions"

    object_type: Mapped[str] = mapped_column(String(32), primary_key=True)
    object_id: Mapped[str] = mapped_column(String(256), primary_key=True)
    principal_id: Mapped[str] = mapped_column(String(20), primary_key=True, index=True)
    level: Mapped[str] = mapped_column(String(32))


class PrivilegeGrant(Base):
    """A privilege on a catalog, a schema or a model: a `Privilege` on a `SecurableType` with its full name."""

    __tablename__ = "privilege_grants"

    full_name: Mapped[str] = mapped_column(String(256), primary_key=True)
    securable_type: Mapped[str] = mapped_column(String(32), primary_key=True)
    principal_id: Mapped[str] = mapped_column(String(20), primary_key=True, index=True)
    privilege: Mapped[str] = mapped_column(String(64), primary_key=True)


class RegisteredModelOwner(Base):
    """Who made a registered model of MLflow's. One without a row was made where this server did not see it."""

    __tablename__ = "registered_model_owners"

    name: Mapped[str] = mapped_column(String(256), primary_key=True)
    owner_id: Mapped[str] = mapped_column(String(20))


class SecretScope(Base):
    """A named set of secrets with grants of its own."""

    __tablename__ = "secret_scopes"

    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    backend_type: Mapped[str] = mapped_column(String(32), default="DATABRICKS")
    created_by: Mapped[str] = mapped_column(String(20))
    created_at: Mapped[int] = mapped_column(BigInteger)


class Secret(Base):
    """A value under AES-GCM; `ciphertext` begins with its nonce and is bound to scope and key."""

    __tablename__ = "secrets"

    scope: Mapped[str] = mapped_column(ForeignKey("secret_scopes.name", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String(128), primary_key=True)
    ciphertext: Mapped[bytes] = mapped_column(LargeBinary)
    last_updated_timestamp: Mapped[int] = mapped_column(BigInteger)


class OAuthSecret(Base):
    """A client secret of a service principal. Only its SHA-256 hex digest is kept, and its first characters."""

    __tablename__ = "oauth_secrets"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    service_principal_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    hint: Mapped[str] = mapped_column(String(16))
    create_time: Mapped[int] = mapped_column(BigInteger)
    expire_time: Mapped[int] = mapped_column(BigInteger)


class OAuthGrant(Base):
    """An authorization code, a refresh token or a sign-in code, by the digest of its text.

    `kind` is a `GrantKind`, `details` are what it is bound to. `family` is the consent that it comes from. One that
    was used stays until it expires, with its `used_time`: who presents it again may have stolen it.
    """

    __tablename__ = "oauth_grants"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    details: Mapped[dict[str, Any]] = mapped_column()
    expiry_time: Mapped[int] = mapped_column(BigInteger, index=True)
    family: Mapped[str] = mapped_column(String(32), index=True)
    used_time: Mapped[int | None] = mapped_column(BigInteger)


class AuditRecord(Base):
    """Who did what to which object, from where, and how it ended (HTTP status). Never changed, only added."""

    __tablename__ = "audit_log"

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    timestamp: Mapped[int] = mapped_column(BigInteger, index=True)
    user_id: Mapped[str] = mapped_column(String(20))
    user_name: Mapped[str] = mapped_column(String(255))
    action: Mapped[str] = mapped_column(String(64))
    object_type: Mapped[str] = mapped_column(String(32))
    object_id: Mapped[str] = mapped_column(String(255))
    source_address: Mapped[str] = mapped_column(String(64))
    request_id: Mapped[str] = mapped_column(String(128))
    status: Mapped[int] = mapped_column(Integer)
    details: Mapped[dict[str, Any]] = mapped_column()


class ModelAccount(Base):
    """The system user id under which the models of one creator run when the server may choose."""

    __tablename__ = "model_accounts"

    creator_id: Mapped[str] = mapped_column(String(20), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, unique=True)


class RegistryComment(Base):
    """What somebody said about a version of a registered model. `creator` is the user name at that time."""

    __tablename__ = "registry_comments"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    model_name: Mapped[str] = mapped_column(String(256))
    version: Mapped[str] = mapped_column(String(20))
    comment: Mapped[str] = mapped_column(Text)
    creator: Mapped[str] = mapped_column(String(255))
    creator_id: Mapped[str] = mapped_column(String(20))
    creation_timestamp: Mapped[int] = mapped_column(BigInteger)
    last_updated_timestamp: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (Index("ix_registry_comments_version", "model_name", "version"),)


class TransitionRequest(Base):
    """Somebody's wish that a version be moved to a stage; it goes when it is approved, rejected or cancelled."""

    __tablename__ = "transition_requests"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    model_name: Mapped[str] = mapped_column(String(256))
    version: Mapped[str] = mapped_column(String(20))
    to_stage: Mapped[str] = mapped_column(String(16))
    comment: Mapped[str] = mapped_column(Text, default="")
    creator: Mapped[str] = mapped_column(String(255))
    creator_id: Mapped[str] = mapped_column(String(20))
    creation_timestamp: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (
        UniqueConstraint("model_name", "version", "to_stage", "creator_id", name="uq_transition_requests_asked_once"),
    )
