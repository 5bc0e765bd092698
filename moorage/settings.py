"""Every setting of the server, typed, read from `MOORAGE_*` environment variables.

`moorage serve` builds one `Settings`, overrides it with its options, and hands it to its child processes
through their environment, so that all of them see the same values.
"""

from __future__ import annotations

import json
import os
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from moorage.api.workloads import DEFAULT_REPLICA_MEMORY_BYTES

MIB = 1024 * 1024
ENCRYPTION_KEY_VARIABLE = "MOORAGE_ENCRYPTION_KEY"
"""The encryption key where it is not in the data directory's file: no setting, since settings are shown."""
_ATOM = r"[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]+"
_TABLES_SCHEMES = ("s3://", "s3a://", "gs://", "az://", "abfs://", "abfss://", "file:///")
_TABLES_PLACE = re.compile(f"(?:{'|'.join(_TABLES_SCHEMES)}|/)[^/]")
_ENDPOINT_NAME = re.compile(r"[a-zA-Z0-9_-]{1,63}")
_SENDER = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)*")


class EnvManager(StrEnum):
    """How a model's environment is made: `auto` uses the server's own when it satisfies every pin."""

    AUTO = "auto"
    UV = "uv"
    LOCAL = "local"


class Settings(BaseSettings):
    """The effective configuration. Durations are seconds, sizes bytes unless the name says otherwise."""

    model_config = SettingsConfigDict(env_prefix="MOORAGE_", extra="ignore", frozen=True, hide_input_in_errors=True)

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    data_dir: Path = Field(default_factory=lambda: Path.home() / ".moorage")
    gateway_workers: int = Field(default=1, ge=1, le=64)
    public_url: str | None = None
    mlflow_uri: str | None = None
    mlflow_workers: int = Field(default=1, ge=1, le=16)
    redis_url: SecretStr | None = None
    admin_user: str = "admin@localhost"
    log_level: str = "INFO"

    env_manager: EnvManager = EnvManager.AUTO
    env_index_url: SecretStr | None = None
    env_extra_index_urls: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    env_find_links: Annotated[tuple[str, ...], NoDecode] = ()
    env_build_timeout_seconds: float = Field(default=3600, gt=0)

    request_timeout_seconds: float = Field(default=297, gt=0)
    request_body_timeout_seconds: float = Field(default=60, gt=0)
    max_request_bytes: int = Field(default=16 * MIB, gt=0)
    max_language_request_bytes: int = Field(default=4 * MIB, gt=0)
    stream_idle_seconds: float = Field(default=120, gt=0)
    replica_wait_seconds: float = Field(default=120, gt=0)
    max_queued_requests: int = Field(default=1024, gt=0)
    max_queued_bytes: int = Field(default=512 * MIB, gt=0)
    replica_load_timeout_seconds: float = Field(default=900, gt=0)
    replica_log_bytes: int = Field(default=5 * MIB, gt=4096)
    replica_orphan_seconds: float = Field(default=600, gt=0)
    replica_restart_attempts: int = Field(default=5, ge=1)
    scale_to_zero_idle_seconds: float = Field(default=1800, gt=0)
    scale_down_seconds: float = Field(default=300, ge=0)
    stage_poll_seconds: float = Field(default=2, gt=0)
    audit_days: float = Field(default=365, gt=0)
    drain_seconds: float = Field(default=20, ge=0, le=600)
    model_uid_base: int = Field(default=61000, ge=0, le=2**31 - 2**20)
    replica_memory_bytes: int = Field(default=DEFAULT_REPLICA_MEMORY_BYTES, ge=0)
    strict_json: bool = True
    allow_metadata_addresses: bool = False

    tables_uri: str | None = None
    tables_storage_options: SecretStr | None = None
    payload_max_bytes: int = Field(default=MIB, ge=0, le=16 * MIB)
    payload_redact_keys: Annotated[tuple[str, ...], NoDecode] = ()
    spool_max_bytes: int = Field(default=1024 * MIB, ge=32 * MIB)

    guardrail_timeout_seconds: float = Field(default=10, gt=0, le=120)
    guardrails_model_dir: Path | None = None
    guardrails_judge_endpoint: str | None = None
    guardrails_judge_model: str | None = None
    guardrails_judge_taxonomy: Literal["llama-guard-2", "llama-guard-3"] = "llama-guard-3"
    guardrails_judge_token_file: Path | None = None

    oidc_issuer: str | None = None
    oidc_client_id: str | None = None
    oidc_client_secret: SecretStr | None = None
    oidc_allowed_domains: Annotated[tuple[str, ...], NoDecode] = ()
    oidc_create_users: bool = False

    smtp_url: SecretStr | None = None
    smtp_from: str | None = None
    notification_webhook_url: SecretStr | None = None
    notification_webhook_secret: SecretStr | None = None
    notification_attempts: int = Field(default=12, ge=1, le=100)

    @field_validator(
        "env_extra_index_urls", "env_find_links", "oidc_allowed_domains", "payload_redact_keys", mode="before"
    )
    @classmethod
    def _split_list(cls, value: object) -> object:
        """Lists are given with spaces or commas between their items."""
        if isinstance(value, str):
            return tuple(part for part in value.replace(",", " ").split() if part)
        return value

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        level = value.upper()
        if level not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
            raise ValueError("log_level must be DEBUG, INFO, WARNING or ERROR")
        return level

    @field_validator("mlflow_uri", "public_url")
    @classmethod
    def _http_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not value.startswith(("http://", "https://")):
            raise ValueError("must be an http:// or https:// URL")
        return value.rstrip("/")

    @field_validator("guardrails_judge_endpoint")
    @classmethod
    def _judge(cls, value: str | None) -> str | None:
        if value is None or _ENDPOINT_NAME.fullmatch(value):
            return value
        try:
            url = urlsplit(value)
            known = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
        except ValueError:
            known = False
        if not known or "@" in url.netloc:
            raise ValueError("must be the name of a serving endpoint, or an http(s):// URL without a password")
        return value

    @field_validator("tables_uri")
    @classmethod
    def _place_of_tables(cls, value: str | None) -> str | None:
        if value is not None and not _TABLES_PLACE.match(value):
            raise ValueError(f"must be an absolute path, or a URL that begins with {', '.join(_TABLES_SCHEMES)}")
        return value

    @field_validator("tables_storage_options")
    @classmethod
    def _storage_options(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _is_object_of_texts(value.get_secret_value()):
            raise ValueError('must be a JSON object of texts, such as {"AWS_REGION": "eu-central-1"}')
        return value

    @field_validator("smtp_url")
    @classmethod
    def _smtp_server(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _is_url(value, {"smtp", "smtps"}):
            raise ValueError("must be an smtp:// or smtps:// URL of a host: smtp://USER:PASSWORD@HOST:PORT")
        return value

    @field_validator("smtp_from")
    @classmethod
    def _sender(cls, value: str | None) -> str | None:
        if value is not None and not _SENDER.fullmatch(value):
            raise ValueError("must be an e-mail address")
        return value

    @field_validator("notification_webhook_url")
    @classmethod
    def _webhook(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _is_url(value, {"http", "https"}):
            raise ValueError("must be an http:// or https:// URL")
        return value

    @model_validator(mode="after")
    def _mail_has_a_sender(self) -> Settings:
        if self.smtp_url is not None and self.smtp_from is None:
            raise ValueError("MOORAGE_SMTP_FROM must be set when MOORAGE_SMTP_URL is: mail needs a sender")
        return self

    @field_validator("oidc_issuer")
    @classmethod
    def _issuer(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not _is_private_url(value):
            raise ValueError("must be an https:// URL; http:// only on this machine")
        return value

    @model_validator(mode="after")
    def _whole_sign_in(self) -> Settings:
        if self.oidc_issuer is not None and self.oidc_client_id is None:
            raise ValueError("MOORAGE_OIDC_CLIENT_ID must be set when MOORAGE_OIDC_ISSUER is")
        if self.oidc_create_users and not self.oidc_allowed_domains:
            raise ValueError("MOORAGE_OIDC_CREATE_USERS needs MOORAGE_OIDC_ALLOWED_DOMAINS: anybody could sign in")
        return self

    @field_validator("redis_url")
    @classmethod
    def _redis_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _names_redis(value.get_secret_value()):
            raise ValueError("must be a redis://, rediss:// or unix:// URL with a host or the path of a socket")
        return value

    @model_validator(mode="after")
    def _absolute_data_dir(self) -> Settings:
        object.__setattr__(self, "data_dir", self.data_dir.expanduser().absolute())
        return self

    @property
    def base_url(self) -> str:
        """The URL that clients on this machine use, without a trailing slash."""
        if self.public_url:
            return self.public_url
        return self.local_url

    @property
    def local_url(self) -> str:
        """The URL at which this machine reaches the server, whatever the public one is."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)
        if ":" in host and not host.startswith("["):
            host = f"[{host}]"
        return f"http://{host}:{self.port}"

    def to_environment(self) -> dict[str, str]:
        """The `MOORAGE_*` variables that make a child process see these same settings."""
        variables: dict[str, str] = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, tuple):
                text = " ".join(_plain(item) for item in value)
            else:
                text = _plain(value)
            variables[f"MOORAGE_{name.upper()}"] = text
        return variables

    def masked(self) -> dict[str, str]:
        """What to log: every setting, secrets as asterisks."""
        return {name: str(getattr(self, name)) for name in type(self).model_fields}


def _is_url(value: SecretStr, schemes: set[str]) -> bool:
    try:
        parts = urlsplit(value.get_secret_value())
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none, a bracket too many
        return False


def _is_object_of_texts(text: str) -> bool:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and all(isinstance(one, str) for one in document.values())


def _is_private_url(url: str) -> bool:
    """Whether what is sent there cannot be read on the way."""
    try:
        parts = urlsplit(url)
        local = parts.hostname in {"localhost", "127.0.0.1", "::1"}
        kept_private = parts.scheme == "https" or (parts.scheme == "http" and local)
        return kept_private and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _plain(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(value)


def _names_redis(url: str) -> bool:
    try:
        parts = urlsplit(url)
        place = parts.path if parts.scheme == "unix" else parts.hostname
        return parts.scheme in {"redis", "rediss", "unix"} and bool(place) and parts.port != 0
    except ValueError:
        return False


LIMITS_DO_NOT_HOLD = (
    "Rate limits need MOORAGE_REDIS_URL when there is more than one gateway worker: without Redis each worker would"
    " count by itself. Set it, or run one worker (MOORAGE_GATEWAY_WORKERS=1)."
)


def limits_hold(settings: Settings) -> bool:
    """Whether the gateways can enforce rate limits as they are given; `LIMITS_DO_NOT_HOLD` says why they cannot."""
    return settings.gateway_workers == 1 or settings.redis_url is not None


def scrubbed_environment() -> dict[str, str]:
    """The part of this process's environment that another program may see: nothing of ours, no credentials."""
    kept = {"PATH", "HOME", "LANG", "TZ", "TMPDIR", "USER", "LOGNAME", "SHELL", "LD_LIBRARY_PATH"}
    return {k: v for k, v in os.environ.items() if k in kept or k.startswith("LC_")}
