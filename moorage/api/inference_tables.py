"""Inference tables and usage: where they are, how they do, and what is in them.

The columns of the tables are those of the Databricks documentation (inference tables, system table reference of model
serving). The routes that read them are Moorage's own.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from moorage.api.wire import WireOutput

USAGE_TABLE = "system.serving.endpoint_usage"
ENTITIES_TABLE = "system.serving.served_entities"


class TableStatus(StrEnum):
    ACTIVE = "ACTIVE"
    FAILED = "FAILED"


class TableState(WireOutput):
    """How the delivery to a table does. `rows` is how many it has, `last_commit_ms` is since the epoch."""

    status: TableStatus
    message: str = ""
    rows: int | None = None
    last_commit_ms: int | None = None


class TablesReport(WireOutput):
    """The file in which the process that writes the tables says how it does. Tables are by their full name.

    `dropped_records` counts what was thrown away because it could not be delivered before the spool was full.
    """

    tables: dict[str, TableState] = Field(default_factory=dict)
    dropped_records: int = 0


class InferenceTable(WireOutput):
    """A table that an endpoint's requests go to. `location` is the path or URL of the Delta table."""

    name: str
    status: TableStatus
    status_message: str
    rows: int | None = None
    last_commit_timestamp: int | None = None
    location: str


class InferenceTableList(WireOutput):
    tables: tuple[InferenceTable, ...]


class InferenceTableRow(WireOutput):
    """A request and its answer. `request_time` is milliseconds since the epoch.

    A body is None where it was too long to be kept; `logging_error_codes` says so. Tables of the older form have no
    `logging_error_codes`, `served_entity_id` and `requester`.
    """

    databricks_request_id: str
    client_request_id: str | None = None
    request_time: int
    status_code: int | None = None
    sampling_fraction: float | None = None
    execution_duration_ms: int | None = None
    request: str | None = None
    response: str | None = None
    logging_error_codes: tuple[str, ...] | None = None
    served_entity_id: str | None = None
    served_entity_name: str | None = None
    requester: str | None = None


class InferenceTableRows(WireOutput):
    """Newest first. `next_page_token` is there when there are older ones."""

    table: str
    rows: tuple[InferenceTableRow, ...]
    next_page_token: str | None = None


class UsageGroup(StrEnum):
    """What usage is added up by."""

    ENDPOINT = "endpoint"
    REQUESTER = "requester"
    SERVED_ENTITY = "served_entity"


class UsageBucket(StrEnum):
    """How long the steps are in which usage is added up, in UTC."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"


class UsageRow(WireOutput):
    """The usage of one request. `request_time` is milliseconds since the epoch."""

    databricks_request_id: str
    client_request_id: str | None = None
    endpoint_id: str | None = None
    endpoint_name: str | None = None
    served_entity_id: str | None = None
    served_entity_name: str | None = None
    requester: str | None = None
    request_time: int
    status_code: int | None = None
    input_token_count: int | None = None
    output_token_count: int | None = None
    input_character_count: int | None = None
    output_character_count: int | None = None
    usage_context: dict[str, str] | None = None
    request_streaming: bool | None = None
    tokens_estimated: bool | None = None
    partial: bool | None = None


class UsageSum(WireOutput):
    """Usage added up. `bucket_start` is milliseconds since the epoch, and there when steps were asked for.

    Of the other fields those are there that it is grouped by; `endpoint_name` comes with the id.
    """

    bucket_start: int | None = None
    endpoint_id: str | None = None
    endpoint_name: str | None = None
    served_entity_id: str | None = None
    served_entity_name: str | None = None
    requester: str | None = None
    requests: int
    input_tokens: int
    output_tokens: int


class Usage(WireOutput):
    """Either `rows`, newest first, or `sums`, by time and then the most requests first."""

    rows: tuple[UsageRow, ...] | None = None
    sums: tuple[UsageSum, ...] | None = None
    next_page_token: str | None = None
