"""The control plane killed at every named point of what users do: its successor ends what it had begun.

The points are tried on several servers at once, each with clients that query an endpoint all the while.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from load import Load, load_on
from models import Registered, Registry
from server import Server, data_directory, endpoint_body, is_alive, wait_for

from moorage.control.crash_points import VARIABLE, CrashPoint, marker
from moorage.datadir import DataDirectory

pytestmark = pytest.mark.alone

LANES = 3
DEATHS = 5  # of one server's control plane; each costs twice the wait for the next start
PATIENCE = 25.0
ENDPOINTS = "/api/2.0/serving-endpoints"
BUSY = "busy"
PREDICTIONS = [1.5, 2.25, 13.0]
AT_REST = {"READY", "RETIRED", "FAILED", "ABORTED"}
SETTINGS = {"MOORAGE_ENV_MANAGER": "local", "MOORAGE_DRAIN_SECONDS": "5"}


@dataclass
class Site:
    """A server, with clients that query the endpoint `busy`."""

    server: Server
    model: Registered
    load: Load
    asked_for: Path
    made: int = field(default=0)

    def ask(self, method: str, path: str, body: object = None) -> httpx.Response | None:
        """A request that may be the last that the control plane sees."""
        with suppress(httpx.HTTPError):
            return self.server.http.request(method, f"{ENDPOINTS}{path}", json=body)
        return None

    def entity(self, **variables: str) -> dict[str, Any]:
        found = {"entity_name": self.model.name, "entity_version": self.model.version}
        return {**found, "environment_vars": variables, "workload_size": "Small", "scale_to_zero_enabled": False}

    def body(self, **variables: str) -> dict[str, Any]:
        name = f"e-{self.next()}"
        return endpoint_body(name, self.model.name, self.model.version, environment_vars=variables)

    def next(self) -> str:
        """Text that was not there before."""
        self.made += 1
        return str(self.made)

    def new_endpoint(self) -> str:
        body = self.body()
        assert self.ask("POST", "", body).status_code == 200
        self.server.ready(body["name"])
        return str(body["name"])

    def value(self) -> str | None:
        """The variable that the configuration of `busy` that serves has."""
        [entity] = self.server.detail(BUSY)["config"]["served_entities"]
        return (entity.get("environment_vars") or {}).get("VALUE")

    def is_gone(self, name: str) -> bool:
        return self.server.http.get(f"{ENDPOINTS}/{name}").status_code == 404


Arm = Callable[[], None]
Outcome = Callable[[], None]
Operation = Callable[[Site, CrashPoint, Arm], Outcome]


def creates(site: Site, point: CrashPoint, arm: Arm) -> Outcome:
    body = site.body()
    arm()
    site.ask("POST", "", body)

    def outcome() -> None:
        if point is CrashPoint.CREATE_WRITTEN:
            assert site.is_gone(body["name"])
        else:
            site.server.ready(body["name"])

    return outcome


def updates(site: Site, point: CrashPoint, arm: Arm) -> Outcome:
    before, after = site.value(), site.next()
    arm()
    site.ask("PUT", f"/{BUSY}/config", {"served_entities": [site.entity(VALUE=after)]})

    def outcome() -> None:
        state = site.server.ready(BUSY)["state"]
        assert state["config_update"] == "NOT_UPDATING"
        assert site.value() == (before if point is CrashPoint.UPDATE_WRITTEN else after)

    return outcome


def creates_and_updates(site: Site, point: CrashPoint, arm: Arm) -> Outcome:
    """Whichever comes to the point first; the other one's request may find no control plane."""
    before, after, body = site.value(), site.next(), site.body()
    arm()
    site.ask("PUT", f"/{BUSY}/config", {"served_entities": [site.entity(VALUE=after)]})
    created = site.ask("POST", "", body)

    def outcome() -> None:
        assert site.server.ready(BUSY)["state"]["config_update"] == "NOT_UPDATING"
        assert site.value() == after != before
        if created is not None and created.status_code == 200:
            site.server.ready(body["name"])

    return outcome


def cancels_a_creation(site: Site, point: CrashPoint, arm: Arm) -> Outcome:
    """While the model loads, so that a replica runs."""
    body = site.body(LOAD_SECONDS="60")
    assert site.ask("POST", "", body).status_code == 200
    before = site.server.replicas().keys()
    folders = site.server.data_dir / "run" / "replicas"
    wait_for("a replica loads", lambda: len(list(folders.glob("*/status.json"))) > len(before), PATIENCE)
    arm()
    site.ask("POST", f"/{body['name']}/config:cancel")

    def outcome() -> None:
        detail = site.server.settled(body["name"])
        assert detail["state"] == {
            "ready": "NOT_READY",
            "config_update": "UPDATE_CANCELED",
            "update_state": "UPDATE_CANCELED",
        }

    return outcome


def stops(site: Site, point: CrashPoint, arm: Arm) -> Outcome:
    name = site.new_endpoint()
    arm()
    site.ask("POST", f"/{name}/config:stop")

    def outcome() -> None:
        assert site.server.settled(name)["state"]["ready"] == "NOT_READY"
        body = {"dataframe_records": [{"a": 1}]}
        # The rows are first; a control plane that comes back has yet to tell the gateways.
        wait_for("queries are refused", lambda: site.server.query(name, body).status_code == 400, 10)

    return outcome


def starts(site: Site, point: CrashPoint, arm: Arm) -> Outcome:
    name = site.new_endpoint()
    assert site.ask("POST", f"/{name}/config:stop").status_code == 200
    arm()
    site.ask("POST", f"/{name}/config:start")
    return lambda: assert_ready(site, name)


def fails_to_update(site: Site, point: CrashPoint, arm: Arm) -> Outcome:
    """One entity cannot be loaded, when the replica of the other is up."""
    before = site.value()
    good = {"name": "good", **site.entity(VALUE=site.next())}
    bad = {"name": "bad", **site.entity(LOAD_SECONDS="1", LOAD_FAILS="1")}
    shares = {"routes": [{"served_model_name": n, "traffic_percentage": 50} for n in ("good", "bad")]}
    arm()
    site.ask("PUT", f"/{BUSY}/config", {"served_entities": [good, bad], "traffic_config": shares})

    def outcome() -> None:
        detail = site.server.settled(BUSY)
        assert detail["state"] == {
            "ready": "READY",
            "config_update": "UPDATE_FAILED",
            "update_state": "UPDATE_FAILED",
        }
        assert site.value() == before

    return outcome


def deletes(site: Site, point: CrashPoint, arm: Arm) -> Outcome:
    name = site.new_endpoint()
    arm()
    site.ask("DELETE", f"/{name}")

    def outcome() -> None:
        if point is CrashPoint.DELETE_WRITTEN:
            assert_ready(site, name)
        else:
            assert site.is_gone(name)

    return outcome


def assert_ready(site: Site, name: str) -> None:
    site.server.ready(name)
    body = {"dataframe_records": site.model.rows.to_dict("records")}
    assert site.server.query(name, body).json() == {"predictions": PREDICTIONS}


OPERATIONS: dict[str, Operation] = {
    "create": creates,
    "update": updates,
    "cancel": cancels_a_creation,
    "stop": stops,
    "start": starts,
    "delete": deletes,
    "phase": creates_and_updates,
    "fetch": creates_and_updates,
    "build": creates_and_updates,
    "replica": creates_and_updates,
    "switch": updates,
    "route": updates,
    "fail": fails_to_update,
    "retire": updates,
}


def die_and_recover(site: Site, point: CrashPoint) -> None:
    """One operation with one death in it, and everything that must hold afterwards."""
    server, left = site.server, marker(DataDirectory(site.server.data_dir), point)
    dead = wait_for("the control plane", lambda: server.part("moorage.control"), PATIENCE)
    outcome = OPERATIONS[point.partition(".")[0]](site, point, lambda: atomic_write(site.asked_for, point.value))
    wait_for(f"the control plane comes to {point}", left.exists, PATIENCE)
    wait_for("its death", lambda: not is_alive(dead), PATIENCE)
    wait_for("a successor", lambda: server.part("moorage.control") not in (0, dead), PATIENCE)
    wait_for("the server is healthy", lambda: server.http.get("/health").status_code == 200, PATIENCE)
    outcome()
    wait_for_order(server)
    outcome()
    assert site.load.failures == []


def wait_for_order(server: Server) -> None:
    complaint = "not looked at"

    def look() -> bool:
        nonlocal complaint
        complaint = disorder(server)
        return not complaint

    try:
        wait_for("order", look, PATIENCE)
    except pytest.fail.Exception:
        pytest.fail(f"{complaint}\n{server.log_tail()}")


def disorder(server: Server) -> str:
    """What is not as the database says it should be; nothing when all is."""
    wanted, phases, rows, endpoints = what_the_database_says(server.data_dir / "moorage.db")
    unsettled = {one: phase for one, phase in phases.items() if phase not in AT_REST}
    if unsettled:
        return f"deployments under way: {unsettled}"
    if sorted(rows.values()) != sorted(wanted):
        return f"replicas of {sorted(rows.values())} are written down, wanted is one of each of {sorted(wanted)}"
    if server.replicas().keys() != rows.keys():
        return f"ready are the replicas {server.replicas()}, written down are {rows}"
    folders = {path.name for path in (server.data_dir / "run" / "replicas").iterdir()}
    if folders != rows.keys():
        return f"folders of replicas {folders}, written down are {rows}"
    templates, replicas = model_processes(server)
    if len(templates) != 1 or set(replicas) != set(server.replicas().values()):
        return f"templates {templates}, processes of replicas {replicas}, ready are {server.replicas()}"
    strangers = {path.name for path in (server.data_dir / "deployments").iterdir()} - phases.keys()
    if strangers:
        return f"folders of deployments that are gone: {strangers}"
    return f"still being deleted: {endpoints}" if endpoints else ""


def what_the_database_says(
    path: Path,
) -> tuple[set[str], dict[str, str], dict[str, str], list[str]]:
    """Deployments that should have a replica, all deployments' phases, replicas' deployments, endpoints that go."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database, closing(database.cursor()) as cursor:
        phases = dict(cursor.execute("SELECT id, phase FROM deployments").fetchall())
        rows = dict(cursor.execute("SELECT id, deployment_id FROM replicas").fetchall())
        going = [name for (name,) in cursor.execute("SELECT name FROM endpoints WHERE deleting").fetchall()]
        wanted = cursor.execute(
            "SELECT json_extract(entity.value, '$.deployment_id') FROM endpoints JOIN configs"
            " ON configs.endpoint_id = endpoints.id AND configs.version = endpoints.active_version,"
            " json_each(configs.body, '$.served_entities') AS entity WHERE NOT deleting AND NOT stopped"
            " AND endpoints.name NOT LIKE 'databricks-%'"  # those of the catalogue start when somebody asks
        )
        return {one for (one,) in wanted.fetchall()}, phases, rows, going


def model_processes(server: Server) -> tuple[list[int], list[int]]:
    """Templates, and what they have started. A replica whose template has died would count as a template."""
    parents = {}
    for pid in server.processes():
        with suppress(OSError):
            if b"launch.py" in Path(f"/proc/{pid}/cmdline").read_bytes():
                parents[pid] = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    templates = [pid for pid, parent in parents.items() if parent not in parents]
    return templates, [pid for pid in parents if pid not in templates]


def atomic_write(path: Path, text: str) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text)
    temporary.replace(path)


@contextmanager
def site_on(registry: Server, model: Registered) -> Iterator[Site]:
    """A server of its own that finds its models in the registry of another."""
    with data_directory() as data_dir:
        asked_for = data_dir.with_name("crash-points")
        settings = {
            **SETTINGS,
            VARIABLE: f"@{asked_for}",
            "MOORAGE_MLFLOW_URI": registry.url,
            "MLFLOW_TRACKING_TOKEN": registry.token,
        }
        server = Server(data_dir, settings=settings)
        try:
            server.create(BUSY, model.name, model.version)
            server.ready(BUSY)
            with load_on(server, BUSY, model, right=PREDICTIONS, clients=2, pace_seconds=0.02) as load:
                yield Site(server, model, load, asked_for)
        except BaseException:
            server.kill()
            raise
        server.stop()


class Trials:
    """Every point tried once, by some lanes side by side."""

    def __init__(self, points: list[CrashPoint], registry: Server, model: Registered) -> None:
        self.results: dict[CrashPoint, Future[None]] = {point: Future() for point in points}
        self._waiting: queue.SimpleQueue[CrashPoint] = queue.SimpleQueue()
        for point in points:
            self._waiting.put(point)
        self._registry, self._model = registry, model
        self._lanes = [threading.Thread(target=self._run) for _ in range(LANES)]

    def start(self) -> None:
        for lane in self._lanes:
            lane.start()

    def join(self) -> None:
        for lane in self._lanes:
            lane.join()

    def _run(self) -> None:
        points: list[CrashPoint] = []
        while points or self._take(points):
            point = points[0]
            try:
                with site_on(self._registry, self._model) as site:
                    for point in points:
                        die_and_recover(site, point)
            except BaseException as error:  # noqa: BLE001  a failed test is one
                self._conclude(points, point, error)
            else:
                self._conclude(points, point, None)

    def _take(self, points: list[CrashPoint]) -> bool:
        with suppress(queue.Empty):
            while len(points) < DEATHS:
                points.append(self._waiting.get_nowait())
        return bool(points)

    def _conclude(self, points: list[CrashPoint], last: CrashPoint, error: BaseException | None) -> None:
        """Those up to `last` have been tried; what went wrong went wrong there."""
        while points:
            point = points.pop(0)
            if point is last and error is not None:
                self.results[point].set_exception(error)
                return
            self.results[point].set_result(None)


@pytest.fixture(scope="module")
def trials(request: pytest.FixtureRequest) -> Iterator[Trials]:
    points = [item.callspec.params["point"] for item in request.session.items if item.path == request.path]
    with data_directory() as data_dir:
        registry = Server(data_dir, settings=SETTINGS)
        try:
            running = Trials(points, registry, Registry(registry).register("as_told"))
            running.start()
            try:
                yield running
            finally:
                running.join()
        except BaseException:
            registry.kill()
            raise
        registry.stop()


@pytest.mark.slow
@pytest.mark.parametrize("point", list(CrashPoint), ids=str)
def test_server_recovers_from_the_death_of_its_control_plane(trials: Trials, point: CrashPoint) -> None:
    trials.results[point].result(280)
