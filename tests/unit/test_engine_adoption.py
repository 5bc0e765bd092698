"""Engines that an earlier control plane has started."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from pathlib import Path

import pytest

from moorage.compute.base import ReplicaProcess
from moorage.compute.local import ENGINE_CONFIG, LocalCompute
from moorage.datadir import DataDirectory
from moorage.replica.process import start_ticks
from moorage.settings import Settings

REPLICA = "0123456789ab"


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    data = DataDirectory(tmp_path / "d")
    data.create()
    folder = data.replica(REPLICA)
    folder.mkdir(parents=True)
    status = {"phase": "ready", "pid": os.getpid(), "started_at": start_ticks(os.getpid()), "replica_id": REPLICA}
    (folder / "status.json").write_text(json.dumps(status))
    (folder / ENGINE_CONFIG).write_text(json.dumps({"slots": 3, "supervisor_pid": 1, "supervisor_started_at": 7}))
    return data


def adopted(data: DataDirectory) -> bool:
    compute = LocalCompute(Settings(data_dir=data.root), data)
    process = ReplicaProcess(REPLICA, str(data.replica_socket(REPLICA)), os.getpid(), start_ticks(os.getpid()))
    return asyncio.run(compute.adopt(process))


def test_one_that_takes_connections_is_told_of_the_supervisor_that_there_is_now(data: DataDirectory) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(data.replica_socket(REPLICA)))
        listener.listen()
        assert adopted(data)
    document = json.loads((data.replica(REPLICA) / ENGINE_CONFIG).read_text())
    assert document == {
        "slots": 3,
        "supervisor_pid": os.getppid(),
        "supervisor_started_at": start_ticks(os.getppid()),
    }


def test_one_that_takes_none_is_not_adopted(data: DataDirectory) -> None:
    assert not adopted(data)
