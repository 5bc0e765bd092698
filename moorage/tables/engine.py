"""Rows to tables: what of a round needs Arrow and Delta. Importing this module loads both."""

from __future__ import annotations

from collections.abc import Mapping

from moorage.tables.batches import Form, SegmentContent, Target
from moorage.tables.bodies import Redaction
from moorage.tables.delta import DeltaWriter, SegmentRows, Written
from moorage.tables.location import TablePlace
from moorage.tables.schemas import ENTITIES, GATEWAY, LEGACY, USAGE, Row, Rows
from moorage.telemetry.request_log import LoggedRequest
from moorage.telemetry.spool import Segment

_FORMS = {Form.GATEWAY: GATEWAY, Form.LEGACY: LEGACY, Form.USAGE: USAGE, Form.ENTITIES: ENTITIES}


def delta_engine(place: TablePlace, workspace_id: str, redaction: Redaction, application: str) -> DeltaEngine:
    """One that writes to tables at `place`."""
    return DeltaEngine(DeltaWriter(place.storage_options), Rows(workspace_id, redaction), application)


class DeltaEngine:
    """Writes what segments hold for a table. `application` names this spool in the transactions of the tables."""

    def __init__(self, delta: DeltaWriter, rows: Rows, application: str) -> None:
        self._delta = delta
        self._rows = rows
        self._application = application

    def write(self, target: Target, location: str, owed: Mapping[Segment, SegmentContent]) -> Written:
        """Bring the table up to date with these segments, which are in the order of their numbers.

        Raises: as `DeltaWriter.append`.
        """
        if target.form is Form.ENTITIES:
            entities = [self._rows.entity(record) for content in owed.values() for record in content.entities]
            deletions = [one for content in owed.values() for one in content.deletions]
            written = self._delta.merge_entities(location, entities, deletions)
        else:
            given = [
                SegmentRows(
                    f"{self._application}/{segment.writer}",
                    segment.number,
                    [self._row(target.form, request, share) for request, share in content.requests[target]],
                )
                for segment, content in owed.items()
            ]
            written = self._delta.append(location, _FORMS[target.form], given)
        self._delta.maintain(location, _FORMS[target.form])
        return written

    def _row(self, form: Form, request: LoggedRequest, share: float) -> Row:
        if form is Form.USAGE:
            return self._rows.usage(request)
        if form is Form.LEGACY:
            return self._rows.legacy(request, share)
        return self._rows.gateway(request, share)
