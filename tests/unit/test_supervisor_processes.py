"""The supervisor with real processes: small programs in place of gateway, control plane and MLflow."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import moorage
from moorage.supervisor.linux import is_running, read_stat
from moorage.supervisor.sockets import listen

DEADLINE_SECONDS = 30.0

# Runs a plan that is given as JSON; ready as soon as the file `ready` is in the folder.
DRIVER = """
import asyncio, json, logging, os, socket, sys
from pathlib import Path
from moorage.supervisor.child import ChildSpec, Timing
from moorage.supervisor.health import Health
from moorage.supervisor.restart import RestartLimits
from moorage.supervisor.server import Group, Plan, Supervisor

plan, folder = json.loads(sys.argv[1]), Path(sys.argv[2])
logging.basicConfig(level="INFO", format="%(message)s")
groups = [
    Group(
        [ChildSpec(name, (sys.executable, "-c", code), dict(os.environ), tuple(plan["fds"]))
         for name, code in group["children"].items()],
        group["seconds"],
    )
    for group in plan["groups"]
]
listeners = [socket.socket(fileno=fd) for fd in plan["fds"]]

async def probe():
    return Health((folder / "ready").exists(), "no")

async def main():
    timing = Timing(limits=RestartLimits(first_delay=0.01, longest_delay=0.05))
    plan = Plan(groups, folder / "logs", folder / "replicas", listeners)
    return await Supervisor(plan, probe, lambda: print("ready", flush=True), timing).run()

sys.exit(asyncio.run(main()))
"""

JOURNAL = """
import os, signal, socket, subprocess, sys, time
def note(*words):
    with open("journal", "a") as file:
        file.write(" ".join(map(str, words)) + chr(10))
"""


def steady(name: str) -> str:
    """Runs until SIGTERM and takes a moment to stop."""
    return JOURNAL + (
        "def stop(*_):\n"
        f"    note('asked', '{name}')\n"
        "    time.sleep(0.1)\n"
        f"    note('stopped', '{name}')\n"
        "    os._exit(0)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        f"note('started', '{name}', os.getpid())\n"
        f"print('hello from {name}', flush=True)\n"
        "while True: signal.pause()\n"
    )


def stubborn(name: str) -> str:
    """Does not heed SIGTERM."""
    return JOURNAL + (
        f"signal.signal(signal.SIGTERM, lambda *_: note('asked', '{name}'))\n"
        f"note('started', '{name}', os.getpid())\n"
        "while True: signal.pause()\n"
    )


class Server:
    """A supervisor in a process of its own, with `folder` as its working directory."""

    def __init__(self, folder: Path, groups: list[tuple[float, dict[str, str]]], fds: tuple[int, ...] = ()) -> None:
        self.folder = folder
        plan = {"groups": [{"seconds": s, "children": c} for s, c in groups], "fds": fds}
        self.errors = folder / "stderr"
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", DRIVER, json.dumps(plan), str(folder)],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(Path(moorage.__file__).parents[1])},
                pass_fds=fds,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def journal(self, word: str) -> list[list[str]]:
        path = self.folder / "journal"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.split()[1:] for line in lines if line.split()[0] == word]

    def pids(self, name: str) -> list[int]:
        return [int(words[1]) for words in self.journal("started") if words[0] == name]

    def wait_for_start(self, name: str, times: int = 1) -> int:
        until(lambda: len(self.pids(name)) >= times, f"start {times} of {name}")
        return self.pids(name)[-1]

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def exit_status(self) -> int:
        return self.process.wait(DEADLINE_SECONDS)


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for: {what}"
        time.sleep(0.02)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def make(*groups: tuple[float, dict[str, str]], fds: tuple[int, ...] = ()) -> Server:
        servers.append(Server(tmp_path, list(groups), fds))
        return servers[-1]

    yield make
    for server in servers:
        server.process.kill()
        server.process.wait()
        assert server.process.stdout is not None
        server.process.stdout.close()
        for words in server.journal("started"):
            stat = read_stat(int(words[1]))
            if stat is not None and stat.state != "Z":
                os.kill(stat.pid, signal.SIGKILL)


def test_groups_stop_one_after_the_other_and_the_exit_status_is_zero(start: Callable[..., Server]) -> None:
    server = start(
        (10, {"gateway-0": steady("gateway-0"), "gateway-1": steady("gateway-1")}),
        (10, {"control": steady("control")}),
        (10, {"mlflow": steady("mlflow")}),
    )
    for name in ("gateway-0", "gateway-1", "control", "mlflow"):
        server.wait_for_start(name)
    server.signal()
    assert server.exit_status() == 0
    journal = [line.split()[:2] for line in (server.folder / "journal").read_text().splitlines()]
    stops = [words for words in journal if words[0] != "started"]
    assert sorted(stops[:2]) == [["asked", "gateway-0"], ["asked", "gateway-1"]]
    assert stops[4:] == [["asked", "control"], ["stopped", "control"], ["asked", "mlflow"], ["stopped", "mlflow"]]


def test_ready_is_announced_once_and_only_when_the_probe_says_so(start: Callable[..., Server]) -> None:
    server = start((10, {"control": steady("control")}))
    server.wait_for_start("control")
    (server.folder / "ready").touch()
    assert server.process.stdout is not None
    assert server.process.stdout.readline() == "ready\n"
    server.signal(signal.SIGINT)
    assert server.exit_status() == 0
    assert server.process.stdout.read() == ""


def test_a_stop_before_ready_announces_nothing(start: Callable[..., Server]) -> None:
    server = start((10, {"control": steady("control")}))
    server.wait_for_start("control")
    server.signal()
    assert server.exit_status() == 0
    assert server.process.stdout is not None
    assert server.process.stdout.read() == ""


def test_a_killed_child_is_started_again_and_the_others_are_left_alone(start: Callable[..., Server]) -> None:
    server = start((10, {"control": steady("control"), "mlflow": steady("mlflow")}))
    server.wait_for_start("mlflow")
    first = server.wait_for_start("control")
    os.kill(first, signal.SIGKILL)
    second = server.wait_for_start("control", times=2)
    assert second != first
    assert len(server.pids("mlflow")) == 1
    assert "control was killed by SIGKILL" in server.errors.read_text()
    server.signal()
    assert server.exit_status() == 0


def test_a_child_that_ignores_sigterm_is_killed_after_its_time(start: Callable[..., Server]) -> None:
    server = start((0.2, {"gateway-0": stubborn("gateway-0")}), (10, {"control": steady("control")}))
    pid = server.wait_for_start("gateway-0")
    server.wait_for_start("control")
    server.signal()
    assert server.exit_status() == 0
    assert not is_running(pid)
    assert server.journal("stopped") == [["control"]]


def test_a_second_signal_kills_at_once(start: Callable[..., Server]) -> None:
    server = start((600, {"gateway-0": stubborn("gateway-0")}), (600, {"control": stubborn("control")}))
    pids = [server.wait_for_start("gateway-0"), server.wait_for_start("control")]
    server.signal()
    until(lambda: server.journal("asked"), "the first signal to arrive")
    server.signal()
    assert server.exit_status() == 0
    assert not any(is_running(pid) for pid in pids)


def test_a_forced_end_kills_recorded_replicas_but_no_stranger_with_a_reused_id(
    start: Callable[..., Server],
) -> None:
    # As those of an earlier server that died, they are nobody's children here.
    replica, stranger = (subprocess.Popen(["sleep", "600"], start_new_session=True) for _ in range(2))
    try:
        server = start((600, {"control": stubborn("control")}))
        for process, ticks in ((replica, 0), (stranger, 1)):
            stat = read_stat(process.pid)
            assert stat is not None
            folder = server.folder / "replicas" / str(process.pid)
            folder.mkdir(parents=True)
            status = {"pid": process.pid, "started_at": stat.started_at + ticks}
            (folder / "status.json").write_text(json.dumps(status))
        damaged = server.folder / "replicas" / "damaged"
        damaged.mkdir()
        (damaged / "status.json").write_text("{")
        server.wait_for_start("control")
        server.signal()
        until(lambda: server.journal("asked"), "the first signal to arrive")
        server.signal()
        assert server.exit_status() == 0
        assert replica.wait(DEADLINE_SECONDS) == -signal.SIGKILL
        assert stranger.poll() is None
    finally:
        for process in (replica, stranger):
            process.kill()
            process.wait()


def test_a_child_that_always_dies_at_its_start_ends_the_server_with_a_reason(
    start: Callable[..., Server],
) -> None:
    crash = JOURNAL + "note('started', 'control', os.getpid()); sys.exit('no database here')"
    server = start((10, {"mlflow": steady("mlflow")}), (10, {"control": crash}))
    assert server.exit_status() == 1
    assert len(server.pids("control")) == 5
    errors = server.errors.read_text()
    assert "control died 5 times at its start, at last it exited with status 1" in errors
    assert str(server.folder / "logs" / "control.log") in errors
    assert "its last line: no database here" in errors
    assert not any(is_running(pid) for pid in server.pids("mlflow"))


def test_a_server_that_was_ready_never_gives_up(start: Callable[..., Server]) -> None:
    crash_later = JOURNAL + (
        "note('started', 'control', os.getpid())\nwhile not os.path.exists('crash'): time.sleep(0.01)\nsys.exit(3)\n"
    )
    server = start((10, {"control": crash_later}))
    (server.folder / "ready").touch()
    assert server.process.stdout is not None
    assert server.process.stdout.readline() == "ready\n"
    (server.folder / "crash").touch()
    server.wait_for_start("control", times=8)
    assert server.process.poll() is None
    server.signal()
    assert server.exit_status() == 0


def test_children_end_when_the_supervisor_is_killed(start: Callable[..., Server]) -> None:
    server = start((10, {"gateway-0": steady("gateway-0"), "control": steady("control")}))
    pids = [server.wait_for_start("gateway-0"), server.wait_for_start("control")]
    server.process.kill()
    until(lambda: not any(is_running(pid) for pid in pids), "the children to end")
    assert sorted(server.journal("stopped")) == [["control"], ["gateway-0"]]


def test_a_model_process_survives_the_control_plane_and_leaves_no_zombie(start: Callable[..., Server]) -> None:
    control = JOURNAL + (
        "model = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "note('started', 'model', model.pid)\n"
        "note('started', 'control', os.getpid())\n"
        "while True: signal.pause()\n"
    )
    server = start((10, {"control": control}))
    first = server.wait_for_start("control")
    model = server.pids("model")[0]
    os.kill(first, signal.SIGKILL)
    server.wait_for_start("control", times=2)
    stat = read_stat(model)
    assert stat is not None
    assert stat.parent == server.process.pid
    os.kill(model, signal.SIGKILL)
    until(lambda: read_stat(model) is None, "the dead model process to be reaped")
    server.signal()
    assert server.exit_status() == 0
    assert not any(is_running(pid) for pid in server.pids("model"))


def test_connections_wait_while_a_worker_is_started_again(start: Callable[..., Server]) -> None:
    [listener] = listen("127.0.0.1", 0, 1)
    address = listener.getsockname()
    worker = JOURNAL + (
        f"listener = socket.socket(fileno={listener.fileno()})\n"
        "listener.setblocking(True)\n"
        "note('started', 'gateway-0', os.getpid())\n"
        "while True:\n"
        "    connection, _ = listener.accept()\n"
        "    connection.sendall(str(os.getpid()).encode())\n"
        "    connection.close()\n"
    )
    server = start((10, {"gateway-0": worker}), fds=(listener.fileno(),))
    listener.close()
    first = server.wait_for_start("gateway-0")
    os.kill(first, signal.SIGKILL)
    until(lambda: not is_running(first), "the worker to be gone")
    for _ in range(5):
        with socket.create_connection(address, DEADLINE_SECONDS) as connection:
            assert int(connection.recv(32)) != first
    server.signal()
    assert server.exit_status() == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, 5).close()


def test_output_is_shown_with_the_childs_name_and_kept_in_its_log(start: Callable[..., Server]) -> None:
    server = start((10, {"control": steady("control")}))
    server.wait_for_start("control")
    log = server.folder / "logs" / "control.log"
    until(lambda: log.exists() and log.read_text(), "the log")
    server.signal()
    assert server.exit_status() == 0
    assert log.read_text() == "hello from control\n"
    assert "[control] hello from control\n" in server.errors.read_text()
