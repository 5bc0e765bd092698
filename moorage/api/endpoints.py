"""Serving endpoints on the wire: the request that creates one, and every answer about one.

Source: Databricks REST reference, serving endpoints (create, get, list, events, logs).
"""

from __future__ import annotations

import re
from collections import Counter
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from moorage.api.ai_gateway import AiGateway, RateLimit
from moorage.api.configs import ConfigInput, ConfigOutput, ConfigSummary, PendingConfigOutput
from moorage.api.external_models import ExternalTask
from moorage.api.legacy import LegacyServing
from moorage.api.served_entities import EntityKind
from moorage.api.table_names import TableName
from moorage.api.wire import Name, ShortText, Text, WireInput, WireOutput

RESERVED_PREFIX = "databricks-"
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_ATOM = r"[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]+"
# A dot-atom at a host (RFC 5321): nothing in it means anything else in a header of a mail.
_ADDRESS = re.compile(rf"(?=[^@]{{1,64}}@){_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*")
_LONGEST_ADDRESS = 254
_MOST_ADDRESSES = 50
MOST_TAGS = 20


class PermissionLevel(StrEnum):
    CAN_VIEW = "CAN_VIEW"
    CAN_QUERY = "CAN_QUERY"
    CAN_MANAGE = "CAN_MANAGE"

    def allows(self, needed: PermissionLevel) -> bool:
        """Whether this level is `needed` or above it."""
        order = list(PermissionLevel)
        return order.index(self) >= order.index(needed)


class Readiness(StrEnum):
    READY = "READY"
    NOT_READY = "NOT_READY"


class ConfigUpdate(StrEnum):
    NOT_UPDATING = "NOT_UPDATING"
    IN_PROGRESS = "IN_PROGRESS"
    UPDATE_FAILED = "UPDATE_FAILED"
    UPDATE_CANCELED = "UPDATE_CANCELED"


class TelemetryFeature(StrEnum):
    LOGS = "TELEMETRY_FEATURE_LOGS"
    TRACES = "TELEMETRY_FEATURE_TRACES"
    METRICS = "TELEMETRY_FEATURE_METRICS"
    INFERENCE_TABLE = "TELEMETRY_FEATURE_INFERENCE_TABLE"


def _address(text: str) -> str:
    if len(text) > _LONGEST_ADDRESS or not _ADDRESS.fullmatch(text):
        raise ValueError("must be an e-mail address")
    return text


def _not_reserved(name: str) -> str:
    if name.startswith(RESERVED_PREFIX):
        raise ValueError(f"must not start with '{RESERVED_PREFIX}', which is reserved for system endpoints")
    return name


EndpointName = Annotated[Name, AfterValidator(_not_reserved)]
Address = Annotated[Text, AfterValidator(_address)]
Addresses = Annotated[tuple[Address, ...], Field(max_length=_MOST_ADDRESSES)]


class Tag(WireInput):
    key: Annotated[Text, Field(min_length=1, max_length=127)]
    value: Annotated[Text, Field(max_length=255)] = ""


class EmailNotifications(WireInput):
    on_update_failure: Addresses | None = None
    on_update_success: Addresses | None = None


class TelemetryTables(WireInput):
    logs_table: TableName | None = None
    traces_table: ShortText | None = None
    metrics_table: ShortText | None = None
    annotations_table: ShortText | None = None


class TelemetryInferenceTable(WireInput):
    name: TableName | None = None
    sampling_fraction: Annotated[float, Field(ge=0, le=1)] | None = None


class TelemetryConfig(WireInput):
    """What is exported and where to. `table_names` makes a profile and is not echoed."""

    enabled_telemetry_features: tuple[TelemetryFeature, ...] | None = None
    inference_table_config: TelemetryInferenceTable | None = None
    table_names: TelemetryTables | None = None
    telemetry_profile_id: ShortText | None = None

    @property
    def names_a_place(self) -> bool:
        """Without a table or a profile the configuration has no effect, and is not kept."""
        return self.telemetry_profile_id is not None or bool(
            self.table_names and self.table_names.model_dump(exclude_none=True)
        )


class CreateEndpoint(WireInput):
    """The body that creates an endpoint."""

    name: EndpointName
    config: ConfigInput | None = None
    ai_gateway: AiGateway | None = None
    budget_policy_id: ShortText | None = None
    description: Annotated[Text, Field(max_length=1000)] = ""
    email_notifications: EmailNotifications | None = None
    rate_limits: tuple[RateLimit, ...] | None = None
    route_optimized: bool = False
    tags: tuple[Tag, ...] = ()
    telemetry_config: TelemetryConfig | None = None

    @model_validator(mode="after")
    def _legal_tags(self) -> CreateEndpoint:
        if len(self.tags) > MOST_TAGS:
            raise ValueError(f"'tags' may hold at most {MOST_TAGS} tags, {len(self.tags)} given")
        for key, count in Counter(tag.key for tag in self.tags).items():
            if count > 1:
                raise ValueError(f"'tags' has the key '{key}' {count} times; each key must be unique")
        return self

    @model_validator(mode="after")
    def _what_the_kind_allows(self) -> CreateEndpoint:
        if self.config is None:
            return self
        if self.route_optimized and self.config.kind is not EntityKind.CUSTOM_MODEL:
            raise ValueError("'route_optimized' is only for endpoints of custom models")
        if self.config.kind is EntityKind.CUSTOM_MODEL and (feature := language_model_feature(self.ai_gateway)):
            raise ValueError(f"'ai_gateway.{feature}' is not for endpoints of custom models")
        return self


def language_model_feature(gateway: AiGateway | None) -> str | None:
    """The feature in use that endpoints of custom models do not have, or None."""
    return gateway.only_for_language_models() if gateway else None


class EndpointState(WireOutput):
    """`update_state` is the older name of `config_update`; both always say the same."""

    ready: Readiness
    config_update: str
    update_state: str

    @classmethod
    def of(cls, ready: Readiness, config_update: str) -> EndpointState:
        return cls(ready=ready, config_update=config_update, update_state=config_update)


class TagOutput(WireOutput):
    key: str
    value: str


class QueryInfo(WireOutput):
    endpoint_url: str
    authorization_details: str


class DataPlaneInfo(WireOutput):
    query_info: QueryInfo


class _EndpointOutput(WireOutput):
    """`stopped` is there, and true, only while the endpoint is stopped, and `legacy_serving` only where it serves a
    registered model by stage; clients ignore a key they do not know."""

    name: str
    creator: str
    creation_timestamp: int
    last_updated_timestamp: int
    id: str
    state: EndpointState
    tags: tuple[TagOutput, ...]
    description: str
    ai_gateway: AiGateway | None = None
    budget_policy_id: str | None = None
    telemetry_config: TelemetryConfig | None = None
    task: ExternalTask | None = None
    stopped: bool | None = None
    legacy_serving: LegacyServing | None = None


class EndpointDetail(_EndpointOutput):
    """One endpoint in full. `config` is the active configuration, `pending_config` the one on its way.

    `endpoint_type` is there for endpoints of external models alone.
    """

    config: ConfigOutput | None = None
    pending_config: PendingConfigOutput | None = None
    permission_level: PermissionLevel
    route_optimized: bool
    endpoint_url: str | None = None
    data_plane_info: DataPlaneInfo | None = None
    email_notifications: EmailNotifications | None = None
    endpoint_type: EntityKind | None = None


class EndpointSummary(_EndpointOutput):
    config: ConfigSummary | None = None


class EndpointList(WireOutput):
    endpoints: tuple[EndpointSummary, ...]


class Logs(WireOutput):
    logs: str


class LogFile(WireOutput):
    """The log of one replica: `last_written` is milliseconds since the epoch, `size` bytes.

    `tag` is what stands in front of its lines where the logs of several replicas are merged.
    """

    replica: str
    tag: str
    last_written: int
    size: int


class LogFileList(WireOutput):
    log_files: tuple[LogFile, ...]


class EventOutput(WireOutput):
    """Something that happened; `timestamp` is milliseconds since the epoch, and a later event has a greater `id`."""

    id: int
    event_type: str
    status: str
    trigger: str
    message: str
    timestamp: int
    served_entity_name: str | None = None


class EventList(WireOutput):
    """Newest first. `next_page_token` is there when there are older ones."""

    events: tuple[EventOutput, ...]
    next_page_token: str | None = None
