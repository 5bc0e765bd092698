"""How the stages of registered models are followed, also while the registry says nothing."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from control_harness import ADMIN, ControlPlane, FakeRegistry, control_plane

from moorage.api.errors import InvalidParameterValue, TemporarilyUnavailable
from moorage.control.legacy import stages as watching
from moorage.control.legacy.rows import NO_ROOM
from moorage.control.legacy.stages import StageWatcher, model_gone
from moorage.control.reconciler.records import Records
from moorage.control.store import endpoints, legacy
from moorage.control.store.endpoints import EventFilter
from moorage.control.store.engine import reading
from moorage.registry.client import ModelVersion

V2 = "/api/2.0/preview/mlflow/endpoints-v2"
SILENT = TemporarilyUnavailable("The model registry does not answer")
SECONDS = 20.0


@dataclass
class Watched(FakeRegistry):
    """Remembers what it was asked."""

    asked: list[str] = field(default_factory=list)
    since: list[int] = field(default_factory=list)

    def model_versions(self, name: str) -> list[ModelVersion]:
        self.asked.append(name)
        return super().model_versions(name)

    def changed_since(self, timestamp: int) -> dict[str, int]:
        self.since.append(timestamp)
        return super().changed_since(timestamp)


@dataclass
class Following:
    plane: ControlPlane
    registry: Watched
    watcher: StageWatcher
    changed: list[str]

    def enable(self, model: str) -> str:
        """Have the model served by stage; the id of its endpoint."""
        response = self.plane.request("POST", f"{V2}/enable", ADMIN, json={"registered_model_name": model})
        assert response.status_code == 200, response.text
        with reading(self.plane.sessions) as session:
            found = legacy.find(session, model)
            assert found is not None
            return found[1].id

    def move(self, model: str, version: str, stage: str, status: str = "READY") -> None:
        """As somebody does it in the registry, at the clock's time."""
        self.registry.add(model, version, status, stage)
        self.registry.changes[model] = self.plane.clock.now

    def row(self, model: str) -> tuple[object, str]:
        """The stages that are written down, and the problem."""
        with reading(self.plane.sessions) as session:
            found = legacy.find(session, model)
            assert found is not None
            return found[0].stages, found[0].problem

    def events(self, endpoint_id: str) -> list[str]:
        """What changes of stages have left, newest first."""
        with reading(self.plane.sessions) as session:
            found = endpoints.events(session, endpoint_id, EventFilter(event_type="STAGES_CHANGED"), 1000)
            return [one.message for one in found]

    def set_problem(self, model: str, problem: str) -> None:
        with self.plane.sessions.begin() as session:
            found = legacy.find(session, model)
            assert found is not None
            found[0].problem = problem


@pytest.fixture
def following(tmp_path: Path) -> Iterator[Following]:
    """Models `ads1` with versions 1 and 2 and `fraud` with version 1, both served by stage."""
    with control_plane(tmp_path) as plane:
        registry = Watched(plane.registry.versions)
        plane.registry.add("fraud", "1")
        changed: list[str] = []
        watcher = StageWatcher(plane.sessions, registry, changed.append, plane.clock)
        yield Following(plane, registry, watcher, changed)


def test_only_versions_that_are_ready_and_in_a_served_stage_count(following: Following) -> None:
    for version, stage in enumerate(("None", "Staging", "Production", "Archived", "", "Staging"), 3):
        following.move("ads1", str(version), stage)
    following.move("ads1", "9", "Production", "PENDING_REGISTRATION")
    following.move("ads1", "10", "Production", "FAILED_REGISTRATION")
    assert following.watcher.stages("ads1") == {"4": "Staging", "5": "Production", "8": "Staging"}
    assert following.watcher.stages("nosuch") == {}


def test_what_the_registry_says_is_written_down_and_told(following: Following) -> None:
    ads1 = following.enable("ads1")
    assert following.row("ads1") == ({}, "")
    following.move("ads1", "2", "Production")
    following.move("ads1", "1", "Staging")
    following.watcher.look("ads1")
    assert following.row("ads1") == ({"1": "Staging", "2": "Production"}, "")
    assert following.changed == [ads1]
    following.move("ads1", "1", "None")
    following.move("ads1", "2", "Archived")
    following.watcher.look("ads1")
    assert following.row("ads1") == ({}, "")
    assert following.changed == [ads1, ads1]
    assert following.events(ads1) == [
        "The registry has no version in a served stage.",
        "The registry has version 1 in Staging, version 2 in Production.",
    ]


def test_the_change_is_in_the_database_before_it_is_told(following: Following) -> None:
    following.enable("ads1")
    told: list[object] = []
    watcher = StageWatcher(
        following.plane.sessions,
        following.registry,
        lambda _id: told.append(following.row("ads1")),
        following.plane.clock,
    )
    following.move("ads1", "1", "Staging")
    watcher.look("ads1")
    assert told == [({"1": "Staging"}, "")]


def test_nothing_is_written_or_told_when_nothing_has_changed(following: Following) -> None:
    following.move("ads1", "1", "Staging")
    ads1 = following.enable("ads1")
    for _ in range(3):
        following.watcher.look("ads1")
    assert following.changed == []
    assert following.events(ads1) == []
    assert following.row("ads1") == ({"1": "Staging"}, "")


def test_a_model_that_is_not_served_is_left_alone(following: Following) -> None:
    following.move("fraud", "1", "Staging")
    following.watcher.look("fraud")
    following.watcher.look("nosuch")
    assert following.changed == []


def test_without_a_served_model_the_registry_is_not_asked(following: Following) -> None:
    following.watcher.poll()
    assert (following.registry.since, following.registry.asked) == ([], [])


def test_the_first_poll_looks_at_every_served_model(following: Following) -> None:
    ads1, fraud = following.enable("ads1"), following.enable("fraud")
    following.registry.add("ads1", "1", stage="Staging")  # while nobody was looking
    following.registry.add("fraud", "1", stage="Production")
    following.watcher.poll()
    assert following.registry.asked == ["ads1", "fraud"]
    assert following.changed == [ads1, fraud]


def test_later_polls_look_at_the_models_that_were_changed(following: Following) -> None:
    ads1 = following.enable("ads1")
    following.enable("fraud")
    following.watcher.poll()
    following.registry.asked.clear()
    for _ in range(3):
        following.watcher.poll()
    assert following.registry.asked == []
    following.plane.clock.now += 5000
    following.move("ads1", "2", "Production")
    following.move("unserved", "1", "Production")
    following.watcher.poll()
    assert following.registry.asked == ["ads1"]
    assert following.row("ads1") == ({"2": "Production"}, "")
    assert following.changed == [ads1]


def test_a_model_that_is_new_among_the_served_ones_is_looked_at(following: Following) -> None:
    """What was changed while it was enabled may have been in an answer before."""
    following.enable("ads1")
    following.watcher.poll()
    fraud = following.enable("fraud")
    following.registry.add("fraud", "1", stage="Production")
    following.registry.asked.clear()
    for _ in range(3):
        following.watcher.poll()
    assert following.registry.asked == ["fraud"]
    assert following.changed == [fraud]


def test_a_model_that_cannot_be_asked_for_is_no_matter_of_the_others(following: Following) -> None:
    fraud = following.enable("fraud")
    following.enable("ads1")

    class Refusing(Watched):
        def model_versions(self, name: str) -> list[ModelVersion]:
            if name == "ads1":
                raise InvalidParameterValue("The model registry cannot be asked for it")
            return super().model_versions(name)

    following.move("fraud", "1", "Production")
    registry = Refusing(following.registry.versions, following.registry.changes)
    watcher = StageWatcher(following.plane.sessions, registry, following.changed.append, following.plane.clock)
    watcher.poll()
    assert following.changed == [fraud]
    assert following.row("ads1") == ({}, "")


def test_what_follows_in_the_same_millisecond_is_seen_too(following: Following) -> None:
    following.enable("ads1")
    following.watcher.poll()
    following.plane.clock.now += 5000
    following.move("ads1", "1", "Staging")
    following.watcher.poll()
    following.move("ads1", "2", "Production")
    following.watcher.poll()
    assert following.row("ads1") == ({"1": "Staging", "2": "Production"}, "")
    newest = following.plane.clock.now
    assert following.registry.since == [newest - 5000, newest - 5000, newest]


def test_what_is_asked_for_goes_by_the_registrys_time(following: Following) -> None:
    """Whose clock may be another one than ours."""
    following.enable("ads1")
    following.watcher.poll()
    following.registry.changes["other"] = following.plane.clock.now + 60_000
    following.watcher.poll()
    following.plane.clock.now += 5000
    following.watcher.poll()
    start = following.plane.clock.now - 5000
    assert following.registry.since == [start, start, start + 60_000]


def test_now_and_then_all_models_are_looked_at(following: Following, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = 1000.0
    monkeypatch.setattr(watching.time, "monotonic", lambda: seconds)
    following.enable("ads1")
    following.watcher.poll()
    following.registry.versions.clear()  # a model that is deleted is in no list of changes
    seconds += 60.0
    following.watcher.poll()
    assert following.row("ads1") == ({}, "")
    seconds += 0.1
    following.watcher.poll()
    assert following.row("ads1") == ({}, model_gone("ads1"))
    asked = len(following.registry.asked)
    seconds += 59.0
    following.watcher.poll()
    assert len(following.registry.asked) == asked


def test_a_change_that_could_not_be_looked_at_is_looked_at_again(following: Following) -> None:
    following.enable("ads1")
    following.watcher.poll()
    following.plane.clock.now += 5000
    following.move("ads1", "1", "Staging")

    class Halting(Watched):
        def model_versions(self, name: str) -> list[ModelVersion]:
            raise SILENT

    following.watcher._registry = Halting(changes=following.registry.changes)
    with pytest.raises(TemporarilyUnavailable):
        following.watcher.poll()
    assert following.row("ads1") == ({}, "")
    following.watcher._registry = following.registry
    following.watcher.poll()
    assert following.row("ads1") == ({"1": "Staging"}, "")


def test_a_model_that_is_gone_is_served_no_more_and_comes_back(following: Following) -> None:
    following.move("ads1", "1", "Staging")
    ads1 = following.enable("ads1")
    versions = dict(following.registry.versions)
    following.registry.versions.clear()
    following.watcher.look("ads1")
    assert following.row("ads1") == ({}, "Registered model 'ads1' is no longer in the registry.")
    following.watcher.look("ads1")
    assert following.changed == [ads1]
    following.registry.versions.update(versions)
    following.watcher.look("ads1")
    assert following.row("ads1") == ({"1": "Staging"}, "")
    assert following.changed == [ads1, ads1]
    assert len(following.events(ads1)) == 2


def test_a_model_that_comes_back_with_nothing_to_serve_is_not_gone(following: Following) -> None:
    following.enable("ads1")
    versions = dict(following.registry.versions)
    following.registry.versions.clear()
    following.watcher.look("ads1")
    following.registry.versions.update(versions)
    following.watcher.look("ads1")
    assert following.row("ads1") == ({}, "")


@pytest.mark.parametrize("failing", ["poll", "look"])
def test_a_silent_registry_changes_nothing(following: Following, failing: str) -> None:
    following.move("ads1", "1", "Production")
    ads1 = following.enable("ads1")
    following.registry.failure = SILENT
    with pytest.raises(TemporarilyUnavailable):
        following.watcher.poll() if failing == "poll" else following.watcher.look("ads1")
    assert following.row("ads1") == ({"1": "Production"}, "")
    assert following.changed == []
    assert following.events(ads1) == []


def test_another_problem_is_kept_while_the_model_is_there(following: Following) -> None:
    following.enable("ads1")
    following.set_problem("ads1", "Something else.")
    following.move("ads1", "1", "Staging")
    following.watcher.look("ads1")
    assert following.row("ads1") == ({"1": "Staging"}, "Something else.")


def test_where_there_was_no_room_it_is_tried_again(following: Following) -> None:
    ads1 = following.enable("ads1")
    following.set_problem("ads1", NO_ROOM)
    following.watcher.look("ads1")
    assert following.changed == [ads1]
    assert following.events(ads1) == []
    record = Records(following.plane.sessions).endpoint(ads1)
    assert record is not None
    assert record.plan() is not None


def test_two_who_look_at_once_write_once(following: Following) -> None:
    ads1 = following.enable("ads1")
    following.move("ads1", "1", "Staging")
    threads = [threading.Thread(target=following.watcher.look, args=("ads1",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert following.changed == [ads1]
    assert len(following.events(ads1)) == 1


class Unsteady(Watched):
    """Fails as the list says, once for each entry, and works then; `works` is set when it has been read after."""

    def __init__(self, registry: Watched, failures: list[Exception]) -> None:
        super().__init__(registry.versions, registry.changes)
        self.failures = failures
        self.works = threading.Event()

    def changed_since(self, timestamp: int) -> dict[str, int]:
        if self.failures:
            raise self.failures.pop(0)
        if self.asked:
            self.works.set()
        return super().changed_since(timestamp)


def test_whatever_fails_it_is_followed_again(following: Following, caplog: pytest.LogCaptureFixture) -> None:
    ads1 = following.enable("ads1")
    following.move("ads1", "1", "Staging")
    odd = RuntimeError("odd")
    registry = Unsteady(following.registry, [SILENT, SILENT, SILENT, odd, OSError("odd too")])
    told: list[str] = []
    watcher = StageWatcher(following.plane.sessions, registry, told.append, following.plane.clock)

    async def follow() -> None:
        task = asyncio.create_task(watcher.watch_for_ever(0.001))
        async with asyncio.timeout(SECONDS):
            assert await asyncio.to_thread(registry.works.wait, SECONDS)
        assert not task.done()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    with caplog.at_level(logging.WARNING, logger=watching.__name__):
        asyncio.run(follow())
    assert told == [ads1]
    assert following.row("ads1") == ({"1": "Staging"}, "")
    levels = [one.levelname for one in caplog.records if one.name == watching.__name__]
    assert levels == ["WARNING", "ERROR", "ERROR"]  # one warning however long the registry is silent


def test_a_registry_that_falls_silent_again_is_told_of_again(
    following: Following, caplog: pytest.LogCaptureFixture
) -> None:
    following.enable("ads1")
    done = threading.Event()

    class Flickering(Watched):
        polls = 0

        def changed_since(self, timestamp: int) -> dict[str, int]:
            self.polls += 1
            if self.polls > 4:
                done.set()
            if self.polls in (1, 2, 4):
                raise SILENT
            return {}

    watcher = StageWatcher(
        following.plane.sessions,
        Flickering(following.registry.versions),
        following.changed.append,
        following.plane.clock,
    )

    async def follow() -> None:
        task = asyncio.create_task(watcher.watch_for_ever(0.001))
        assert await asyncio.to_thread(done.wait, SECONDS)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    with caplog.at_level(logging.WARNING, logger=watching.__name__):
        asyncio.run(follow())
    assert [one.levelname for one in caplog.records if one.name == watching.__name__] == ["WARNING", "WARNING"]
