"""How to query a serving endpoint, as an OpenAPI document.

Source: Databricks REST reference, serving endpoints, get open API.
"""

from __future__ import annotations

import json
from typing import Annotated, cast

from fastapi import APIRouter, Depends, Request, Response

from moorage.control.dependencies import Caller
from moorage.control.query_schemas import QuerySchemas

router = APIRouter(prefix="/api/2.0/serving-endpoints/{name}", tags=["serving-endpoints"])


def _service(request: Request) -> QuerySchemas:
    return cast(QuerySchemas, request.app.state.query_schemas)


@router.get("/openapi")
def get_open_api(caller: Caller, schemas: Annotated[QuerySchemas, Depends(_service)], name: str) -> Response:
    # Escaped to ASCII: a model's author may have put text into it that UTF-8 cannot hold.
    text = json.dumps(schemas.get(caller, name))
    return Response(text, media_type="application/json")
