"""Inference tables and usage by the API: who sees which rows, filters, pages, sums."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from control_harness import ADMIN, ANN, BOB, ENDPOINTS, ControlPlane, control_plane, entity
from deltalake import DeltaTable

from moorage.api.inference_tables import USAGE_TABLE, TablesReport, TableState, TableStatus
from moorage.tables.bodies import Redaction
from moorage.tables.delta import DeltaWriter, SegmentRows
from moorage.tables.location import TablePlace
from moorage.tables.reading import RowFilter, TableReader
from moorage.tables.schemas import GATEWAY, LEGACY, USAGE, Rows, TableForm
from moorage.tables.status import write_report
from moorage.telemetry.request_log import LoggedRequest

TABLE, OLD = "prod.logs.ads_payload", "prod.old.ads_payload"
PLACE = {"catalog_name": "prod", "schema_name": "logs"}
T0 = 1_700_000_000_000  # the clock of the harness: 2023-11-14 22:13:20
MINUTE, DAY = 60_000, 24 * 3_600_000
USAGE_PATH = "/api/2.0/moorage/usage"


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    with control_plane(tmp_path) as plane:
        yield plane


class Tables:
    """Writes rows as the writer of the tables does."""

    def __init__(self, plane: ControlPlane) -> None:
        self.place = TablePlace(str(plane.data.tables), {})
        self.writer, self.rows, self.number = DeltaWriter({}), Rows("4711", Redaction([])), 0

    def add(self, *requests: LoggedRequest, table: str = TABLE, form: TableForm = GATEWAY) -> None:
        rows = self.rows
        make = {
            GATEWAY.name: lambda one: rows.gateway(one, 1.0),
            LEGACY.name: lambda one: rows.legacy(one, 1.0),
            USAGE.name: rows.usage,
        }[form.name]
        self.number += 1
        given = [SegmentRows("a", self.number, [make(one) for one in requests])]
        self.writer.append(self.place.location(table), form, given)


def request(name: str, at: int = T0, **fields: Any) -> LoggedRequest:
    return LoggedRequest(
        **{
            "request_id": name, "client_request_id": None, "endpoint": "ads", "endpoint_id": "e1",
            "served_name": "ads1-1", "served_entity_id": "d1", "entity": "ads1", "version": "1", "config_version": 1,
            "requester": "ann@example.com", "status": 200, "request_time_ms": at, "duration_ms": 5.0,
            "streamed": False, "input_tokens": None, "output_tokens": None, "tokens_estimated": False,
            "partial": False, "usage_context": None, "input_characters": None, "output_characters": None,
            "usage": True, "error_codes": (), "captures": (), "request": b'{"a": 1}', "response": b"[]", **fields,
        }
    )  # fmt: skip


def get(plane: ControlPlane, path: str, caller: Any = ANN, **params: Any) -> Any:
    return plane.request("GET", path, caller, params=params)


def ok(plane: ControlPlane, path: str, caller: Any = ANN, **params: Any) -> Any:
    answer = get(plane, path, caller, **params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def rows(plane: ControlPlane, caller: Any = ANN, name: str = "ads", **params: Any) -> list[str]:
    found = ok(plane, f"{ENDPOINTS}/{name}/inference-table/rows", caller, **params)["rows"]
    return [row["databricks_request_id"] for row in found]


def with_table(plane: ControlPlane, name: str = "ads", **fields: Any) -> tuple[str, str]:
    """The endpoint's id, and that of its served entity."""
    fields = {"ai_gateway": {"inference_table_config": {"enabled": True, **PLACE}}, **fields}
    identifier = plane.create(name, **fields)["id"]
    return identifier, next(iter(plane.deployment_ids(identifier).values()))


def test_tables_are_listed_with_how_they_do(plane: ControlPlane) -> None:
    capture = {"catalog_name": "prod", "schema_name": "old", "enabled": True}
    with_table(plane, config={"served_entities": [entity()], "auto_capture_config": capture})
    listed = ok(plane, f"{ENDPOINTS}/ads/inference-table")["tables"]
    fresh = {"status": "ACTIVE", "status_message": ""}
    assert listed == [
        {"name": TABLE, **fresh, "location": f"{plane.data.tables}/prod/logs/ads_payload"},
        {"name": OLD, **fresh, "location": f"{plane.data.tables}/prod/old/ads_payload"},
    ]
    failed = TableState(status=TableStatus.FAILED, message="no space", rows=7, last_commit_ms=T0)
    write_report(plane.data.tables_status, TablesReport(tables={TABLE: failed}))
    listed = ok(plane, f"{ENDPOINTS}/ads/inference-table")["tables"]
    assert listed[0] == {
        "name": TABLE, "status": "FAILED", "status_message": "no space", "rows": 7, "last_commit_timestamp": T0,
        "location": f"{plane.data.tables}/prod/logs/ads_payload",
    }  # fmt: skip


def test_an_endpoint_without_a_table_has_none(plane: ControlPlane) -> None:
    plane.create()
    assert ok(plane, f"{ENDPOINTS}/ads/inference-table") == {"tables": []}
    answer = get(plane, f"{ENDPOINTS}/ads/inference-table/rows")
    assert (answer.status_code, answer.json()["message"]) == (404, "Endpoint 'ads' has no inference table.")
    with_table(plane, "other")
    answer = get(plane, f"{ENDPOINTS}/other/inference-table/rows", table="a.b.c")
    assert answer.json()["message"] == "Endpoint 'other' has no inference table 'a.b.c'."
    assert rows(plane, name="other") == []


def test_a_row_has_everything_that_is_known(plane: ControlPlane) -> None:
    _, served = with_table(plane)
    one = request(
        "r1", at=T0 + 123, served_entity_id=served, client_request_id="c1", status=429, error_codes=("ODD",),
        request="é".encode(), response=None,
    )  # fmt: skip
    Tables(plane).add(one)
    answer = ok(plane, f"{ENDPOINTS}/ads/inference-table/rows")
    assert answer == {
        "table": TABLE,
        "rows": [{
            "databricks_request_id": "r1", "client_request_id": "c1", "request_time": T0 + 123, "status_code": 429,
            "sampling_fraction": 1.0, "execution_duration_ms": 5, "request": "é", "logging_error_codes": ["ODD"],
            "served_entity_id": served, "served_entity_name": "ads1-1", "requester": "ann@example.com",
        }],
    }  # fmt: skip


def test_only_rows_of_the_endpoint_are_shown_though_another_shares_its_table(plane: ControlPlane) -> None:
    place = {"inference_table_config": {"enabled": True, **PLACE, "table_name_prefix": "ads"}}
    _, mine = with_table(plane, caller=ANN, ai_gateway=place)
    _, bobs = with_table(plane, "bobs", caller=BOB, ai_gateway=place)
    Tables(plane).add(
        request("ann's", served_entity_id=mine), request("bob's", served_entity_id=bobs),
        request("nobody's", served_entity_id=""), request("gone", served_entity_id="d0"),
    )  # fmt: skip
    assert rows(plane, ANN) == ["ann's"]
    assert rows(plane, BOB, "bobs") == ["bob's"]
    assert rows(plane, ADMIN) == ["nobody's", "ann's"]
    assert get(plane, f"{ENDPOINTS}/ads/inference-table/rows", BOB).status_code == 403


def test_the_older_table_is_told_apart_by_the_name_since_the_endpoint_was_made(plane: ControlPlane) -> None:
    capture = {"catalog_name": "prod", "schema_name": "old", "enabled": True}
    with_table(plane, config={"served_entities": [entity()], "auto_capture_config": capture}, ai_gateway=None)
    Tables(plane).add(
        request("earlier", at=T0 - 1), request("mine", at=T0, client_request_id="c1"),
        request("other", at=T0, endpoint="other"), table=OLD, form=LEGACY,
    )  # fmt: skip
    answer = ok(plane, f"{ENDPOINTS}/ads/inference-table/rows", table=OLD)
    assert answer["rows"] == [{
        "databricks_request_id": "mine", "client_request_id": "c1", "request_time": T0, "status_code": 200,
        "sampling_fraction": 1.0, "execution_duration_ms": 5, "request": '{"a": 1}', "response": "[]",
    }]  # fmt: skip
    assert rows(plane, client_request_id="c1") == ["mine"]
    for field in ("requester", "served_entity_name"):
        refused = get(plane, f"{ENDPOINTS}/ads/inference-table/rows", **{field: "x"})
        assert refused.status_code == 400
        assert f"'{field}'" in refused.json()["message"]


def test_filters(plane: ControlPlane) -> None:
    two = [entity(name="a"), entity(name="b", entity_version="2")]
    traffic = {"routes": [{"served_model_name": name, "traffic_percentage": 50} for name in "ab"]}
    identifier, _ = with_table(plane, config={"served_entities": two, "traffic_config": traffic})
    ids = plane.deployment_ids(identifier)
    Tables(plane).add(
        request("r1", at=T0 + 1, served_entity_id=ids["a"]),
        request("r2", at=T0 + 2, served_entity_id=ids["a"], status=500),
        request("r3", at=T0 + 3, served_entity_id=ids["b"], requester="bob@example.com", client_request_id="c3"),
    )
    assert rows(plane) == ["r3", "r2", "r1"]
    for expected, wanted in (
        (["r2"], {"status_code": 500}),
        (["r2", "r1"], {"served_entity_name": "a"}),
        ([], {"served_entity_name": "nosuch"}),
        (["r3"], {"requester": "bob@example.com"}),
        (["r3"], {"client_request_id": "c3"}),
        (["r1"], {"databricks_request_id": "r1"}),
        (["r2"], {"start_time_ms": T0 + 2, "end_time_ms": T0 + 3}),
        (["r3", "r2"], {"start_time_ms": T0 + 2}),
        (["r1"], {"end_time_ms": T0 + 2}),
        ([], {"start_time_ms": T0 + 2 * DAY}),
    ):
        assert rows(plane, **wanted) == expected, wanted
        assert rows(plane, ADMIN, **wanted) == expected, wanted


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("start_time_ms", "yesterday"), ("start_time_ms", -1), ("end_time_ms", 2**60), ("status_code", 7),
        ("limit", 0), ("limit", 1001), ("page_token", "x"), ("page_token", "W10="), ("page_token", "é"),
        ("page_token", "WzEsIG51bGxd"), ("requester", ""), ("group_by", "team"), ("bucket", "year"),
    ],
)  # fmt: skip
def test_a_bad_parameter_is_named(plane: ControlPlane, field: str, value: Any) -> None:
    with_table(plane)
    of_usage = {"group_by", "bucket"}
    for path in (USAGE_PATH, *([] if field in of_usage else [f"{ENDPOINTS}/ads/inference-table/rows"])):
        answer = get(plane, path, **{field: value})
        assert answer.status_code == 400, answer.text
        assert f"'{field}'" in answer.json()["message"]


def test_a_span_that_ends_before_it_starts_is_refused(plane: ControlPlane) -> None:
    with_table(plane)
    for path in (USAGE_PATH, f"{ENDPOINTS}/ads/inference-table/rows"):
        answer = get(plane, path, start_time_ms=5, end_time_ms=5)
        assert (answer.status_code, "'start_time_ms'" in answer.json()["message"]) == (400, True)


def test_pages_go_back_through_days_and_leave_nothing_out(plane: ControlPlane) -> None:
    _, served = with_table(plane)
    tables = Tables(plane)
    given = [request(f"r{n:03}", at=T0 + (n // 3) * DAY // 20, served_entity_id=served) for n in range(200)]
    for first in range(0, 200, 60):
        tables.add(*given[first : first + 60])
    assert len(DeltaTable(tables.place.location(TABLE)).partitions()) == 5
    expected = [one.request_id for one in reversed(given)]
    assert rows(plane, limit=1000) == expected
    for limit in (1, 7, 64, 65, 199, 200):
        found: list[str] = []
        token: dict[str, str] = {}
        for _ in range(200 // limit + 2):
            answer = ok(plane, f"{ENDPOINTS}/ads/inference-table/rows", limit=limit, **token)
            page = [row["databricks_request_id"] for row in answer["rows"]]
            assert len(page) <= limit
            found += page
            if "next_page_token" not in answer or (limit == 1 and len(found) == 20):
                break
            token = {"page_token": answer["next_page_token"]}
        assert found == expected[: len(found)]
        assert len(found) == (20 if limit == 1 else 200)


def test_only_files_of_the_days_in_question_are_opened(plane: ControlPlane) -> None:
    _, served = with_table(plane)
    tables = Tables(plane)
    for number in range(5):
        tables.add(request(f"r{number}", at=T0 + number * DAY, served_entity_id=served))
    folder = Path(tables.place.location(TABLE))
    for number in (0, 1, 2):
        shutil.rmtree(folder / f"request_date=2023-11-{14 + number}")
    assert rows(plane, start_time_ms=T0 + 3 * DAY) == ["r4", "r3"]
    assert rows(plane, limit=1) == ["r4"]
    newest = ok(plane, f"{ENDPOINTS}/ads/inference-table/rows", limit=1)
    assert rows(plane, limit=1, start_time_ms=T0 + 3 * DAY, page_token=newest["next_page_token"]) == ["r3"]
    refused = get(plane, f"{ENDPOINTS}/ads/inference-table/rows")
    assert (refused.status_code, refused.json()["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
    assert str(folder) not in refused.text


def test_a_page_of_long_bodies_ends_early(plane: ControlPlane) -> None:
    _, served = with_table(plane)
    body = json.dumps("x" * 2**20).encode()
    Tables(plane).add(*(request(f"r{n:02}", at=T0 + n, served_entity_id=served, request=body) for n in range(40)))
    answer = ok(plane, f"{ENDPOINTS}/ads/inference-table/rows", limit=1000)
    assert 16 <= len(answer["rows"]) <= 18
    rest = rows(plane, limit=1000, page_token=answer["next_page_token"])
    assert rest[0] == f"r{39 - len(answer['rows']):02}"


def test_usage_is_that_of_endpoints_that_the_caller_manages(plane: ControlPlane) -> None:
    mine, bobs = plane.create()["id"], plane.create("bobs", BOB)["id"]
    assert ok(plane, USAGE_PATH, ADMIN) == {"rows": []}
    Tables(plane).add(
        request("r1", endpoint_id=mine, input_tokens=3, output_tokens=4, usage_context={"team": "a"}),
        request("r2", at=T0 + 1, endpoint_id=bobs, endpoint="bobs", requester="bob@example.com"),
        request("r3", at=T0 + 2, endpoint_id="gone", endpoint="ads"),
        table=USAGE_TABLE,
        form=USAGE,
    )

    def ids(caller: Any, **wanted: Any) -> list[str]:
        return [row["databricks_request_id"] for row in ok(plane, USAGE_PATH, caller, **wanted)["rows"]]

    assert ids(ANN) == ["r1"]
    assert ids(BOB) == ["r2"]
    assert ids(ADMIN) == ["r3", "r2", "r1"]
    assert ids(ADMIN, limit=1) == ["r3"]
    assert ids(ADMIN, endpoint_name="ads") == ["r3", "r1"]
    assert ids(ADMIN, requester="bob@example.com") == ["r2"]
    assert ids(ADMIN, served_entity_name="nosuch") == []
    assert ids(BOB, endpoint_name="ads") == []
    stranger = BOB.model_copy(update={"id": "9"})
    assert ids(stranger) == []
    assert ok(plane, USAGE_PATH, stranger, group_by="endpoint") == {"sums": []}
    [row] = ok(plane, USAGE_PATH)["rows"]
    assert row == {
        "databricks_request_id": "r1", "endpoint_id": mine, "endpoint_name": "ads", "served_entity_id": "d1",
        "served_entity_name": "ads1-1", "requester": "ann@example.com", "request_time": T0, "status_code": 200,
        "input_token_count": 3, "output_token_count": 4, "input_character_count": 0,
        "usage_context": {"team": "a"}, "request_streaming": False, "tokens_estimated": False, "partial": False,
    }  # fmt: skip


def test_usage_is_added_up(plane: ControlPlane) -> None:
    mine = plane.create()["id"]
    start = T0 - T0 % DAY
    tables = Tables(plane)
    for number in range(6):
        tables.add(
            request(f"r{number}", at=start + number * 10 * MINUTE, endpoint_id=mine, input_tokens=1, output_tokens=2),
            request(f"s{number}", at=start + number * DAY, endpoint_id="e2", endpoint="b", requester="bob"),
            table=USAGE_TABLE,
            form=USAGE,
        )
    ends = {"start_time_ms": start, "end_time_ms": start + 30 * DAY}

    def sums(caller: Any = ADMIN, **wanted: Any) -> Any:
        return ok(plane, USAGE_PATH, caller, **{**ends, **wanted})["sums"]

    ads = {"requests": 6, "input_tokens": 6, "output_tokens": 12}
    rest = {"requests": 6, "input_tokens": 0, "output_tokens": 0}
    by_endpoint = sums(group_by="endpoint")
    assert {"endpoint_id": mine, "endpoint_name": "ads", **ads} in by_endpoint
    assert {"endpoint_id": "e2", "endpoint_name": "b", **rest} in by_endpoint
    assert len(by_endpoint) == 2
    assert sums(ANN, group_by="requester") == [{"requester": "ann@example.com", **ads}]
    assert [one["served_entity_name"] for one in sums(ANN, group_by="served_entity")] == ["ads1-1"]
    days = sums(bucket="day")
    assert [(one["bucket_start"], one["requests"]) for one in days] == [(start, 7)] + [
        (start + number * DAY, 1) for number in range(1, 6)
    ]
    hours = sums(ANN, bucket="hour", group_by="endpoint")
    assert [(one["bucket_start"], one["requests"], one["endpoint_name"]) for one in hours] == [(start, 6, "ads")]
    minutes = sums(ANN, bucket="minute")
    assert [one["bucket_start"] for one in minutes] == [start + number * 10 * MINUTE for number in range(6)]
    assert sums(group_by="endpoint", end_time_ms=start + 1)[0]["requests"] == 1
    # Without a start it is the day until now.
    recent = ok(plane, USAGE_PATH, ADMIN, bucket="day")["sums"]
    assert sum(one["requests"] for one in recent) == 12


def test_too_many_sums_are_refused(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moorage.control.tables._MOST_SUMS", 3)
    Tables(plane).add(*(request(f"r{n}", at=T0 + n * MINUTE) for n in range(4)), table=USAGE_TABLE, form=USAGE)
    answer = get(plane, USAGE_PATH, ADMIN, bucket="minute", start_time_ms=T0)
    assert answer.status_code == 400
    assert "'bucket'" in answer.json()["message"]


def test_reading_opens_nothing_where_nothing_can_match(tmp_path: Path) -> None:
    reader = TableReader(TablePlace(str(tmp_path), {}))
    nothing = RowFilter(among=(("served_entity_id", frozenset()),))
    assert reader.newest("a.b.c", GATEWAY, nothing, None, 5).rows == []
    assert not list(tmp_path.iterdir())


def test_the_detail_says_how_the_delivery_to_the_older_table_does(plane: ControlPlane) -> None:
    model = {
        "name": "gpt-4o",
        "provider": "openai",
        "task": "llm/v1/chat",
        "openai_config": {"openai_api_key_plaintext": "sk"},
    }
    config = {
        "served_entities": [{"name": "gpt", "external_model": model}],
        "auto_capture_config": {"catalog_name": "prod", "schema_name": "old"},
    }
    assert plane.request("POST", ENDPOINTS, ANN, json={"name": "ads", "config": config}).status_code == 200
    path = f"{ENDPOINTS}/ads"
    table = ok(plane, path)["config"]["auto_capture_config"]["state"]["payload_table"]
    assert table == {"name": "ads_payload"}
    failed = TableState(status=TableStatus.FAILED, message="No space left on device")
    write_report(plane.data.tables_status, TablesReport(tables={OLD: failed}))
    table = ok(plane, path)["config"]["auto_capture_config"]["state"]["payload_table"]
    assert table == {"name": "ads_payload", "status": "FAILED", "status_message": "No space left on device"}


def test_the_table_of_a_telemetry_profile_is_an_inference_table(plane: ControlPlane) -> None:
    tables = {"logs_table": "prod.telemetry.ads"}
    body = {
        "name": "ads",
        "config": {"served_entities": [entity()]},
        "telemetry_config": {"table_names": tables},
    }
    assert plane.request("POST", ENDPOINTS, ANN, json=body).status_code == 200
    found = ok(plane, f"{ENDPOINTS}/ads/inference-table")["tables"]
    assert [one["name"] for one in found] == ["prod.telemetry.ads_payload"]
