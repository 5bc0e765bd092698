"""Sealed values (`Encryption.seal`), wherever a text or JSON column holds one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import JSON, Column, String, Table, Text, cast, select, update
from sqlalchemy.orm import Session

from moorage.control.store.models import Base
from moorage.encryption import SEALED_PREFIX


def replace_sealed(session: Session, replacement: Callable[[str], str]) -> None:
    """Put `replacement(token)` in the place of every sealed value in the database."""
    for table in Base.metadata.sorted_tables:
        for column in table.columns:
            if isinstance(column.type, JSON | String):
                _replace_in(session, table, column, replacement)


def _replace_in(session: Session, table: Table, column: Column[Any], replacement: Callable[[str], str]) -> None:
    keys = list(table.primary_key.columns)
    holding = cast(column, Text).contains(SEALED_PREFIX, autoescape=True)
    for *key, value in session.execute(select(*keys, column).where(holding)).all():
        this_row = [one == part for one, part in zip(keys, key, strict=True)]
        session.execute(update(table).where(*this_row).values({column: _replaced(value, replacement)}))


def _replaced(value: Any, replacement: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return replacement(value) if value.startswith(SEALED_PREFIX) else value
    if isinstance(value, list):
        return [_replaced(one, replacement) for one in value]
    if isinstance(value, dict):
        return {key: _replaced(one, replacement) for key, one in value.items()}
    return value
