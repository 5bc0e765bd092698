"""Inference tables and usage. Moorage's own: the reference names the tables, and no route that reads them."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Query, Request

from moorage.api.inference_tables import InferenceTableList, InferenceTableRows, Usage, UsageBucket, UsageGroup
from moorage.control.dependencies import Caller
from moorage.control.tables import LATEST_MS, TablesService, Wanted

router = APIRouter(tags=["inference-tables"])

_TABLE = "/api/2.0/serving-endpoints/{name}/inference-table"
_LONGEST_WORD = 1024


def _service(request: Request) -> TablesService:
    return cast(TablesService, request.app.state.tables)


Time = Annotated[int | None, Query(ge=0, le=LATEST_MS)]
Status = Annotated[int | None, Query(ge=100, le=599)]
Word = Annotated[str | None, Query(min_length=1, max_length=_LONGEST_WORD)]


def _wanted(
    start_time_ms: Time = None,
    end_time_ms: Time = None,
    status_code: Status = None,
    served_entity_name: Word = None,
    requester: Word = None,
    client_request_id: Word = None,
    databricks_request_id: Word = None,
) -> Wanted:
    return Wanted(
        start_time_ms=start_time_ms,
        end_time_ms=end_time_ms,
        status_code=status_code,
        served_entity_name=served_entity_name,
        requester=requester,
        client_request_id=client_request_id,
        databricks_request_id=databricks_request_id,
    )


Tables = Annotated[TablesService, Depends(_service)]
WantedRows = Annotated[Wanted, Depends(_wanted)]
Limit = Annotated[int, Query(ge=1, le=1000)]


@router.get(_TABLE, response_model_exclude_none=True)
def inference_tables(caller: Caller, tables: Tables, name: str) -> InferenceTableList:
    return tables.tables(caller, name)


@router.get(f"{_TABLE}/rows", response_model_exclude_none=True)
def inference_table_rows(
    caller: Caller,
    tables: Tables,
    wanted: WantedRows,
    name: str,
    table: Word = None,
    limit: Limit = 100,
    page_token: Word = None,
) -> InferenceTableRows:
    return tables.rows(caller, name, table, wanted, limit, page_token)


@router.get("/api/2.0/moorage/usage", response_model_exclude_none=True)
def usage(
    caller: Caller,
    tables: Tables,
    wanted: WantedRows,
    endpoint_name: Word = None,
    group_by: Annotated[UsageGroup | None, Query()] = None,
    bucket: Annotated[UsageBucket | None, Query()] = None,
    limit: Limit = 100,
    page_token: Word = None,
) -> Usage:
    if group_by is None and bucket is None:
        return tables.usage(caller, endpoint_name, wanted, limit, page_token)
    return tables.usage_sums(caller, endpoint_name, wanted, group_by, bucket)
