"""Names of tables, in three levels: catalog, schema, table. They also become names of folders."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

from moorage.api.wire import Text

_PART = re.compile(r"[^\s./\\\x00-\x1f\x7f]{1,255}")


def _table_part(text: str) -> str:
    if not _PART.fullmatch(text):
        raise ValueError("must be 1 to 255 characters without spaces, dots and slashes")
    return text


def _table_name(text: str) -> str:
    parts = text.split(".")
    if len(parts) != 3 or not all(_PART.fullmatch(part) for part in parts):
        raise ValueError("must be a table's name in three levels, such as 'catalog.schema.table'")
    return text


TablePart = Annotated[Text, AfterValidator(_table_part)]
TableName = Annotated[Text, AfterValidator(_table_name)]


def payload_table(catalog: str, schema: str, prefix: str) -> str:
    """The inference table of that place and prefix."""
    return f"{catalog}.{schema}.{prefix}_payload"
