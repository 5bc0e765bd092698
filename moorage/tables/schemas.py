"""The columns of each table, and from records to their rows.

Source: Databricks documentation: inference tables for AI Gateway-enabled endpoints, inference tables for custom
models (the older form), and the system tables of model serving. Columns of Moorage's own come last.
Importing this module loads pyarrow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa

from moorage.tables.bodies import (
    Redaction,
    answer_characters,
    question_characters,
    request_text,
    response_text,
)
from moorage.telemetry.entity_log import EntityRecord
from moorage.telemetry.request_log import LoggedRequest

RESPONSE_INCOMPLETE = "RESPONSE_INCOMPLETE"
"""In `logging_error_codes`, Moorage's own: the answer broke off, and what is kept is what was sent."""

_DAY_MS = 24 * 3600 * 1000
_LATEST_MS = 253_402_300_799_999  # the end of the year 9999
_INT64 = range(-(2**63), 2**63)
_INT32 = range(-(2**31), 2**31)
_TIMESTAMP = pa.timestamp("us", tz="UTC")
_TEXTS = pa.map_(pa.string(), pa.string())

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TableForm:
    """The columns of a table. `time` is the one that says when; `day` the one it is partitioned by.

    `bodies` are long texts, for which no statistics are kept.
    """

    name: str
    schema: pa.Schema
    time: str
    day: str | None = None
    bodies: tuple[str, ...] = field(default=())


GATEWAY = TableForm(
    "inference table",
    pa.schema([
        ("databricks_request_id", pa.string()),
        ("request_date", pa.date32()),
        ("client_request_id", pa.string()),
        ("request_time", _TIMESTAMP),
        ("status_code", pa.int32()),
        ("sampling_fraction", pa.float64()),
        ("execution_duration_ms", pa.int64()),
        ("request", pa.string()),
        ("response", pa.string()),
        ("logging_error_codes", pa.list_(pa.string())),
        ("served_entity_id", pa.string()),
        ("requester", pa.string()),
    ]),
    time="request_time",
    day="request_date",
    bodies=("request", "response"),
)  # fmt: skip

LEGACY = TableForm(
    "inference table of auto_capture_config",
    pa.schema([
        ("databricks_request_id", pa.string()),
        ("client_request_id", pa.string()),
        ("date", pa.date32()),
        ("timestamp_ms", pa.int64()),
        ("status_code", pa.int32()),
        ("sampling_fraction", pa.float64()),
        ("execution_time_ms", pa.int64()),
        ("request", pa.string()),
        ("response", pa.string()),
        ("request_metadata", _TEXTS),
    ]),
    time="timestamp_ms",
    day="date",
    bodies=("request", "response"),
)  # fmt: skip

USAGE = TableForm(
    "usage table",
    pa.schema([
        ("account_id", pa.string()),
        ("workspace_id", pa.string()),
        ("client_request_id", pa.string()),
        ("databricks_request_id", pa.string()),
        ("requester", pa.string()),
        ("status_code", pa.int32()),
        ("request_time", _TIMESTAMP),
        ("input_token_count", pa.int64()),
        ("output_token_count", pa.int64()),
        ("input_character_count", pa.int64()),
        ("output_character_count", pa.int64()),
        ("usage_context", _TEXTS),
        ("request_streaming", pa.bool_()),
        ("served_entity_id", pa.string()),
        # Moorage's own.
        ("request_date", pa.date32()),
        ("endpoint_id", pa.string()),
        ("endpoint_name", pa.string()),
        ("served_entity_name", pa.string()),
        ("tokens_estimated", pa.bool_()),
        ("partial", pa.bool_()),
    ]),
    time="request_time",
    day="request_date",
)  # fmt: skip

_CONCURRENCY = pa.struct([
    ("min_concurrency", pa.int32()), ("max_concurrency", pa.int32()), ("compute_type", pa.string())
])  # fmt: skip
_THROUGHPUT = pa.struct([
    ("min_provisioned_throughput", pa.int32()), ("max_provisioned_throughput", pa.int32())
])  # fmt: skip

ENTITIES = TableForm(
    "table of served entities",
    pa.schema([
        ("served_entity_id", pa.string()),
        ("account_id", pa.string()),
        ("workspace_id", pa.string()),
        ("created_by", pa.string()),
        ("endpoint_name", pa.string()),
        ("endpoint_id", pa.string()),
        ("served_entity_name", pa.string()),
        ("entity_type", pa.string()),
        ("entity_name", pa.string()),
        ("entity_version", pa.string()),
        ("endpoint_config_version", pa.int32()),
        ("task", pa.string()),
        ("external_model_config", pa.struct([("provider", pa.string())])),
        ("foundation_model_config", _THROUGHPUT),
        ("custom_model_config", _CONCURRENCY),
        ("feature_spec_config", _CONCURRENCY),
        ("change_time", _TIMESTAMP),
        ("endpoint_delete_time", _TIMESTAMP),
    ]),
    time="change_time",
)  # fmt: skip


class Rows:
    """Makes rows of records. `workspace_id` is that of this server; accounts there are none."""

    def __init__(self, workspace_id: str, redaction: Redaction) -> None:
        self._workspace_id = workspace_id or None
        self._redaction = redaction

    def _texts(self, record: LoggedRequest) -> tuple[str | None, str | None]:
        """The request and the answer as a table keeps them."""
        request = None if record.request is None else request_text(record.request, self._redaction)
        if record.response is None:
            return request, None
        return request, response_text(record.response, self._redaction, streamed=record.streamed)

    def gateway(self, record: LoggedRequest, fraction: float) -> Row:
        request, response = self._texts(record)
        codes = [RESPONSE_INCOMPLETE] if record.partial else []
        return {
            "databricks_request_id": record.request_id,
            "request_date": _date(record.request_time_ms),
            "client_request_id": record.client_request_id,
            "request_time": _time(record.request_time_ms),
            "status_code": record.status,
            "sampling_fraction": fraction,
            "execution_duration_ms": round(record.duration_ms),
            "request": request,
            "response": response,
            "logging_error_codes": [*record.error_codes, *codes],
            "served_entity_id": record.served_entity_id or None,
            "requester": record.requester,
        }

    def legacy(self, record: LoggedRequest, fraction: float) -> Row:
        request, response = self._texts(record)
        return {
            "databricks_request_id": record.request_id,
            "client_request_id": record.client_request_id,
            "date": _date(record.request_time_ms),
            "timestamp_ms": _when(record.request_time_ms),
            "status_code": record.status,
            "sampling_fraction": fraction,
            "execution_time_ms": round(record.duration_ms),
            "request": request,
            "response": response,
            "request_metadata": [
                ("endpoint_name", record.endpoint), ("model_name", record.entity), ("model_version", record.version)
            ],
        }  # fmt: skip

    def usage(self, record: LoggedRequest) -> Row:
        """Custom models have neither tokens nor characters: zero, as the documentation says."""
        counts: tuple[int | None, ...] = (0, 0, 0, 0)
        if record.input_tokens is not None or record.output_tokens is not None:
            counts = (
                record.input_tokens, record.output_tokens, _input_characters(record), _output_characters(record)
            )  # fmt: skip
        context = record.usage_context
        return {
            "account_id": None,
            "workspace_id": self._workspace_id,
            "client_request_id": record.client_request_id,
            "databricks_request_id": record.request_id,
            "requester": record.requester,
            "status_code": record.status,
            "request_time": _time(record.request_time_ms),
            "input_token_count": _whole(counts[0]),
            "output_token_count": _whole(counts[1]),
            "input_character_count": _whole(counts[2]),
            "output_character_count": _whole(counts[3]),
            "usage_context": None if context is None else [(key, str(value)) for key, value in context.items()],
            "request_streaming": record.streamed,
            "served_entity_id": record.served_entity_id or None,
            "request_date": _date(record.request_time_ms),
            "endpoint_id": record.endpoint_id,
            "endpoint_name": record.endpoint,
            "served_entity_name": record.served_name or None,
            "tokens_estimated": record.tokens_estimated,
            "partial": record.partial,
        }

    def entity(self, record: EntityRecord) -> Row:
        concurrency = {
            "min_concurrency": _small(record.min_concurrency),
            "max_concurrency": _small(record.max_concurrency),
            "compute_type": record.compute_type,
        }
        throughput = {
            "min_provisioned_throughput": _small(record.min_provisioned_throughput),
            "max_provisioned_throughput": _small(record.max_provisioned_throughput),
        }
        kind = record.entity_type
        return {
            "served_entity_id": record.served_entity_id,
            "account_id": None,
            "workspace_id": self._workspace_id,
            "created_by": record.created_by,
            "endpoint_name": record.endpoint_name,
            "endpoint_id": record.endpoint_id,
            "served_entity_name": record.served_entity_name,
            "entity_type": kind,
            "entity_name": record.entity_name,
            "entity_version": record.entity_version,
            "endpoint_config_version": _small(record.endpoint_config_version),
            "task": record.task,
            "external_model_config": {"provider": record.provider} if kind == "EXTERNAL_MODEL" else None,
            "foundation_model_config": throughput if kind == "FOUNDATION_MODEL" else None,
            "custom_model_config": concurrency if kind == "CUSTOM_MODEL" else None,
            "feature_spec_config": concurrency if kind == "FEATURE_SPEC" else None,
            "change_time": _time(record.change_time_ms),
            "endpoint_delete_time": None,
        }


def as_table(form: TableForm, rows: Sequence[Row]) -> pa.Table:
    """The rows as Arrow has them.

    Raises:
        pyarrow.ArrowException: a value does not fit its column.
    """
    return pa.Table.from_pylist(list(rows), schema=form.schema)


def fitting(form: TableForm, rows: Sequence[Row], refused: Callable[[Row, Exception], None]) -> pa.Table:
    """As `as_table`, without the rows that do not fit, of which `refused` is told: one must not hold up all."""
    try:
        return as_table(form, rows)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        if len(rows) == 1:
            refused(rows[0], error)
            return form.schema.empty_table()
    half = len(rows) // 2
    return pa.concat_tables([fitting(form, rows[:half], refused), fitting(form, rows[half:], refused)])


def _input_characters(record: LoggedRequest) -> int | None:
    if record.input_characters is not None or record.request is None:
        return record.input_characters
    return question_characters(record.request)


def _output_characters(record: LoggedRequest) -> int | None:
    if record.output_characters is not None or record.response is None:
        return record.output_characters
    return answer_characters(record.response, streamed=record.streamed)


def _when(milliseconds: int) -> int:
    return min(max(milliseconds, 0), _LATEST_MS)


def _time(milliseconds: int) -> int:
    """Microseconds since the epoch, as the column has them."""
    return _when(milliseconds) * 1000


def _date(milliseconds: int) -> date:
    return datetime.fromtimestamp(_when(milliseconds) // 1000, UTC).date()


def _whole(value: int | None) -> int | None:
    """A provider may count whatever it likes."""
    return value if isinstance(value, int) and value in _INT64 else None


def _small(value: int | None) -> int | None:
    return value if isinstance(value, int) and value in _INT32 else None
