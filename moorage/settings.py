"""Every setting of the server, typed, read from `MOORAGE_*` environment variables.

`moorage serve` builds one `Settings`, overrides it with its options, and hands it to its child processes
through their environment, so that all of them see the same values.
"""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

MIB = 1024 * 1024


class EnvManager(StrEnum):
    """How a model's environment is made: `auto` uses the server's own when it satisfies every pin."""

    AUTO = "auto"
    UV = "uv"
    LOCAL = "local"


class Settings(BaseSettings):
    """The effective configuration. Durations are seconds, sizes bytes unless the name says otherwise."""

    model_config = SettingsConfigDict(env_prefix="MOORAGE_", extra="ignore", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    data_dir: Path = Field(default_factory=lambda: Path.home() / ".moorage")
    gateway_workers: int = Field(default=1, ge=1, le=64)
    public_url: str | None = None
    mlflow_uri: str | None = None
    mlflow_workers: int = Field(default=1, ge=1, le=16)
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
    replica_wait_seconds: float = Field(default=120, gt=0)
    max_queued_requests: int = Field(default=1024, gt=0)
    max_queued_bytes: int = Field(default=512 * MIB, gt=0)
    replica_load_timeout_seconds: float = Field(default=900, gt=0)
    replica_log_bytes: int = Field(default=5 * MIB, gt=4096)
    replica_orphan_seconds: float = Field(default=600, gt=0)
    replica_restart_attempts: int = Field(default=5, ge=1)
    scale_to_zero_idle_seconds: float = Field(default=1800, gt=0)
    scale_down_seconds: float = Field(default=300, ge=0)
    drain_seconds: float = Field(default=20, ge=0, le=600)
    strict_json: bool = True

    @field_validator("env_extra_index_urls", "env_find_links", mode="before")
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


def _plain(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(value)


def scrubbed_environment() -> dict[str, str]:
    """The part of this process's environment that another program may see: nothing of ours, no credentials."""
    kept = {"PATH", "HOME", "LANG", "TZ", "TMPDIR", "USER", "LOGNAME", "SHELL", "LD_LIBRARY_PATH"}
    return {k: v for k, v in os.environ.items() if k in kept or k.startswith("LC_")}
