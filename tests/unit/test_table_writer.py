"""From the spool to Delta tables: every row once, whatever is repeated or fails; what bodies become."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from moorage.api.inference_tables import ENTITIES_TABLE, USAGE_TABLE, TableStatus
from moorage.api.routing import CaptureRoute
from moorage.tables.batches import SegmentContent, Target
from moorage.tables.bodies import Redaction, answer_characters, question_characters, response_text
from moorage.tables.delta import COMPACT_EVERY, DeltaWriter, SegmentRows, Written
from moorage.tables.engine import DeltaEngine, delta_engine
from moorage.tables.location import NoTableName, TablePlace
from moorage.tables.schemas import ENTITIES, GATEWAY, LEGACY, USAGE
from moorage.tables.status import read_report
from moorage.tables.writer import TableWriter
from moorage.telemetry.entity_log import (
    EndpointDeletion,
    EntityRecord,
    record_endpoint_deletion,
    record_served_entities,
)
from moorage.telemetry.request_log import RequestLog, RequestRecord
from moorage.telemetry.spool import Segment, SegmentWriter, closed_segments

ADS, OTHER = "prod.logs.ads_payload", "prod.logs.other_payload"
T0 = 1_700_000_000_000  # 2023-11-14


class Killed(BaseException):
    """In place of `kill -9`: nothing after it runs."""


@dataclass
class Faulty:
    """The engine with faults: `before` and `after` a table is written."""

    engine: DeltaEngine
    before: Callable[[str], None] = lambda _: None
    after: Callable[[str], None] = lambda _: None
    written: list[str] = field(default_factory=list)

    def write(self, target: Target, location: str, owed: Mapping[Segment, SegmentContent]) -> Written:
        self.before(target.table)
        result = self.engine.write(target, location, owed)
        self.written.append(target.table)
        self.after(target.table)
        return result


class Site:
    """A spool and its tables; `start` is a process that writes them."""

    def __init__(self, folder: Path) -> None:
        self.spool, self.status = folder / "spool", folder / "spool" / "tables.json"
        self.place = TablePlace(str(folder / "tables"), {})
        self.seconds = 0.0
        self.logs: dict[str, RequestLog] = {}

    def start(self, *, redact: tuple[str, ...] = (), **options: Any) -> tuple[TableWriter, Faulty]:
        engine = Faulty(delta_engine(self.place, "4711", Redaction(redact), "moorage/s1"))
        options = {"most_bytes": 2**40, **options}
        writer = TableWriter(
            self.spool, self.status, self.place, lambda: engine, clock=lambda: self.seconds, now=lambda: T0, **options
        )
        return writer, engine

    def log(self, *names: str, writer: str = "worker-0", tables: tuple[str, ...] = (ADS,), **fields: Any) -> None:
        """One closed segment with a record a name."""
        log = self.logs.setdefault(writer, RequestLog(self.spool, writer))
        for name in names:
            log.write(record(request_id=name, tables=tuple(CaptureRoute(table=one) for one in tables), **fields))
        log.close()

    def frame(self, table: str = ADS) -> pd.DataFrame:
        return DeltaTable(self.place.location(table)).to_pandas()

    def ids(self, table: str = ADS) -> list[str]:
        return sorted(self.frame(table)["databricks_request_id"])

    def state(self, table: str) -> Any:
        return read_report(self.status).tables[table]


def record(**fields: Any) -> RequestRecord:
    return RequestRecord(
        **{
            "request_id": "r1", "endpoint": "ads", "endpoint_id": "e1", "served_name": "ads1-1",
            "served_entity_id": "d1", "entity": "prod.ml.ads", "version": "1", "config_version": 3,
            "requester": "ann@example.com", "status": 200, "request_time_ms": T0, "duration_ms": 12.5,
            "request": b'{"inputs": [1]}', "response": b'{"predictions": [2]}', **fields,
        }
    )  # fmt: skip


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_row_of_the_gateways_table(site: Site) -> None:
    site.log("r1", client_request_id="c1", status=503, partial=True, error_codes=("ODD",), request=b"a\xff")
    site.start()[0].round()
    table = DeltaTable(site.place.location(ADS)).to_pyarrow_table()
    [row] = table.to_pylist()
    assert row.pop("request_time").timestamp() * 1000 == T0
    assert str(row.pop("request_date")) == "2023-11-14"
    assert row == {
        "databricks_request_id": "r1", "client_request_id": "c1", "status_code": 503, "sampling_fraction": 1.0,
        "execution_duration_ms": 12, "request": "a\ufffd", "response": '{"predictions": [2]}',
        "logging_error_codes": ["ODD", "RESPONSE_INCOMPLETE"], "served_entity_id": "d1",
        "requester": "ann@example.com",
    }  # fmt: skip
    assert DeltaTable(site.place.location(ADS)).metadata().partition_columns == ["request_date"]
    assert pa.schema(table.schema).names == GATEWAY.schema.names


def test_a_row_of_the_older_table(site: Site) -> None:
    log = RequestLog(site.spool, "worker-0", max_body_bytes=15, chance=lambda: 0.1)
    log.write(record(tables=(CaptureRoute(table=ADS, legacy=True, sampling_fraction=0.5),)))
    log.close()
    site.start()[0].round()
    [row] = DeltaTable(site.place.location(ADS)).to_pyarrow_table().to_pylist()
    assert str(row.pop("date")) == "2023-11-14"
    assert row == {
        "databricks_request_id": "r1", "client_request_id": None, "timestamp_ms": T0, "status_code": 200,
        "sampling_fraction": 0.5, "execution_time_ms": 12, "request": '{"inputs": [1]}', "response": None,
        "request_metadata": [("endpoint_name", "ads"), ("model_name", "prod.ml.ads"), ("model_version", "1")],
    }  # fmt: skip


def test_rows_of_usage_count_what_language_models_read_and_write(site: Site) -> None:
    chat = b'{"messages": [{"role": "user", "content": "caf\xc3\xa9"}]}'
    answer = b'{"choices": [{"message": {"role": "assistant", "content": "hello"}}]}'
    site.log("custom", tables=(), usage=True)
    site.log(
        "chat", tables=(), usage=True, request=chat, response=answer, input_tokens=2, output_tokens=2**65,
        usage_context={"team": "blue"}, tokens_estimated=True, streamed=False,
    )  # fmt: skip
    site.start()[0].round()
    rows = {row["databricks_request_id"]: row for row in usage_rows(site)}
    counts = ("input_token_count", "output_token_count", "input_character_count", "output_character_count")
    assert [rows["custom"][name] for name in counts] == [0, 0, 0, 0]
    assert [rows["chat"][name] for name in counts] == [2, None, 4, 5]
    assert rows["chat"]["usage_context"] == [("team", "blue")]
    assert (rows["chat"]["tokens_estimated"], rows["custom"]["tokens_estimated"]) == (True, False)
    assert rows["chat"]["workspace_id"] == "4711"
    assert (rows["chat"]["endpoint_name"], rows["chat"]["served_entity_id"]) == ("ads", "d1")


def usage_rows(site: Site) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = DeltaTable(site.place.location(USAGE_TABLE)).to_pyarrow_table().to_pylist()
    return rows


def test_many_segments_are_one_commit_and_then_they_are_gone(site: Site) -> None:
    for number in range(5):
        site.log(f"a{number}", writer="worker-0")
        site.log(f"b{number}", writer="worker-1")
    writer, _ = site.start()
    assert writer.round().commits == 1
    assert site.ids() == sorted(f"{w}{n}" for w in "ab" for n in range(5))
    assert DeltaTable(site.place.location(ADS)).version() == 1
    assert closed_segments(site.spool) == []
    assert writer.round().commits == 0
    state = site.state(ADS)
    assert (state.status, state.rows, state.last_commit_ms) == (TableStatus.ACTIVE, 10, T0)


def test_a_death_between_commit_and_deletion_doubles_nothing(site: Site) -> None:
    site.log("r1", "r2")
    site.log("r3", writer="worker-1")
    writer, engine = site.start()

    def die(_: str) -> None:
        raise Killed

    engine.after = die
    with pytest.raises(Killed):
        writer.round()
    assert site.ids() == ["r1", "r2", "r3"]
    assert len(closed_segments(site.spool)) == 2
    site.log("r4")
    site.start()[0].round()
    assert site.ids() == ["r1", "r2", "r3", "r4"]
    assert closed_segments(site.spool) == []


def test_a_death_between_two_tables_doubles_nothing(site: Site) -> None:
    site.log("r1", tables=(ADS, OTHER), usage=True)
    writer, engine = site.start()

    def die(table: str) -> None:
        if table == OTHER:
            raise Killed

    engine.before = die
    with pytest.raises(Killed):
        writer.round()
    site.start()[0].round()
    assert site.ids(ADS) == site.ids(OTHER) == site.ids(USAGE_TABLE) == ["r1"]


def test_a_commit_that_succeeded_and_said_that_it_failed_is_not_repeated(site: Site) -> None:
    site.log("r1")
    writer, engine = site.start()

    def fail(_: str) -> None:
        engine.after = lambda _: None
        raise OSError("no space left for a checkpoint")

    engine.after = fail
    writer.round()
    assert site.state(ADS).status is TableStatus.FAILED
    site.seconds += 1
    writer.round()
    assert site.ids() == ["r1"]
    assert site.state(ADS).status is TableStatus.ACTIVE


def test_another_writers_numbers_do_not_matter(tmp_path: Path) -> None:
    writer, location = DeltaWriter({}), str(tmp_path / "t")

    def rows(name: str) -> list[dict[str, Any]]:
        return [{"databricks_request_id": name}]

    writer.append(location, GATEWAY, [SegmentRows("a", 7, rows("a7")), SegmentRows("b", 3, rows("b3"))])
    # A process that comes after it, and then the first again, which has not seen that commit.
    again = DeltaWriter({})
    given = [SegmentRows("a", 7, rows("a7")), SegmentRows("a", 8, rows("a8")), SegmentRows("b", 3, rows("b3"))]
    assert again.append(location, GATEWAY, given) == Written(3, 1)
    assert again.append(location, GATEWAY, given) == Written(3, 0)
    assert writer.append(location, GATEWAY, given).added == 0
    assert sorted(DeltaTable(location).to_pandas()["databricks_request_id"]) == ["a7", "a8", "b3"]


def test_a_table_that_fails_does_not_stop_the_others_and_misses_nothing(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    writer, engine = site.start()

    def refuse(table: str) -> None:
        if table == OTHER:
            raise PermissionError("not allowed")

    engine.before = refuse
    for number in range(3):
        site.log(f"r{number}", tables=(ADS, OTHER))
        writer.round()
    assert site.ids(ADS) == ["r0", "r1", "r2"]
    assert len(closed_segments(site.spool)) == 3
    failed = site.state(OTHER)
    assert (failed.status, failed.message, failed.rows) == (TableStatus.FAILED, "not allowed", None)
    assert site.state(ADS).status is TableStatus.ACTIVE
    assert len([one for one in caplog.records if one.levelno >= logging.ERROR]) == 1
    engine.before = lambda _: None
    writer.round()
    assert len(closed_segments(site.spool)) == 3  # its time has not come
    site.seconds += 60
    writer.round()
    assert site.ids(OTHER) == ["r0", "r1", "r2"]
    assert site.ids(ADS) == ["r0", "r1", "r2"]
    assert closed_segments(site.spool) == []
    assert site.state(OTHER).status is TableStatus.ACTIVE


def test_waits_grow_to_a_minute(site: Site) -> None:
    writer, engine = site.start()
    tries = []

    def refuse(_: str) -> None:
        tries.append(site.seconds)
        raise OSError("full")

    engine.before = refuse
    site.log("r1")
    for _ in range(300):
        writer.round()
        site.seconds += 1
    waits = [later - earlier for earlier, later in pairwise(tries)]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert writer.round(in_haste=True).commits == 0
    assert len(tries) == 11  # whose time has come or not


def test_a_failing_table_with_more_than_a_round_of_segments_does_not_hold_up_the_others(site: Site) -> None:
    writer, engine = site.start(round_bytes=3000)

    def refuse(table: str) -> None:
        if table == OTHER:
            raise OSError("full")

    engine.before = refuse
    for number in range(12):
        site.log(f"r{number:02}", tables=(OTHER,) if number < 10 else (ADS,))
    for _ in range(12):
        writer.round()
        site.seconds += 1
    assert site.ids(ADS) == ["r10", "r11"]
    engine.before = lambda _: None
    site.seconds += 60
    while writer.round().more:
        pass
    assert site.ids(OTHER) == [f"r{number:02}" for number in range(10)]
    assert closed_segments(site.spool) == []


def test_a_table_with_other_columns_fails_with_words_and_is_left_alone(site: Site) -> None:
    site.log("r1")
    site.start()[0].round()
    log = RequestLog(site.spool, "worker-1")
    log.write(record(request_id="r2", tables=(CaptureRoute(table=ADS, legacy=True),)))
    log.close()
    writer, _ = site.start()
    writer.round()
    site.log("r3")
    writer.round()
    assert site.ids() == ["r1", "r3"]
    state = site.state(ADS)
    assert state.status is TableStatus.FAILED
    assert "it has no column 'date'" in state.message
    assert state.rows == 2


@pytest.mark.parametrize("name", ["payload", "a.b", "a..c", "a.b.c.d", ""])
def test_a_name_that_has_not_three_levels_fails_in_words(site: Site, name: str) -> None:
    site.log("r1", tables=(name, ADS))
    site.start()[0].round()
    assert site.ids() == ["r1"]
    assert "is not a name of the form catalog.schema.table" in site.state(name).message


@pytest.mark.parametrize("level", ["a b", "é", "x" * 300, "a/b", "a\\b", "%2e", "~"])
def test_any_level_is_a_folder_of_its_own_within_the_tables(tmp_path: Path, level: str) -> None:
    place = TablePlace(str(tmp_path), {})
    location = Path(place.location(f"prod.logs.{level}"))
    assert location.parent == tmp_path / "prod" / "logs"
    assert len(location.name) < 128
    assert location.resolve() == location
    assert place.location(f"prod.logs.{level}x") != str(location)
    for name in ("...", "a.../..", ".a.b"):
        with pytest.raises(NoTableName):
            place.location(name)


def test_a_spool_that_is_too_large_loses_its_oldest_with_a_count(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    writer, engine = site.start(most_bytes=5000)

    def refuse(_: str) -> None:
        raise OSError("full")

    engine.before = refuse
    for number in range(4):
        site.log(f"{number}a", f"{number}b", request=bytes(1000))
        writer.round()
    assert sum(one.size for one in closed_segments(site.spool)) <= 5000
    assert read_report(site.status).dropped_records == 4
    assert "2 records in worker-0" in caplog.text
    writer, engine = site.start(most_bytes=5000)
    writer.round()
    assert site.ids() == ["2a", "2b", "3a", "3b"]
    assert read_report(site.status).dropped_records == 4


def test_a_torn_or_unknown_record_is_left_out(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.log("r1", "r2")
    [segment] = closed_segments(site.spool)
    segment.path.write_bytes(segment.path.read_bytes()[:-3])
    other = SegmentWriter(site.spool, "other")
    for kind, head in ((1, b"[]"), (1, b"no JSON"), (2, b'[{"a": 1}]'), (9, b"")):
        other.append(kind, head)
    other.close()
    site.start()[0].round()
    assert site.ids() == ["r1"]
    assert closed_segments(site.spool) == []
    assert "that are no record" in caplog.text
    assert caplog.text.count("is left out") == 4


def test_a_row_that_fits_no_column_is_left_out_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"databricks_request_id": str(n), "status_code": 2**40 if n == 3 else n} for n in range(8)]
    location = str(tmp_path / "t")
    assert DeltaWriter({}).append(location, GATEWAY, [SegmentRows("a", 1, rows)]) == Written(7, 7)
    assert "request 3 cannot be kept" in caplog.text
    alone = [SegmentRows("a", 2, [rows[3]])]
    assert DeltaWriter({}).append(location, GATEWAY, alone) == Written(7, 0)
    assert DeltaTable(location).transaction_version("a") == 2


def test_a_table_whose_folder_was_deleted_is_made_anew(site: Site) -> None:
    writer, _ = site.start()
    site.log("r1")
    writer.round()
    for path in sorted(Path(site.place.location(ADS)).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    site.log("r2")
    writer.round()
    assert site.ids() == ["r2"]
    assert site.state(ADS).rows == 1


def test_compaction_and_checkpoints_keep_rows_and_what_was_committed(tmp_path: Path) -> None:
    writer, location = DeltaWriter({}), str(tmp_path / "t")
    for number in range(COMPACT_EVERY + 5):
        rows = [{"databricks_request_id": str(number), "request": "x" * 100_000}]
        writer.append(location, GATEWAY, [SegmentRows("a" if number else "once", number, rows)])
        writer.maintain(location, GATEWAY)
    table = DeltaTable(location)
    assert len(table.file_uris()) < 10
    assert sorted(map(int, table.to_pandas()["databricks_request_id"])) == list(range(COMPACT_EVERY + 5))
    assert (table.transaction_version("once"), table.transaction_version("a")) == (0, COMPACT_EVERY + 4)
    newest = max(Path(location, "_delta_log").glob("*.json"))
    assert newest.stat().st_size < 4000  # no body in the statistics


def entity(number: int, version: int = 1, **fields: Any) -> EntityRecord:
    return EntityRecord(
        **{
            "served_entity_id": f"d{number}", "created_by": "ann", "endpoint_name": "ads", "endpoint_id": "e1",
            "served_entity_name": "a", "entity_type": "CUSTOM_MODEL", "entity_name": "m", "entity_version": "1",
            "endpoint_config_version": version, "change_time_ms": T0, "min_concurrency": 0, "max_concurrency": 4,
            "compute_type": "CPU", **fields,
        }
    )  # fmt: skip


def test_served_entities_are_merged_and_deletions_noted_however_often(site: Site) -> None:
    external = entity(2, entity_type="EXTERNAL_MODEL", provider="openai", task="llm/v1/chat", endpoint_id="e2")
    writer, engine = site.start()
    for _ in range(2):
        record_served_entities(site.spool, "control", [entity(1), external, entity(1)])
        writer.round()
    record_served_entities(site.spool, "control", [entity(1, version=2)])
    record_endpoint_deletion(site.spool, "control", EndpointDeletion("e1", T0 + 1000))
    engine.after = lambda _: (_ for _ in ()).throw(Killed)
    with pytest.raises(Killed):
        writer.round()
    writer, _ = site.start()
    writer.round()
    record_endpoint_deletion(site.spool, "control", EndpointDeletion("e1", T0 + 9000))
    writer.round()
    table = DeltaTable(site.place.location(ENTITIES_TABLE)).to_pyarrow_table()
    assert table.schema.names == ENTITIES.schema.names
    rows = {(row["served_entity_id"], row["endpoint_config_version"]): row for row in table.to_pylist()}
    assert len(rows) == table.num_rows == 3
    gone = rows["d1", 1]["endpoint_delete_time"]
    assert gone.timestamp() * 1000 == T0 + 1000
    assert rows["d1", 2]["endpoint_delete_time"] == gone
    assert rows["d2", 1]["endpoint_delete_time"] is None
    assert rows["d2", 1]["external_model_config"] == {"provider": "openai"}
    assert rows["d2", 1]["custom_model_config"] is None
    assert rows["d1", 1]["custom_model_config"] == {"min_concurrency": 0, "max_concurrency": 4, "compute_type": "CPU"}
    assert site.state(ENTITIES_TABLE).rows == 3


def test_the_columns_are_those_of_the_documentation() -> None:
    assert GATEWAY.schema.names == [
        "databricks_request_id", "request_date", "client_request_id", "request_time", "status_code",
        "sampling_fraction", "execution_duration_ms", "request", "response", "logging_error_codes",
        "served_entity_id", "requester",
    ]  # fmt: skip
    assert LEGACY.schema.names == [
        "databricks_request_id", "client_request_id", "date", "timestamp_ms", "status_code", "sampling_fraction",
        "execution_time_ms", "request", "response", "request_metadata",
    ]  # fmt: skip
    assert USAGE.schema.names[:14] == [
        "account_id", "workspace_id", "client_request_id", "databricks_request_id", "requester", "status_code",
        "request_time", "input_token_count", "output_token_count", "input_character_count",
        "output_character_count", "usage_context", "request_streaming", "served_entity_id",
    ]  # fmt: skip


def sse(*documents: Any, event: bool = False) -> bytes:
    lines = []
    for one in documents:
        if event:
            lines.append(f"event: {one['type']}\n")
        lines.append(f"data: {one if isinstance(one, str) else json.dumps(one)}\n\n")
    return "".join(lines).encode()


def chunk(index: int = 0, finish: str | None = None, **delta: Any) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 5, "model": "m", "choices": [choice]}


def call(index: int, arguments: str, **fields: Any) -> list[dict[str, Any]]:
    function = {"arguments": arguments, **({"name": fields.pop("name")} if "name" in fields else {})}
    return [{"index": index, **fields, "function": function}]


USED = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
WHOLE = {"id": "c1", "object": "chat.completion", "created": 5, "model": "m"}


def message(content: Any, finish: str | None = "stop", index: int = 0, **more: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": content, **more}
    return {"index": index, "message": said, "finish_reason": finish}


STREAMS = {
    "chat": (
        sse(chunk(role="assistant", content=""), chunk(content="Hel"), chunk(content="lo"), chunk(finish="stop"),
            {**chunk(), "choices": [], "usage": USED}, "[DONE]"),
        {**WHOLE, "choices": [message("Hello")], "usage": USED},
    ),
    "several choices": (
        sse(chunk(1, content="b"), chunk(0, content="a"), chunk(1, "stop", content="B"), chunk(0, "length")),
        {**WHOLE, "choices": [message("a", "length"), message("bB", index=1)]},
    ),
    "calls of tools": (
        sse(
            chunk(role="assistant", content=None),
            chunk(tool_calls=call(0, "", id="t0", type="function", name="f")),
            chunk(tool_calls=call(0, '{"a"')),
            chunk(tool_calls=call(1, "{}", id="t1", type="function", name="g")),
            chunk(tool_calls=call(0, ": 1}"), finish="tool_calls"),
        ),
        {**WHOLE, "choices": [message(None, "tool_calls", tool_calls=[
            {"id": "t0", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
            {"id": "t1", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ])]},
    ),
    "reasoning": (
        sse(chunk(reasoning_content="th"), chunk(reasoning_content="ink"), chunk(content="x", finish="stop")),
        {**WHOLE, "choices": [message("x", reasoning_content="think")]},
    ),
    "a chat that breaks off within an event": (
        sse(chunk(content="Hel")) + b'data: {"id": "c1", "cho',
        {**WHOLE, "choices": [message("Hel", None)]},
    ),
    "a chat that ends in an error": (
        sse(chunk(content="Hel"), {"error": {"message": "over"}, "error_code": "X"}),
        {**WHOLE, "choices": [message("Hel", None)], "error": {"message": "over"}, "error_code": "X"},
    ),
    "completions": (
        sse({"object": "text_completion", "id": "t", "choices": [{"index": 0, "text": "a", "finish_reason": None}]},
            {"object": "text_completion", "choices": [{"index": 0, "text": "b", "finish_reason": "stop"}]}),
        {"object": "text_completion", "id": "t", "choices": [{"index": 0, "text": "ab", "finish_reason": "stop"}]},
    ),
    "responses": (
        sse({"type": "response.created", "response": {"id": "r", "object": "response", "output": []}},
            {"type": "response.output_text.delta", "item_id": "i", "delta": "Hi"},
            {"type": "response.completed", "response": {"id": "r", "object": "response", "output": [{"id": "i"}]}},
            event=True),
        {"id": "r", "object": "response", "output": [{"id": "i"}]},
    ),
    "responses that break off": (
        sse({"type": "response.created", "response": {"id": "r", "object": "response", "output": []}},
            {"type": "response.output_item.done", "item": {"id": "i", "type": "reasoning"}},
            {"type": "response.output_text.delta", "item_id": "j", "delta": "H"},
            {"type": "response.output_text.delta", "item_id": "j", "delta": "i"}),
        {"id": "r", "object": "response", "output": [
            {"id": "i", "type": "reasoning"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]},
        ]},
    ),
    "an agent's": (
        sse({"type": "response.output_item.done", "item": {"id": "i"}}, "[DONE]"),
        {"object": "response", "output": [{"id": "i"}]},
    ),
    "messages": (
        sse({"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant", "content": [],
                                                  "stop_reason": None, "usage": {"input_tokens": 3}}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "ping"},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "He"}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "y"}},
            {"type": "content_block_start", "index": 1,
             "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {}}},
            {"type": "content_block_delta", "index": 1, "delta": {"partial_json": '{"a"'}},
            {"type": "content_block_delta", "index": 1, "delta": {"partial_json": ":1}"}},
            {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}},
            {"type": "message_stop"}, event=True),
        {"id": "m", "type": "message", "role": "assistant", "stop_reason": "tool_use",
         "content": [{"type": "text", "text": "Hey"},
                     {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}],
         "usage": {"input_tokens": 3, "output_tokens": 9}},
    ),
    "a custom model's": (
        sse({"predictions": [1]}, {"predictions": [2]}), [{"predictions": [1]}, {"predictions": [2]}]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_is_kept_as_one_answer(name: str) -> None:
    stream, expected = STREAMS[name]
    assert json.loads(response_text(stream, Redaction([]), streamed=True)) == expected


@pytest.mark.parametrize("body", [b"", b"plain", b'{"error_code": "X"}', b"data: [DONE]\n\n", b"\xff"])
def test_what_is_no_stream_of_events_is_kept_as_it_is(body: bytes) -> None:
    assert response_text(body, Redaction([]), streamed=True) == body.decode(errors="replace")


def test_a_stream_that_is_nested_too_deeply_is_kept_as_it_is() -> None:
    deep = "[" * 900 + "]" * 900
    for delta in (deep, '{"a":' * 900 + "1" + "}" * 900):
        one = f'data: {{"object": "chat.completion.chunk", "choices": [{{"delta": {{"content": {delta}}}}}]}}\n\n'
        assert response_text(one.encode() * 2, Redaction([]), streamed=True)


def test_characters_of_every_surface() -> None:
    parts = [{"type": "text", "text": "abc"}, {"type": "image_url", "image_url": {"url": "data:long"}}]
    for question, count in (
        ({"messages": [{"role": "user", "content": parts}, {"role": "user", "content": "é"}]}, 4),
        ({"prompt": ["ab", "c"]}, 3),
        ({"input": "abcd"}, 4),
        ({"system": "ab", "messages": [{"content": "c"}]}, 3),
        ({"max_tokens": 3}, 0),
    ):
        assert question_characters(json.dumps(question).encode()) == count, question
    for body in (b"", b"[1]", b"{", b"1"):
        assert question_characters(body) is None
    assert answer_characters(b'{"content": [{"type": "text", "text": "Hey"}]}', streamed=False) == 3
    assert answer_characters(STREAMS["chat"][0], streamed=True) == 5


SECRETIVE = Redaction(["password", "SSN"])


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ('{"a": 1}', '{"a": 1}'),
        ('{"a":  {"Password": {"x": 1}}, "b": 2}', '{"a": {"Password": "[REDACTED]"}, "b": 2}'),
        ('[[{"ssn": 1}], {"x": "ssn"}]', '[[{"ssn": "[REDACTED]"}], {"x": "ssn"}]'),
        ('{"s\\u0073n": 1}', '{"ssn": "[REDACTED]"}'),
        (
            '{"dataframe_split": {"columns": ["a", "ssn"], "data": [[1, 2], [3, 4]]}}',
            '{"dataframe_split": {"columns": ["a", "ssn"], "data": [[1, "[REDACTED]"], [3, "[REDACTED]"]]}}',
        ),
        ('{"n": 123456789012345678901234567890, "ssn": 1}',
         '{"n": 123456789012345678901234567890, "ssn": "[REDACTED]"}'),
        ('{"ssn": 1, "x": "\\ud800"}', '{"ssn": "[REDACTED]", "x": "?"}'),
        ('{"password": "x"', "[REDACTED]"),
        ('{"p\\u0061ssword": "x"', "[REDACTED]"),
        ("a,ssn\n1,2", "[REDACTED]"),
        ("[" * 5000 + '"ssn"', "[REDACTED]"),
        ("a,b\n1,2", "a,b\n1,2"),
        ('{"text":  "my ssn is none of yours"}', '{"text":  "my ssn is none of yours"}'),
    ],
)  # fmt: skip
def test_redaction(text: str, kept: str) -> None:
    assert SECRETIVE.apply(text) == kept


def test_redacted_members_reach_no_table(site: Site) -> None:
    stream = sse({"predictions": [{"password": "hunter2"}]})
    site.log("r1", request=b'{"inputs": [{"password": "hunter2"}]}', response=stream, streamed=True)
    site.start(redact=("password",))[0].round()
    [row] = site.frame().to_dict("records")
    assert row["request"] == '{"inputs": [{"password": "[REDACTED]"}]}'
    assert "hunter2" not in row["response"]
    folder = Path(site.place.location(ADS))
    assert not any(b"hunter2" in path.read_bytes() for path in folder.rglob("*") if path.is_file())
