"""What is known of a replica from the outside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from moorage.compute import local
from moorage.compute.base import Observation, ReplicaPhase, ReplicaProcess
from moorage.compute.local import LocalCompute
from moorage.datadir import DataDirectory
from moorage.settings import Settings

REPLICA = ReplicaProcess("0123456789ab", "/nowhere", 4711, 1)


def test_the_last_word_of_one_that_ends_while_it_is_looked_at_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = DataDirectory(tmp_path / "d")
    data.create()
    folder = data.replica(REPLICA.replica_id)
    folder.mkdir(parents=True)
    status = folder / "status.json"
    status.write_text(json.dumps({"phase": "loading"}))

    def ends(_pid: int, _started_at: int) -> bool:
        """It gives its reason and is gone, between one step of the look and the next."""
        status.write_text(json.dumps({"phase": "failed", "message": "the weights are missing"}))
        return False

    monkeypatch.setattr(local, "is_alive", ends)
    seen = LocalCompute(Settings(data_dir=data.root), data).observe(REPLICA)
    assert seen == Observation(ReplicaPhase.FAILED, "the weights are missing")
