"""Gateways and the writer of the tables die at any moment: each acknowledged record is in its tables, once."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest
from deltalake import DeltaTable
from server import wait_for

from moorage.api.inference_tables import USAGE_TABLE, TableStatus
from moorage.datadir import DataDirectory
from moorage.tables.location import TablePlace
from moorage.tables.status import read_report
from moorage.telemetry.spool import closed_segments, spool_bytes

pytestmark = pytest.mark.alone

SECONDS = 25.0
LONGEST_SECONDS = 150.0  # on a busy machine, until there were enough deaths
DEATHS = 3  # of the writer at a commit, and of gateways; at least
TABLES = ("prod.logs.ads_payload", "prod.logs.old_payload", USAGE_TABLE)

# Logs as a gateway does, and says the id of a record once it is written.
GATEWAY = """
import sys, time
from pathlib import Path
from moorage.api.routing import CaptureRoute
from moorage.telemetry.request_log import RequestLog, RequestRecord

folder, writer, life = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
log = RequestLog(folder, writer)
tables = (CaptureRoute(table="prod.logs.ads_payload"), CaptureRoute(table="prod.logs.old_payload", legacy=True))
for number in range(10**9):
    name = f"{writer}-{life}-{number}"
    log.write(RequestRecord(
        request_id=name, endpoint="ads", endpoint_id="e1", served_name="a", served_entity_id="d1", entity="m",
        version="1", config_version=1, requester="ann", status=200, request_time_ms=time.time_ns() // 10**6,
        duration_ms=1.0, request=b"x" * 300, response=b"y" * 1000, tables=tables, usage=True,
    ))
    assert log.lost == 0
    print(name, flush=True)
    if number % 100 == 0:
        log.rotate()
        time.sleep(0.02)
"""


class Gateway(threading.Thread):
    """A gateway that is killed again and again; `acknowledged` are the ids of the records that it said it wrote."""

    def __init__(self, spool: Path, name: str, chance: random.Random, stop: threading.Event) -> None:
        super().__init__()
        self.acknowledged: list[str] = []
        self.kills = 0
        self._spool, self._writer, self._chance, self._ending = spool, name, chance, stop

    def run(self) -> None:
        while not self._ending.is_set():
            process = subprocess.Popen(
                [sys.executable, "-c", GATEWAY, str(self._spool), self._writer, str(self.kills)],
                stdout=subprocess.PIPE,
                text=True,
            )
            ending = threading.Timer(self._chance.uniform(0.3, 4.0), process.kill)
            ending.start()
            assert process.stdout is not None
            for line in process.stdout:
                # The last line may be a part of one: what is not acknowledged is promised nothing.
                if line.endswith("\n"):
                    self.acknowledged.append(line.strip())
                if self._ending.is_set():
                    process.kill()
            process.wait()
            process.stdout.close()
            ending.cancel()
            ending.join()
            self.kills += 1


@contextmanager
def tables_process(data: DataDirectory, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "MOORAGE_DATA_DIR": str(data.root)}
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "moorage.tables", "--workspace-id", "4711"],
            env=environment, stdout=output, stderr=output,
        )  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def ids_by_duckdb(location: str) -> Counter[str]:
    rows = DeltaTable(location).to_pyarrow_dataset()
    connection = duckdb.connect()
    connection.register("log", rows)
    return Counter(dict(connection.sql("SELECT databricks_request_id, count(*) FROM log GROUP BY 1").fetchall()))


def ids_by_pandas(location: str) -> Counter[str]:
    return Counter(DeltaTable(location).to_pandas(columns=["databricks_request_id"])["databricks_request_id"])


@pytest.mark.parametrize("seed", [1])
def test_every_acknowledged_record_is_in_every_table_exactly_once(tmp_path: Path, seed: int) -> None:
    data = DataDirectory(tmp_path / "data")
    data.create()
    place = TablePlace(str(data.tables), {})
    commits = data.tables / "prod" / "logs" / "ads_payload" / "_delta_log"
    chance, stop, output = random.Random(seed), threading.Event(), tmp_path / "tables.log"
    gateways = [Gateway(data.spool, f"worker-{n}", random.Random(seed * 100 + n), stop) for n in range(2)]
    for gateway in gateways:
        gateway.start()
    killed_at_commit = killed_at_random = 0
    began = time.monotonic()

    def enough() -> bool:
        return min(killed_at_commit, sum(one.kills for one in gateways)) >= DEATHS

    try:
        while time.monotonic() - began < (SECONDS if enough() else LONGEST_SECONDS):
            with tables_process(data, output) as process:
                known = len(list(commits.glob("*.json")))
                patience = time.monotonic() + (chance.uniform(0.5, 3.5) if chance.random() < 0.5 else 10.0)
                # As soon as a commit is there, its segments are still in the spool and other tables are due.
                while len(list(commits.glob("*.json"))) == known and time.monotonic() < patience:
                    time.sleep(0.001)
                killed_at_commit += time.monotonic() < patience
                killed_at_random += time.monotonic() >= patience
                time.sleep(chance.choice([0, 0.002, 0.01, 0.05]))
                assert process.poll() is None, output.read_text()
    finally:
        stop.set()
        for gateway in gateways:
            gateway.join()
    with tables_process(data, output) as process:
        wait_for("the spool is empty", lambda: not closed_segments(data.spool), 60)
        process.terminate()
        assert process.wait(20) == 0
    assert spool_bytes(data.spool) == 0
    acknowledged = [one for gateway in gateways for one in gateway.acknowledged]
    figures = (
        f"{len(acknowledged)} records, gateways killed {sum(one.kills for one in gateways)} times, "
        f"the writer of the tables {killed_at_commit} times at a commit and {killed_at_random} times at random"
    )
    print(figures)
    assert len(acknowledged) > 1000, figures
    assert enough(), figures
    for table in TABLES:
        for found in (ids_by_duckdb(place.location(table)), ids_by_pandas(place.location(table))):
            doubled = {name: count for name, count in found.items() if count > 1}
            assert not doubled, (table, len(doubled), figures)
            missing = set(acknowledged) - set(found)
            assert not missing, (table, len(missing), sorted(missing)[:5], figures)
            # Beyond these only what was written in the moment of a kill, before it could be acknowledged.
            assert len(found) - len(acknowledged) <= sum(one.kills for one in gateways), figures
    report = read_report(data.tables_status)
    assert {report.tables[table].status for table in TABLES} == {TableStatus.ACTIVE}
    assert report.dropped_records == 0


def test_a_stop_writes_what_is_left_and_a_row_is_there_within_ten_seconds(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "data")
    data.create()
    place, stop = TablePlace(str(data.tables), {}), threading.Event()
    gateway = Gateway(data.spool, "worker-0", random.Random(3), stop)
    with tables_process(data, tmp_path / "tables.log") as process:
        gateway.start()
        try:
            wait_for("the first record", lambda: gateway.acknowledged, 20)
            first, began = gateway.acknowledged[0], time.monotonic()

            def there() -> bool:
                location = place.location(TABLES[0])
                return DeltaTable.is_deltatable(location) and first in ids_by_pandas(location)

            wait_for("its row", there, 20)
            assert time.monotonic() - began < 10
        finally:
            stop.set()
            gateway.join()
        process.terminate()
        assert process.wait(20) == 0
    for table in TABLES:
        assert set(gateway.acknowledged) <= set(ids_by_pandas(place.location(table)))
    assert spool_bytes(data.spool) == 0
