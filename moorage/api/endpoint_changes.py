"""What changes an endpoint after its creation, and the answers to it.

Source: Databricks REST reference, serving endpoints (tags, notifications, telemetry, rate limits). The history
of configurations and the return to one of them are Moorage's own.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from moorage.api.ai_gateway import RateLimit
from moorage.api.configs import ConfigOutput
from moorage.api.endpoints import EmailNotifications, Tag, TagOutput, TelemetryConfig
from moorage.api.wire import Count, Text, WireInput, WireOutput


class PatchTags(WireInput):
    """Tags to set, then keys to take away."""

    add_tags: tuple[Tag, ...] = ()
    delete_tags: tuple[Text, ...] = ()


class TagList(WireOutput):
    tags: tuple[TagOutput, ...]


class PatchNotifications(WireInput):
    """Without `email_notifications` the lists stay as they are; with it both are replaced."""

    email_notifications: EmailNotifications | None = None


class Notifications(WireOutput):
    name: str
    email_notifications: EmailNotifications


class PatchTelemetry(WireInput):
    """Without `telemetry_config` the endpoint has none afterwards."""

    telemetry_config: TelemetryConfig | None = None


class PutRateLimits(WireInput):
    rate_limits: tuple[RateLimit, ...] = ()


class RateLimitList(WireOutput):
    rate_limits: tuple[RateLimit, ...]


class RollbackConfig(WireInput):
    """Which version to return to."""

    config_version: Annotated[Count, Field(ge=1)]


class ConfigVersion(WireOutput):
    """One version of a configuration: who made it, when (milliseconds since the epoch), and what it says."""

    config_version: int
    created_by: str
    creation_timestamp: int
    config: ConfigOutput
    active: bool
    pending: bool


class ConfigVersionList(WireOutput):
    config_versions: tuple[ConfigVersion, ...]
