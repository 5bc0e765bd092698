"""The file in which the process that writes the tables says how it does; the control plane reads it."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import ValidationError

from moorage.api.inference_tables import TablesReport


def read_report(path: Path) -> TablesReport:
    """What was last said; nothing where there is no file, or none that can be read."""
    try:
        return TablesReport.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return TablesReport()


def write_report(path: Path, report: TablesReport) -> None:
    """Replace the file in one step.

    Raises:
        OSError: it cannot be written; the old one is still there.
    """
    new = path.with_name(f"{path.name}.tmp")
    new.write_text(report.model_dump_json(exclude_none=True))
    os.replace(new, path)
