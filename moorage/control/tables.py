"""Inference tables and usage for the API: which tables an endpoint has, how they do, and rows of them."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from moorage.api.configs import AutoCaptureState
from moorage.api.endpoints import EndpointDetail, PermissionLevel, TelemetryConfig
from moorage.api.errors import InvalidParameterValue, ResourceDoesNotExist, TemporarilyUnavailable
from moorage.api.inference_tables import (
    USAGE_TABLE,
    InferenceTable,
    InferenceTableList,
    InferenceTableRow,
    InferenceTableRows,
    TablesReport,
    TableState,
    TableStatus,
    Usage,
    UsageBucket,
    UsageGroup,
    UsageRow,
    UsageSum,
)
from moorage.api.routing import Principal
from moorage.control import endpoint_views as views
from moorage.control.captures import captures
from moorage.control.dependencies import ControlDependencies
from moorage.control.endpoint_rows import find_managed
from moorage.control.store import endpoints as store
from moorage.control.store.endpoint_grants import all_grants
from moorage.control.store.engine import reading
from moorage.control.store.models import Config, Endpoint
from moorage.identity.access import permission_level
from moorage.tables.location import TablePlace
from moorage.tables.status import read_report

if TYPE_CHECKING:
    from moorage.tables.reading import Position, RowFilter, TableReader

_logger = logging.getLogger(__name__)

LATEST_MS = 253_402_300_799_999  # the end of the year 9999
_DAY_MS = 24 * 3600 * 1000
_MOST_SUMS = 10_000
_STEPS = {UsageBucket.MINUTE: 60_000, UsageBucket.HOUR: 3_600_000, UsageBucket.DAY: _DAY_MS}
_GROUPS = {
    UsageGroup.ENDPOINT: ("endpoint_id", "endpoint_name"),
    UsageGroup.REQUESTER: ("requester",),
    UsageGroup.SERVED_ENTITY: ("endpoint_id", "endpoint_name", "served_entity_id", "served_entity_name"),
}


@dataclass(frozen=True, slots=True)
class CaptureTable:
    """An inference table of an endpoint. `legacy` is that of `auto_capture_config`."""

    name: str
    legacy: bool
    enabled: bool


def capture_tables(endpoint: Endpoint, config: Config | None) -> tuple[CaptureTable, ...]:
    """The inference tables that the endpoint's settings and this configuration of it name, the newer form first.

    One that was disabled is among them: its rows can still be read.
    """
    found = []
    gateway = views.ai_gateway(endpoint)
    given = gateway.inference_table_config if gateway is not None else None
    if given is not None and given.catalog_name and given.schema_name:
        prefix = given.table_name_prefix or endpoint.name
        name = f"{given.catalog_name}.{given.schema_name}.{prefix}_payload"
        found.append(CaptureTable(name, False, given.enabled))
    older = views.auto_capture(config) if config is not None else None
    if older is not None and older.catalog_name and older.schema_name:
        prefix = older.table_name_prefix or endpoint.name
        name = f"{older.catalog_name}.{older.schema_name}.{prefix}_payload"
        found.append(CaptureTable(name, True, older.enabled))
    telemetry = TelemetryConfig.model_validate(endpoint.telemetry_config) if endpoint.telemetry_config else None
    for one in captures(endpoint.name, None, None, telemetry):
        if one.table not in (table.name for table in found):
            found.append(CaptureTable(one.table, False, True))
    return tuple(found)


def with_delivery(detail: EndpointDetail, report: TablesReport) -> EndpointDetail:
    """The endpoint with how the delivery to its older inference table does."""
    capture = detail.config.auto_capture_config if detail.config else None
    if detail.config is None or capture is None or capture.state is None:
        return detail
    payload = capture.state.payload_table
    state = report.tables.get(f"{capture.catalog_name}.{capture.schema_name}.{payload.name}")
    if state is None:
        return detail
    payload = payload.model_copy(update={"status": state.status.value, "status_message": state.message or None})
    capture = capture.model_copy(update={"state": AutoCaptureState(payload_table=payload)})
    return detail.model_copy(update={"config": detail.config.model_copy(update={"auto_capture_config": capture})})


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which requests are wanted; None is any. Times are milliseconds since the epoch, the end not included."""

    start_time_ms: int | None = None
    end_time_ms: int | None = None
    status_code: int | None = None
    served_entity_name: str | None = None
    requester: str | None = None
    client_request_id: str | None = None
    databricks_request_id: str | None = None

    def require_span(self) -> None:
        """
        Raises:
            InvalidParameterValue: it ends before it starts.
        """
        if self.start_time_ms is None or self.end_time_ms is None:
            return
        if self.start_time_ms >= self.end_time_ms:
            raise InvalidParameterValue(
                "Invalid value for 'start_time_ms': must be before 'end_time_ms', both milliseconds since the epoch"
            )

    @property
    def equal(self) -> tuple[tuple[str, str | int], ...]:
        """The columns that every table has, with the values that are wanted."""
        names = ("status_code", "client_request_id", "databricks_request_id")
        given = ((name, getattr(self, name)) for name in names)
        return tuple((name, value) for name, value in given if value is not None)


@dataclass(frozen=True, slots=True)
class TablesService:
    """Reads what `moorage.tables` has written. Every method may block for as long as reading the tables takes."""

    deps: ControlDependencies

    def tables(self, caller: Principal, name: str) -> InferenceTableList:
        """The inference tables of an endpoint, and how the delivery to them does.

        Raises:
            ResourceDoesNotExist: no such endpoint.
            PermissionDenied: the caller may not manage it.
        """
        with reading(self.deps.sessions) as session:
            endpoint = find_managed(session, caller, name)
            tables = capture_tables(endpoint, _newest_config(session, endpoint))
        states = read_report(self.deps.data.tables_status).tables
        return InferenceTableList(tables=tuple(self._table(one, states.get(one.name)) for one in tables))

    def rows(
        self, caller: Principal, name: str, table: str | None, wanted: Wanted, limit: int, page_token: str | None
    ) -> InferenceTableRows:
        """Requests to an endpoint and their answers, newest first, out of `table` or its first.

        Rows of another endpoint that shares the table are left out. So are those that no served entity belongs to,
        unless the caller is an admin: nothing says whose they are.

        Raises:
            ResourceDoesNotExist: no such endpoint, or it has no such table.
            PermissionDenied: the caller may not manage it.
            InvalidParameterValue: a filter that the table has no column for, or a page token of another request.
            TemporarilyUnavailable: the table cannot be read.
        """
        wanted.require_span()
        before = _position(page_token)
        with reading(self.deps.sessions) as session:
            endpoint = find_managed(session, caller, name)
            tables = capture_tables(endpoint, _newest_config(session, endpoint))
            names = {one.id: one.served_name for one in store.deployments(session, endpoint.id)}
        chosen = next((one for one in tables if table in (None, one.name)), None)
        if chosen is None:
            which = f"no inference table '{table}'" if table else "no inference table"
            raise ResourceDoesNotExist(f"Endpoint '{name}' has {which}.")
        from moorage.tables.schemas import GATEWAY, LEGACY

        form = LEGACY if chosen.legacy else GATEWAY
        selected = _of_older_table(endpoint, wanted) if chosen.legacy else _of_table(caller, names, wanted)
        with self._reader(chosen.name) as reader:
            page = reader.newest(chosen.name, form, selected, before, limit)
        rows = []
        for row in page.rows:
            duration = row["execution_time_ms"] if chosen.legacy else row["execution_duration_ms"]
            entity = names.get(row.get("served_entity_id") or "")
            times = {"request_time": row[form.time], "execution_duration_ms": duration}
            rows.append(InferenceTableRow.model_validate({**row, **times, "served_entity_name": entity}))
        return InferenceTableRows(table=chosen.name, rows=tuple(rows), next_page_token=_token(page.next))

    def usage(
        self, caller: Principal, endpoint_name: str | None, wanted: Wanted, limit: int, page_token: str | None
    ) -> Usage:
        """The usage of single requests to endpoints that the caller manages, of all for an admin. Newest first.

        Raises:
            InvalidParameterValue: a page token of another request.
            TemporarilyUnavailable: the table cannot be read.
        """
        wanted.require_span()
        before = _position(page_token)
        from moorage.tables.schemas import USAGE

        with self._reader(USAGE_TABLE) as reader:
            page = reader.newest(USAGE_TABLE, USAGE, self._usage_filter(caller, endpoint_name, wanted), before, limit)
        rows = []
        for row in page.rows:
            context = None if row["usage_context"] is None else dict(row["usage_context"])
            rows.append(UsageRow.model_validate({**row, "usage_context": context}))
        return Usage(rows=tuple(rows), next_page_token=_token(page.next))

    def usage_sums(
        self,
        caller: Principal,
        endpoint_name: str | None,
        wanted: Wanted,
        group_by: UsageGroup | None,
        bucket: UsageBucket | None,
    ) -> Usage:
        """As `usage`, added up; the last day where no start is given.

        Raises:
            InvalidParameterValue: there are more than 10,000 sums.
            TemporarilyUnavailable: the table cannot be read.
        """
        wanted.require_span()
        from moorage.tables.reading import TooManyGroups
        from moorage.tables.schemas import USAGE

        end = self.deps.clock() if wanted.end_time_ms is None else wanted.end_time_ms
        selected = self._usage_filter(caller, endpoint_name, wanted, default_start=max(0, end - _DAY_MS))
        by = _GROUPS[group_by] if group_by is not None else ()
        try:
            with self._reader(USAGE_TABLE) as reader:
                step = _STEPS[bucket] if bucket is not None else None
                found = reader.sums(USAGE_TABLE, USAGE, selected, by, step, _MOST_SUMS)
        except TooManyGroups:
            raise InvalidParameterValue(
                f"Invalid value for 'bucket': there would be more than {_MOST_SUMS} sums;"
                " ask for a longer one, or for less time"
            ) from None
        sums = [
            UsageSum.model_validate(
                {
                    **row,
                    "bucket_start": row.get("bucket"),
                    "input_tokens": row["input_tokens"] or 0,
                    "output_tokens": row["output_tokens"] or 0,
                }
            )
            for row in found
        ]
        return Usage(sums=tuple(sorted(sums, key=_sum_order)))

    def _table(self, table: CaptureTable, state: TableState | None) -> InferenceTable:
        known = state or TableState(status=TableStatus.ACTIVE)
        return InferenceTable(
            name=table.name,
            status=known.status,
            status_message=known.message,
            rows=known.rows,
            last_commit_timestamp=known.last_commit_ms,
            location=self._place.location(table.name),
        )

    @property
    def _place(self) -> TablePlace:
        return TablePlace.of(self.deps.settings, self.deps.data)

    @contextmanager
    def _reader(self, table: str) -> Iterator[TableReader]:
        """What reads the tables; Delta and Arrow are loaded when this is first used.

        Raises:
            TemporarilyUnavailable: what is read cannot be.
        """
        from deltalake.exceptions import DeltaError
        from pyarrow import ArrowException

        from moorage.tables.reading import TableReader

        try:
            yield TableReader(self._place)
        except (DeltaError, OSError, ArrowException) as error:
            _logger.warning("table %s cannot be read: %s", table, error)
            raise TemporarilyUnavailable(f"Table '{table}' cannot be read now.") from error

    def _usage_filter(
        self, caller: Principal, endpoint_name: str | None, wanted: Wanted, default_start: int | None = None
    ) -> RowFilter:
        from moorage.tables.reading import RowFilter

        named = {
            "endpoint_name": endpoint_name,
            "served_entity_name": wanted.served_entity_name,
            "requester": wanted.requester,
        }
        others = tuple((column, value) for column, value in named.items() if value is not None)
        managed = None if caller.admin else self._managed(caller)
        return RowFilter(
            start=default_start if wanted.start_time_ms is None else wanted.start_time_ms,
            end=wanted.end_time_ms,
            equal=(*wanted.equal, *others),
            among=() if managed is None else (("endpoint_id", managed),),
        )

    def _managed(self, caller: Principal) -> frozenset[str]:
        """The ids of the endpoints that the caller manages."""
        with reading(self.deps.sessions) as session:
            grants = all_grants(session, store.live(session))
            manage = PermissionLevel.CAN_MANAGE
            return frozenset(one for one, levels in grants.items() if permission_level(caller, levels) is manage)


def _newest_config(session: Session, endpoint: Endpoint) -> Config | None:
    """The configuration that serves, or is to."""
    version = endpoint.active_version if endpoint.active_version is not None else endpoint.pending_version
    return None if version is None else store.config(session, endpoint.id, version)


def _of_table(caller: Principal, names: Mapping[str, str], wanted: Wanted) -> RowFilter:
    """`names` are the endpoint's served entities by id, also those that it once had."""
    from moorage.tables.reading import RowFilter

    entity, requester = wanted.served_entity_name, wanted.requester
    ids = frozenset(id for id, name in names.items() if entity in (None, name))
    return RowFilter(
        start=wanted.start_time_ms,
        end=wanted.end_time_ms,
        equal=(*wanted.equal, *((("requester", requester),) if requester is not None else ())),
        among=(("served_entity_id", ids),),
        or_missing=("served_entity_id",) if caller.admin and entity is None else (),
    )


def _of_older_table(endpoint: Endpoint, wanted: Wanted) -> RowFilter:
    """These tables tell endpoints by name: what was there before this one was another's.

    Raises:
        InvalidParameterValue: see `rows`.
    """
    from moorage.tables.reading import RowFilter

    for field in ("served_entity_name", "requester"):
        if getattr(wanted, field) is not None:
            raise InvalidParameterValue(
                f"Invalid value for '{field}': the table of 'auto_capture_config' has no such column"
            )
    return RowFilter(
        start=max(wanted.start_time_ms or 0, endpoint.creation_timestamp),
        end=wanted.end_time_ms,
        equal=wanted.equal,
        entry=("request_metadata", "endpoint_name", endpoint.name),
    )


def _sum_order(one: UsageSum) -> tuple[int, int, str]:
    return one.bucket_start or 0, -one.requests, one.model_dump_json()


def _token(position: Position | None) -> str | None:
    if position is None:
        return None
    return base64.urlsafe_b64encode(json.dumps([position.time, position.request_id]).encode()).decode()


def _position(token: str | None) -> Position | None:
    """
    Raises:
        InvalidParameterValue: it is none that was given out.
    """
    from moorage.tables.reading import Position

    if token is None:
        return None
    try:
        time, request_id = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, TypeError, RecursionError):
        time, request_id = None, None
    if type(time) is int and 0 <= time <= LATEST_MS and isinstance(request_id, str) and request_id.isprintable():
        return Position(time, request_id)
    raise InvalidParameterValue("Invalid value for 'page_token': it is none that was given out")
