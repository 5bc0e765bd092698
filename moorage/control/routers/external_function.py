"""Calls of external services through connections of the catalog, which this server does not have.

Source: Databricks REST reference, serving endpoints, http request.
"""

from __future__ import annotations

from fastapi import APIRouter

from moorage.api.errors import NotImplementedHere
from moorage.control.dependencies import Caller

router = APIRouter(prefix="/api/2.0", tags=["serving-endpoints"])


@router.post("/external-function")
def call_external_function(caller: Caller) -> None:
    raise NotImplementedHere(
        "External functions are not supported by Moorage, which has no connections in a catalog: "
        "call the service itself, with its own credential"
    )
