"""Reading the tables: newest rows first, and sums. Importing this module loads deltalake and pyarrow.

Only files of the days in question are opened. Rows are found by their small columns first; whole bodies are read of
those alone that are answered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from moorage.tables.location import TablePlace
from moorage.tables.schemas import TableForm

_ID = "databricks_request_id"
_ROWS_AT_ONCE = 64
_MOST_BYTES = 16 * 1024 * 1024
_MERGED_AT_ONCE = 64

Row = dict[str, Any]


class TooManyGroups(Exception):
    """Sums would have more entries than are answered."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page ends: the time (milliseconds since the epoch) and the request id of its last row."""

    time: int
    request_id: str


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Which rows are wanted. `start` is included, `end` is not, both milliseconds since the epoch.

    `equal` has columns with the value that they must have, `among` columns with all that they may have, those in
    `or_missing` also none. `entry` is a column of maps, a key, and the value that must be there.
    """

    start: int | None = None
    end: int | None = None
    equal: tuple[tuple[str, str | int], ...] = ()
    among: tuple[tuple[str, frozenset[str]], ...] = ()
    or_missing: tuple[str, ...] = ()
    entry: tuple[str, str, str] | None = None

    @property
    def is_hopeless(self) -> bool:
        """Whether no row can match."""
        return any(not values and column not in self.or_missing for column, values in self.among)


@dataclass(frozen=True, slots=True)
class Page:
    """Rows as dictionaries, times as milliseconds; `next` is where the one after it begins, if there are more."""

    rows: list[Row]
    next: Position | None


class TableReader:
    """Reads the tables of a place. Every method opens its table anew, and raises `DeltaError`, `OSError` or
    `pyarrow.ArrowException` when it cannot be read; a table that is not there has no rows."""

    def __init__(self, place: TablePlace) -> None:
        self._place = place

    def newest(self, name: str, form: TableForm, wanted: RowFilter, before: Position | None, limit: int) -> Page:
        """Up to `limit` rows, newest first; fewer where they would be longer than 16 MiB together, one at least.

        Raises:
            NoTableName: see there.
        """
        table = self._open(name)
        if table is None or wanted.is_hopeless:
            return Page([], None)
        condition = _condition(form, wanted, before)
        found: list[Row] = []
        size = 0
        for day in _days(table, form, wanted, before):
            dataset = table.to_pyarrow_dataset(file_pruning_predicate=[(str(form.day), "=", day)])
            keys = _newest_keys(dataset, form, condition, limit + 1 - len(found))
            for first in range(0, keys.num_rows, _ROWS_AT_ONCE):
                some = keys.slice(first, _ROWS_AT_ONCE)
                rows = dataset.to_table(filter=_and(condition, _between(form, some)))
                for row in rows.sort_by(_order(form)).slice(0, some.num_rows).to_pylist():
                    if found and (len(found) == limit or size > _MOST_BYTES):
                        return Page(found, Position(found[-1][form.time], found[-1][_ID]))
                    row[form.time] = _milliseconds(row[form.time])
                    size += sum(len(row[body] or "") for body in form.bodies)
                    found.append(row)
        return Page(found, None)

    def sums(
        self, name: str, form: TableForm, wanted: RowFilter, by: Sequence[str], step: int | None, most: int
    ) -> list[Row]:
        """How many requests and tokens there are for each combination of the columns `by`, and step of time.

        `step` is in milliseconds. Entries have those columns, `bucket` (milliseconds) with a step, `requests`,
        `input_tokens` and `output_tokens`.

        Raises:
            NoTableName: see there.
            TooManyGroups: there are more than `most`.
        """
        table = self._open(name)
        if table is None or wanted.is_hopeless:
            return []
        keys = [*by, *(["bucket"] if step else [])]
        days = _days(table, form, wanted, None)
        total: pa.Table | None = None
        for day in days:
            dataset = table.to_pyarrow_dataset(file_pruning_predicate=[(str(form.day), "=", day)])
            columns = [*by, form.time, "input_token_count", "output_token_count"]
            scanned = dataset.scanner(columns=columns, filter=_condition(form, wanted, None))
            for some in _batched(scanned.to_batches()):
                part = _added_up(_counted(some, form, step), keys)
                total = part if total is None else _added_up(pa.concat_tables([total, part]), keys)
                if total.num_rows > most:
                    raise TooManyGroups
        return [] if total is None else total.to_pylist()

    def _open(self, name: str) -> DeltaTable | None:
        try:
            return DeltaTable(self._place.location(name), storage_options=self._place.storage_options)
        except TableNotFoundError:
            return None


def _days(table: DeltaTable, form: TableForm, wanted: RowFilter, before: Position | None) -> list[str]:
    """The days that may have rows, newest first."""
    column = str(form.day)
    ends = [end for end in (wanted.end, before.time if before else None) if end is not None]
    first = _day(wanted.start) if wanted.start is not None else ""
    last = _day(min(ends)) if ends else "9999-12-31"
    days = {str(partition[column]) for partition in table.partitions()}
    return sorted((day for day in days if first <= day <= last), reverse=True)


def _day(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds // 1000, UTC).date().isoformat()


def _moment(form: TableForm, milliseconds: int) -> pa.Scalar:
    kind = form.schema.field(form.time).type
    value = milliseconds * 1000 if pa.types.is_timestamp(kind) else milliseconds
    return pa.scalar(value, pa.int64()).cast(kind)


def _milliseconds(value: Any) -> int:
    if isinstance(value, datetime):
        # Not by `timestamp()`: a float has not the digits.
        whole = value - datetime(1970, 1, 1, tzinfo=UTC)
        return whole.days * 86_400_000 + whole.seconds * 1000 + whole.microseconds // 1000
    return int(value)


def _condition(form: TableForm, wanted: RowFilter, before: Position | None) -> pc.Expression | None:
    time = pc.field(form.time)
    parts = [pc.field(column) == value for column, value in wanted.equal]
    for column, values in wanted.among:
        part = pc.field(column).isin(pa.array(sorted(values), pa.string()))
        parts.append(part | pc.field(column).is_null() if column in wanted.or_missing else part)
    if wanted.entry is not None:
        column, key, value = wanted.entry
        parts.append(pc.map_lookup(pc.field(column), pa.scalar(key), "first") == value)
    if wanted.start is not None:
        parts.append(time >= _moment(form, wanted.start))
    if wanted.end is not None:
        parts.append(time < _moment(form, wanted.end))
    if before is not None:
        moment = _moment(form, before.time)
        parts.append((time < moment) | ((time == moment) & (pc.field(_ID) < before.request_id)))
    return _and(*parts)


def _and(*parts: pc.Expression | None) -> pc.Expression | None:
    whole = None
    for part in parts:
        if part is not None:
            whole = part if whole is None else whole & part
    return whole


def _order(form: TableForm) -> list[tuple[str, str]]:
    return [(form.time, "descending"), (_ID, "descending")]


def _newest_keys(dataset: Any, form: TableForm, condition: pc.Expression | None, count: int) -> pa.Table:
    """Time and id of the newest rows, newest first, with never much more than `count` of them in memory."""
    columns = [form.time, _ID]
    known = form.schema.empty_table().select(columns)
    for some in _batched(dataset.scanner(columns=columns, filter=condition).to_batches()):
        known = pa.concat_tables([known, some]).sort_by(_order(form)).slice(0, count)
    return known


def _between(form: TableForm, keys: pa.Table) -> pc.Expression:
    """The rows from the first to the last of `keys`, which are newest first."""
    time, name = pc.field(form.time), pc.field(_ID)
    (newest, first), (oldest, last) = ((keys[form.time][i], keys[_ID][i]) for i in (0, keys.num_rows - 1))
    return ((time < newest) | ((time == newest) & (name <= first))) & (
        (time > oldest) | ((time == oldest) & (name >= last))
    )


def _batched(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    some: list[pa.RecordBatch] = []
    for batch in batches:
        if batch.num_rows:
            some.append(batch)
        if len(some) == _MERGED_AT_ONCE:
            yield pa.Table.from_batches(some)
            some = []
    if some:
        yield pa.Table.from_batches(some)


def _counted(rows: pa.Table, form: TableForm, step: int | None) -> pa.Table:
    """Each row as a sum of its own."""
    counted = rows.drop_columns([form.time]).rename_columns(
        {"input_token_count": "input_tokens", "output_token_count": "output_tokens"}
    )
    counted = counted.append_column("requests", pa.repeat(pa.scalar(1, pa.int64()), rows.num_rows))
    if step:
        time = pc.divide(rows[form.time].cast(pa.int64()), step * 1000)
        counted = counted.append_column("bucket", pc.multiply(time, step))
    return counted


def _added_up(rows: pa.Table, keys: Sequence[str]) -> pa.Table:
    values = ("requests", "input_tokens", "output_tokens")
    added = rows.group_by(list(keys)).aggregate([(value, "sum") for value in values])
    return added.rename_columns({f"{value}_sum": value for value in values})
