"""What is changed of an endpoint beside its configuration: at once, and without touching what serves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import BaseModel
from sqlalchemy.orm import Session

from moorage.api.ai_gateway import AiGateway, GatewayInferenceTable
from moorage.api.endpoint_changes import (
    Notifications,
    PatchNotifications,
    PatchTags,
    PatchTelemetry,
    PutRateLimits,
    RateLimitList,
    TagList,
)
from moorage.api.endpoints import (
    MOST_TAGS,
    ConfigUpdate,
    EmailNotifications,
    EndpointDetail,
    PermissionLevel,
    TagOutput,
    TelemetryConfig,
    language_model_feature,
)
from moorage.api.errors import InvalidParameterValue, ResourceConflict
from moorage.api.routing import Principal
from moorage.api.served_entities import EntityKind
from moorage.control import configurations
from moorage.control import endpoint_views as views
from moorage.control.dependencies import ControlDependencies, Site
from moorage.control.endpoint_rows import change_event, find_managed, rows_of
from moorage.control.guardrails import require_guardrails
from moorage.control.rate_limits import require_enforceable
from moorage.control.store import endpoints as store
from moorage.control.store.models import Endpoint
from moorage.identity.ids import new_object_id

_NO_TELEMETRY = {
    EntityKind.EXTERNAL_MODEL: "EXTERNAL_MODELS",
    EntityKind.PROVISIONED_THROUGHPUT: "PROVISIONED_THROUGHPUT",
    None: "NO_CONFIG",
}


class Setting(StrEnum):
    """What was changed; the trigger of the event."""

    TAGS = "TAGS_CHANGED"
    NOTIFICATIONS = "NOTIFICATIONS_CHANGED"
    TELEMETRY = "TELEMETRY_CONFIG_CHANGED"
    RATE_LIMITS = "RATE_LIMITS_CHANGED"
    AI_GATEWAY = "AI_GATEWAY_CHANGED"

    @property
    def in_words(self) -> str:
        return {
            Setting.TAGS: "Tags",
            Setting.NOTIFICATIONS: "E-mail notifications",
            Setting.TELEMETRY: "Telemetry configuration",
            Setting.RATE_LIMITS: "Rate limits",
            Setting.AI_GATEWAY: "AI Gateway settings",
        }[self]


_ON_THE_WAY_OF_REQUESTS = {Setting.TELEMETRY, Setting.RATE_LIMITS, Setting.AI_GATEWAY}


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """Every method answers the wire object. Each raises `ResourceDoesNotExist` when there is no such endpoint,
    and `PermissionDenied` when the caller may not manage it."""

    deps: ControlDependencies
    site: Site

    def patch_tags(self, caller: Principal, name: str, request: PatchTags) -> TagList:
        """Set tags, then take keys away; the answer has all that are left, by key.

        Raises:
            InvalidParameterValue: too many would be left.
        """
        with self._changing(caller, name, Setting.TAGS) as (_, endpoint):
            tags = {tag["key"]: tag["value"] for tag in endpoint.tags}
            tags.update((tag.key, tag.value) for tag in request.add_tags)
            for key in request.delete_tags:
                tags.pop(key, None)
            if len(tags) > MOST_TAGS:
                raise InvalidParameterValue(f"An endpoint has at most {MOST_TAGS} tags; it would have {len(tags)}")
            endpoint.tags = [{"key": key, "value": tags[key]} for key in sorted(tags)]
            return TagList(tags=tuple(TagOutput.model_validate(tag) for tag in endpoint.tags))

    def patch_notifications(self, caller: Principal, name: str, request: PatchNotifications) -> Notifications:
        """Replace the lists of addresses that hear of updates."""
        with self._changing(caller, name, Setting.NOTIFICATIONS) as (_, endpoint):
            if request.email_notifications is not None:
                endpoint.email_notifications = stored(request.email_notifications)
            lists = EmailNotifications.model_validate(endpoint.email_notifications or {})
            return Notifications(name=endpoint.name, email_notifications=lists)

    def patch_telemetry(self, caller: Principal, name: str, request: PatchTelemetry) -> EndpointDetail:
        """Replace the telemetry configuration, or remove it.

        Raises:
            InvalidParameterValue: the endpoint does not serve custom models.
            ResourceConflict: it is being updated.
        """
        with self._changing(caller, name, Setting.TELEMETRY) as (session, endpoint):
            if endpoint.kind != EntityKind.CUSTOM_MODEL:
                kind = _NO_TELEMETRY[EntityKind(endpoint.kind) if endpoint.kind else None]
                raise InvalidParameterValue(f"'telemetry_config' is not for endpoints of type {kind}")
            if endpoint.config_update == ConfigUpdate.IN_PROGRESS:
                raise being_updated(endpoint)
            endpoint.telemetry_config = telemetry_after(endpoint.telemetry_config, request.telemetry_config)
            return views.detail(rows_of(session, endpoint), PermissionLevel.CAN_MANAGE, self.site)

    def put_rate_limits(self, caller: Principal, name: str, request: PutRateLimits) -> RateLimitList:
        """Replace the rate limits of the older form; none clears them.

        Raises:
            InvalidParameterValue: the gateways cannot enforce limits.
        """
        require_enforceable(self.deps.settings, request.rate_limits)
        with self._changing(caller, name, Setting.RATE_LIMITS) as (_, endpoint):
            endpoint.rate_limits = [limit.model_dump(mode="json") for limit in request.rate_limits] or None
            return RateLimitList(rate_limits=request.rate_limits)

    def put_ai_gateway(self, caller: Principal, name: str, request: AiGateway) -> AiGateway:
        """Replace the whole AI Gateway block; what is left out is unset.

        Raises:
            InvalidParameterValue: a feature that the endpoint cannot have or that is not installed, limits that the
                gateways cannot enforce, or an inference table that would move while it is enabled.
        """
        require_enforceable(self.deps.settings, request.rate_limits or ())
        with self._changing(caller, name, Setting.AI_GATEWAY) as (session, endpoint):
            feature = language_model_feature(request)
            if feature and endpoint.kind == EntityKind.CUSTOM_MODEL:
                raise InvalidParameterValue(f"'{feature}' is not for endpoints of custom models")
            require_guardrails(self.deps.settings, request)
            rows = rows_of(session, endpoint)
            for config in filter(None, (rows.active, rows.pending)):
                capture = views.auto_capture(config)
                configurations.require_gateway_fits(name, request, capture, len(rows.served(config)))
            earlier = views.ai_gateway(endpoint)
            _refuse_to_move(earlier.inference_table_config if earlier else None, request.inference_table_config, name)
            endpoint.ai_gateway = stored(request)
            return request

    @contextmanager
    def _changing(self, caller: Principal, name: str, setting: Setting) -> Iterator[tuple[Session, Endpoint]]:
        """The endpoint in a transaction; on success the change is recorded, committed and told."""
        with self.deps.sessions.begin() as session:
            endpoint = find_managed(session, caller, name)
            now = self.deps.clock()
            endpoint.last_updated_timestamp = now
            yield session, endpoint
            words = f"{setting.in_words} changed by {caller.user_name}"
            store.add_event(session, change_event(endpoint, "ENDPOINT_SETTINGS_CHANGED", setting, words, now))
        if setting in _ON_THE_WAY_OF_REQUESTS:
            self.deps.notifier.wait_until_routed(endpoint.id)  # the next request is under what was answered
        else:
            self.deps.notifier.endpoint_changed(endpoint.id)


def being_updated(endpoint: Endpoint) -> ResourceConflict:
    return ResourceConflict(f"Endpoint '{endpoint.name}' is being updated; wait for the update or cancel it")


def stored(part: BaseModel | None) -> dict[str, Any] | None:
    """An object of a request as its column keeps it; nothing in it is None."""
    return (part.model_dump(mode="json", exclude_none=True) or None) if part else None


def telemetry_after(earlier: dict[str, Any] | None, given: TelemetryConfig | None) -> dict[str, Any] | None:
    """What is kept: None where neither table nor profile is named; tables make a profile, and stay with it."""
    if given is None or not given.names_a_place:
        return None
    kept = given.model_dump(mode="json", exclude_none=True)
    if "table_names" in kept:
        kept["telemetry_profile_id"] = new_object_id()
    elif earlier and earlier["telemetry_profile_id"] == kept["telemetry_profile_id"] and "table_names" in earlier:
        kept["table_names"] = earlier["table_names"]
    return kept


def _refuse_to_move(
    earlier: GatewayInferenceTable | None, given: GatewayInferenceTable | None, endpoint_name: str
) -> None:
    """
    Raises:
        InvalidParameterValue: the table is enabled before and after, and not the same one.
    """

    def place(table: GatewayInferenceTable) -> tuple[str | None, str | None, str]:
        return table.catalog_name, table.schema_name, table.table_name_prefix or endpoint_name

    if earlier and given and earlier.enabled and given.enabled and place(earlier) != place(given):
        raise InvalidParameterValue("'inference_table_config' must be disabled before its table is moved")
