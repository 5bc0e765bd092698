"""Writing to Delta tables so that what is repeated after a crash changes nothing.

Each commit carries, for every writer of the spool, the number of the last segment whose rows are in the table: the
application transactions of the Delta protocol. Before rows are written the table is asked up to which segment it has
them. Importing this module loads deltalake and pyarrow.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from deltalake import (
    ColumnProperties,
    CommitProperties,
    DeltaTable,
    Transaction,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import DeltaError

from moorage.tables.schemas import ENTITIES, Row, TableForm, as_table, fitting
from moorage.telemetry.entity_log import EndpointDeletion

_logger = logging.getLogger(__name__)

COMPACT_EVERY = 100
_ROWS_IN_GROUP = 10_000
_SETTINGS = {
    "delta.checkpointInterval": "50",
    # A commit every few seconds: what is kept for time travel must not outgrow the table.
    "delta.logRetentionDuration": "interval 1 days",
    "delta.deletedFileRetentionDuration": "interval 1 days",
}
_FILE = "file://"


class IncompatibleTable(Exception):
    """A table that is there has not the columns that are to be written."""


@dataclass(frozen=True, slots=True)
class SegmentRows:
    """Rows for one table out of one segment of the spool. `application` names the writer, and never changes."""

    application: str
    number: int
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Written:
    """`rows` is how many the table has in all, `added` how many came with this commit."""

    rows: int
    added: int


class DeltaWriter:
    """Writes to tables, which it makes where they are missing. Not for several threads."""

    def __init__(self, storage_options: Mapping[str, str]) -> None:
        self._storage_options = dict(storage_options)
        self._open: dict[str, DeltaTable] = {}
        self._rows: dict[str, int] = {}
        self._compacted: dict[str, int] = {}

    def append(self, location: str, form: TableForm, given: Sequence[SegmentRows]) -> Written:
        """Add the rows of segments that the table does not have yet, in one commit.

        Segments of one application must be given in the order of their numbers, and none may be left out that has
        rows for this table.

        Raises:
            IncompatibleTable: see there.
            DeltaError, OSError, pyarrow.ArrowException: it failed. Whether it was committed shows when repeated.
        """
        try:
            return self._append(location, form, given)
        except BaseException:
            self._forget(location)
            raise

    def merge_entities(self, location: str, rows: Sequence[Row], deletions: Sequence[EndpointDeletion]) -> Written:
        """Add served entities that are not there yet, then note which endpoints are gone. May be repeated.

        Raises: as `append`.
        """
        try:
            return self._merge(location, rows, deletions)
        except BaseException:
            self._forget(location)
            raise

    def maintain(self, location: str, form: TableForm) -> None:
        """Now and then: small files become larger ones, and files that no version of the last day has go.

        A failure is logged and changes nothing of the table's content.
        """
        table = self._open[location]
        version = table.version()
        if version - self._compacted.get(location, 0) < COMPACT_EVERY:
            return
        self._compacted[location] = version
        try:
            table.optimize.compact(max_concurrent_tasks=1, writer_properties=_writer_properties(form))
            table.vacuum(dry_run=False, full=True)
        except (DeltaError, OSError) as error:
            _logger.warning("could not compact %s: %s", location, error)
            self._forget(location)

    def _append(self, location: str, form: TableForm, given: Sequence[SegmentRows]) -> Written:
        table = self._table(location, form)
        last: dict[str, int] = {}
        rows: list[Row] = []
        for segment in given:
            known = table.transaction_version(segment.application)
            if known is None or segment.number > known:
                rows.extend(segment.rows)
                last[segment.application] = segment.number
        if not last:
            return Written(self._rows[location], 0)
        data = fitting(form, rows, _refused)
        # Transactions without a row are committed too: nothing else says that the segments are done with.
        write_deltalake(
            table,
            data,
            mode="append",
            writer_properties=_writer_properties(form),
            commit_properties=CommitProperties(app_transactions=[Transaction(*one) for one in last.items()]),
        )
        self._rows[location] += data.num_rows
        return Written(self._rows[location], data.num_rows)

    def _merge(self, location: str, rows: Sequence[Row], deletions: Sequence[EndpointDeletion]) -> Written:
        table = self._table(location, ENTITIES)
        before = self._rows[location]
        unique = {(row["served_entity_id"], row["endpoint_config_version"]): row for row in reversed(rows)}
        if unique:
            key = " AND ".join(f"t.{name} = s.{name}" for name in ("served_entity_id", "endpoint_config_version"))
            merge = table.merge(as_table(ENTITIES, list(unique.values())), key, source_alias="s", target_alias="t")
            result = merge.when_not_matched_insert_all().execute()
            self._rows[location] += int(result["num_target_rows_inserted"])
        gone = {one.endpoint_id: one.time_ms for one in reversed(deletions)}
        if gone:
            times = pa.array([time * 1000 for time in gone.values()], pa.int64()).cast(pa.timestamp("us", tz="UTC"))
            source = pa.table({"endpoint_id": pa.array(gone, pa.string()), "gone_at": times})
            match = "t.endpoint_id = s.endpoint_id AND t.endpoint_delete_time IS NULL"
            merge = table.merge(source, match, source_alias="s", target_alias="t")
            merge.when_matched_update({"endpoint_delete_time": "s.gone_at"}).execute()
        return Written(self._rows[location], self._rows[location] - before)

    def _table(self, location: str, form: TableForm) -> DeltaTable:
        """The table in its newest version.

        Raises:
            IncompatibleTable: see there.
        """
        known = self._open.get(location)
        if known is not None and _is_in_place(location, known.version()):
            known.update_incremental()
            return known
        if not location.startswith(_FILE) and "://" not in location:
            Path(location).mkdir(mode=0o700, parents=True, exist_ok=True)
        table = DeltaTable.create(
            location,
            schema=form.schema,
            mode="ignore",
            partition_by=[form.day] if form.day else None,
            configuration={**_SETTINGS, "delta.dataSkippingStatsColumns": ",".join(_columns_with_statistics(form))},
            storage_options=self._storage_options,
        )
        _require_columns(table, form)
        counts = pa.table(table.get_add_actions(flatten=True))["num_records"].to_pylist()
        self._open[location] = table
        self._rows[location] = sum(count or 0 for count in counts)
        return table

    def _forget(self, location: str) -> None:
        self._open.pop(location, None)
        self._rows.pop(location, None)


def _is_in_place(location: str, version: int) -> bool:
    """Whether the table that was opened is still there: its folder may have been deleted by hand."""
    path = location.removeprefix(_FILE)
    return "://" in path or Path(path, "_delta_log", f"{version:020d}.json").exists()


def _require_columns(table: DeltaTable, form: TableForm) -> None:
    """
    Raises:
        IncompatibleTable: see there.
    """
    found = {one.name: one.type for one in pa.schema(table.schema().to_arrow())}
    for column in form.schema:
        if column.name not in found:
            raise IncompatibleTable(f"the table that is there is no {form.name}: it has no column '{column.name}'")
        if found.pop(column.name) != column.type:
            raise IncompatibleTable(
                f"the table that is there is no {form.name}: its column '{column.name}' is not of type {column.type}"
            )
    if found:
        extra = next(iter(found))
        raise IncompatibleTable(f"the table that is there is no {form.name}: it has a column '{extra}' too")


def _columns_with_statistics(form: TableForm) -> list[str]:
    plain = (pa.types.is_string, pa.types.is_integer, pa.types.is_timestamp, pa.types.is_date)
    return [
        one.name for one in form.schema if one.name not in form.bodies and any(check(one.type) for check in plain)
    ]


def _writer_properties(form: TableForm) -> WriterProperties:
    # Statistics would repeat whole bodies, and a dictionary of them is as long as they are.
    body = ColumnProperties(dictionary_enabled=False, statistics_enabled="NONE")
    return WriterProperties(
        compression="ZSTD",
        compression_level=1,
        max_row_group_size=_ROWS_IN_GROUP,
        column_properties=dict.fromkeys(form.bodies, body),
    )


def _refused(row: Row, error: Exception) -> None:
    _logger.error("request %s cannot be kept: %s", row.get("databricks_request_id"), error)
