"""Rounds: closed segments are read, each table gets its rows in one commit, and what all tables have is deleted.

A segment stays until every table that it has rows for has them. A table that fails is tried again after a while, with
all segments that it misses; the others go on. What is done twice after a crash changes nothing: see `delta`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from moorage.api.inference_tables import TablesReport, TableState, TableStatus
from moorage.tables.batches import SegmentContent, Target, content_of
from moorage.tables.location import NoTableName, TablePlace
from moorage.tables.status import read_report, write_report
from moorage.telemetry.spool import Segment, closed_segments, read_segment, spool_bytes

if TYPE_CHECKING:
    from moorage.tables.delta import Written

_logger = logging.getLogger(__name__)

ROUND_BYTES = 32 * 1024 * 1024
_FIRST_WAIT_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 60.0
_LONGEST_MESSAGE = 500


class Engine(Protocol):
    """What writes rows: `engine.DeltaEngine`."""

    def write(self, target: Target, location: str, owed: Mapping[Segment, SegmentContent]) -> Written: ...


@dataclass(frozen=True, slots=True)
class _Failure:
    """When a table that failed is tried again, and how long the wait before that was."""

    again_at: float
    wait: float


@dataclass(frozen=True, slots=True)
class Round:
    """What a round did. `more` is whether segments are left that could be written at once."""

    commits: int
    more: bool


class TableWriter:
    """Writes what is in the spool to the tables, and how that goes to the file `status`.

    `load_engine` is called when there is something to write for the first time: it takes most of this process's
    memory. `clock` counts seconds, `now` milliseconds since the epoch.
    """

    def __init__(
        self,
        spool: Path,
        status: Path,
        place: TablePlace,
        load_engine: Callable[[], Engine],
        *,
        most_bytes: int,
        clock: Callable[[], float],
        now: Callable[[], int],
        round_bytes: int = ROUND_BYTES,
    ) -> None:
        self._spool = spool
        self._status = status
        self._place = place
        self._load_engine = load_engine
        self._most_bytes = most_bytes
        self._clock = clock
        self._now = now
        self._round_bytes = round_bytes
        self._engine: Engine | None = None
        self._pending: dict[Path, frozenset[Target]] = {}
        self._failures: dict[Target, _Failure] = {}
        self._said = read_report(status)
        self._states = dict(self._said.tables)
        self._dropped = self._said.dropped_records
        self._silenced = False

    def round(self, *, in_haste: bool = False) -> Round:
        """Write what can be written. `in_haste` tries tables whose time has not come yet too.

        Raises:
            OSError: the spool cannot be read.
        """
        segments = self._within_bounds(closed_segments(self._spool))
        waiting = set() if in_haste else self._waiting()
        chosen, more = self._choose(segments, waiting)
        contents = {segment: self._read(segment) for segment in chosen}
        for segment, content in contents.items():
            self._pending.setdefault(segment.path, content.targets)
        targets = {target for segment in chosen for target in self._pending[segment.path]}
        commits = 0
        for target in sorted(targets - waiting):
            owed = {one: content for one, content in contents.items() if target in self._pending[one.path]}
            if self._deliver(target, owed):
                commits += 1
                for segment in owed:
                    self._pending[segment.path] -= {target}
        for segment in chosen:
            if not self._pending[segment.path]:
                self._delete(segment)
        self._say()
        return Round(commits, more)

    def _waiting(self) -> set[Target]:
        now = self._clock()
        return {target for target, failure in self._failures.items() if now < failure.again_at}

    def _choose(self, segments: Sequence[Segment], waiting: set[Target]) -> tuple[list[Segment], bool]:
        """The oldest segments with something for a table that is not waiting, as many as are read at once."""
        chosen: list[Segment] = []
        size = 0
        for segment in segments:
            pending = self._pending.get(segment.path)
            if pending is not None and not pending - waiting:
                continue
            if chosen and size + segment.size > self._round_bytes:
                return chosen, True
            chosen.append(segment)
            size += segment.size
        return chosen, False

    def _read(self, segment: Segment) -> SegmentContent:
        records, torn = read_segment(segment.path)
        if torn:
            _logger.warning("%s ends in %d bytes that are no record; they are left out", segment.path.name, torn)
        return content_of(records, segment.path.name)

    def _deliver(self, target: Target, owed: Mapping[Segment, SegmentContent]) -> bool:
        """Write to one table; whether it has everything now."""
        try:
            location = self._place.location(target.table)
            if self._engine is None:
                self._engine = self._load_engine()
            written = self._engine.write(target, location, owed)
        except NoTableName as error:
            self._failed(target, error)
        except Exception as error:
            # Whatever it is, the other tables must go on: a full disk, a permission, another table in its place.
            if target not in self._failures:
                _logger.exception("table %s cannot be written", target.table)
            self._failed(target, error)
        else:
            self._succeeded(target, written)
            return True
        return False

    def _failed(self, target: Target, error: Exception) -> None:
        earlier = self._failures.get(target)
        wait = min(earlier.wait * 2, _LONGEST_WAIT_SECONDS) if earlier else _FIRST_WAIT_SECONDS
        self._failures[target] = _Failure(self._clock() + wait, wait)
        known = self._states.get(target.table)
        words = " ".join(str(error).split()) or type(error).__name__
        self._states[target.table] = TableState(
            status=TableStatus.FAILED,
            message=words[:_LONGEST_MESSAGE],
            rows=known.rows if known else None,
            last_commit_ms=known.last_commit_ms if known else None,
        )

    def _succeeded(self, target: Target, written: Written) -> None:
        if self._failures.pop(target, None) is not None:
            _logger.info("table %s is written again", target.table)
        # The same name may be wanted with other columns too, which cannot be.
        failing = any(other.table == target.table for other in self._failures)
        known = self._states.get(target.table)
        self._states[target.table] = TableState(
            status=TableStatus.FAILED if failing else TableStatus.ACTIVE,
            message=known.message if failing and known else "",
            rows=written.rows,
            last_commit_ms=self._now(),
        )

    def _within_bounds(self, segments: list[Segment]) -> list[Segment]:
        """What is left after the oldest segments were thrown away, if the spool has grown too large."""
        size = spool_bytes(self._spool)
        kept = list(segments)
        while kept and size > self._most_bytes:
            segment = kept.pop(0)
            records, _ = read_segment(segment.path)
            self._dropped += len(records)
            _logger.error(
                "the spool holds %d bytes: %d records in %s are thrown away, %d so far",
                size, len(records), segment.path.name, self._dropped,
            )  # fmt: skip
            self._delete(segment)
            size -= segment.size
        return kept

    def _delete(self, segment: Segment) -> None:
        segment.path.unlink(missing_ok=True)
        self._pending.pop(segment.path, None)

    def _say(self) -> None:
        report = TablesReport(tables=self._states, dropped_records=self._dropped)
        if report == self._said:
            return
        try:
            write_report(self._status, report)
        except OSError as error:
            if not self._silenced:
                _logger.warning("could not write %s: %s", self._status, error)
            self._silenced = True
        else:
            self._silenced = False
            self._said = TablesReport(tables=dict(self._states), dropped_records=self._dropped)
