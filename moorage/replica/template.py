"""The template: one process an environment that has the libraries imported and forks replicas.

It listens on a Unix socket for lines of JSON from the control plane and answers each with one line. It
outlives the control plane, and its replicas outlive it. Operations:

    {"op": "hello"}                      -> its pid, start ticks, code version
    {"op": "warm", "modules": [...]}     -> imports them, for the replicas to come; {"restarting": true} when one
                                            of them started threads: it comes back without that one, ask again
    {"op": "spawn", "replica": {...}}    -> starts that replica; {"pid", "started_at", "mode"}
    {"op": "stop"}                       -> leaves; its replicas stay

A replica is forked from the imported libraries, unless its environment variables must be seen before the
libraries load: then it is a fresh process of the same interpreter. A library that starts threads when it is
imported cannot be forked with; the template learns which do and leaves them to the replicas.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from typing import Any, Dict, List, Optional

from .main import become_replica
from .process import BoundedLog, log, start_ticks, write_json

_BASE_MODULES = (
    "orjson",
    "numpy",
    "pandas",
    "mlflow.pyfunc",
    "mlflow.pyfunc.scoring_server",
)
_STARTS_THREADS = {"onnxruntime", "tensorflow", "torch", "grpc", "ray", "pyspark", "jax", "polars"}
"""Libraries that a fork would inherit half of; replicas import them themselves."""

_HARMLESS_THREADS = {"jemalloc_bg_thd"}  # jemalloc starts it anew after a fork
_READ_BEFORE_IMPORT = ("OMP_", "OPENBLAS_", "MKL_", "KMP_", "NUMEXPR_", "PYTHON", "LD_", "MALLOC_", "ARROW_")
_MEMORY = "MOORAGE_TEMPLATE_MEMORY"  # what a template that restarts tells its successor


class ThreadsStarted(Exception):
    """Importing a library started threads, which a fork would lose. `args[0]` is the library."""


class Template:
    """The process behind one template socket."""

    def __init__(self, socket_path: str, version: str, output: BoundedLog, memory: Dict[str, Any]) -> None:
        self._socket_path = socket_path
        self._version = version
        self._output = output
        self._blocked = set(memory.get("blocked", ())) | _STARTS_THREADS
        self._children: Dict[int, str] = {int(p): f for p, f in memory.get("children", {}).items()}
        self._selector = selectors.DefaultSelector()
        self._clients: Dict[socket.socket, bytes] = {}
        self._listener: Optional[socket.socket] = None
        self._running = True

    def run(self) -> None:
        """Serve until told to stop."""
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_read, False)
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._listener = self._listen()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(wake_read, selectors.EVENT_READ)
        self._reap()  # those that ended while this program began again
        while self._running:
            for key, _ in self._selector.select(timeout=5):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj == wake_read:
                    os.read(wake_read, 4096)
                else:
                    self._read(key.fileobj)  # type: ignore[arg-type]
            self._reap()
            self._output.trim()
        try:
            os.unlink(self._socket_path)
        except FileNotFoundError:
            pass

    def _stop(self, *_: Any) -> None:
        self._running = False

    def _listen(self) -> socket.socket:
        try:
            os.unlink(self._socket_path)
        except FileNotFoundError:
            pass
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(self._socket_path)
        listener.listen(16)
        listener.setblocking(False)
        return listener

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            client, _ = self._listener.accept()
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.ECONNABORTED):
                return
            raise
        client.setblocking(True)
        self._clients[client] = b""
        self._selector.register(client, selectors.EVENT_READ)

    def _read(self, client: socket.socket) -> None:
        try:
            data = client.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._drop(client)
            return
        *lines, self._clients[client] = (self._clients[client] + data).split(b"\n")
        for line in lines:
            successor = False
            try:
                answer = self._perform(json.loads(line))
            except ThreadsStarted as started:
                self._blocked.add(started.args[0])
                answer, successor = {"restarting": True}, True
            except Exception as error:  # noqa: BLE001  the control plane gets the reason and decides
                answer = {"error": f"{type(error).__name__}: {error}"}
            try:
                client.sendall(json.dumps(answer).encode() + b"\n")
                gone = False
            except OSError:
                self._drop(client)
                gone = True
            if successor:
                self._begin_again()
            if gone:
                return

    def _begin_again(self) -> None:
        """Run this program anew in the same process, so that the replicas stay its children."""
        memory = {"blocked": sorted(self._blocked), "children": self._children}
        os.environ[_MEMORY] = json.dumps(memory)
        signal.set_wakeup_fd(-1)
        os.execv(sys.executable, [sys.executable, os.path.abspath(sys.argv[0]), *sys.argv[1:]])

    def _drop(self, client: socket.socket) -> None:
        self._selector.unregister(client)
        self._clients.pop(client, None)
        client.close()

    def _perform(self, request: Dict[str, Any]) -> Dict[str, Any]:
        operation = request["op"]
        if operation == "hello":
            return {
                "pid": os.getpid(),
                "started_at": start_ticks(os.getpid()),
                "version": self._version,
            }
        if operation == "warm":
            seconds = self._import([*_BASE_MODULES, *request["modules"]])
            return {"seconds": round(seconds, 3)}
        if operation == "spawn":
            return self._spawn(request["replica"])
        if operation == "stop":
            self._running = False
            return {}
        raise ValueError(f"unknown operation {operation!r}")

    def _import(self, modules: List[str]) -> float:
        """Import what is not yet. Returns the seconds it took.

        Raises:
            ThreadsStarted: a library started threads of its own.
        """
        began = time.monotonic()
        for name in modules:
            package = name.partition(".")[0]
            if name in sys.modules or package in self._blocked:
                continue
            try:
                importlib.import_module(name)
            except Exception as error:  # noqa: BLE001  the replica will say what is wrong with it
                log("WARNING", f"template: cannot import {name}: {error}")
                self._blocked.add(package)
                continue
            if _foreign_threads():
                log("INFO", f"template: {name} starts threads; replicas import {package} themselves")
                raise ThreadsStarted(package)
        return time.monotonic() - began

    def _spawn(self, replica: Dict[str, Any]) -> Dict[str, Any]:
        fresh = any(name.startswith(_READ_BEFORE_IMPORT) for name in replica["chosen_variables"])
        os.makedirs(replica["folder"], mode=0o700, exist_ok=True)
        pid = self._start_fresh(replica) if fresh else self._fork(replica)
        self._children[pid] = replica["folder"]
        return {"pid": pid, "started_at": start_ticks(pid), "mode": "fresh" if fresh else "fork"}

    def _fork(self, replica: Dict[str, Any]) -> int:
        import gc

        gc.freeze()  # what is shared now stays shared: the collector will not touch it in the fork
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            return pid
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.setsid()
        self._selector.close()
        for sock in (self._listener, *self._clients):
            if sock is not None:
                sock.close()
        become_replica(replica)
        raise AssertionError("a replica does not return")

    def _start_fresh(self, replica: Dict[str, Any]) -> int:
        config = os.path.join(replica["folder"], "config.json")
        write_json(config, replica)
        launcher = os.path.join(os.path.dirname(os.path.abspath(__file__)), "launch.py")
        log_file = os.open(replica["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            process = subprocess.Popen(
                [sys.executable, launcher, "replica", config],
                env=replica["environment"],
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                start_new_session=True,
                cwd=replica["folder"],
            )
        finally:
            os.close(log_file)
        process.returncode = 0  # this process reaps by pid; Popen must not
        return process.pid

    def _reap(self) -> None:
        """Take the exit statuses of replicas that ended and leave them in their folders."""
        for pid in list(self._children):
            try:
                ended, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:  # a library waited for it
                del self._children[pid]
                continue
            if ended:
                folder = self._children.pop(pid)
                try:
                    write_json(os.path.join(folder, "exit.json"), _exit_words(status))
                except OSError as error:  # the folder may be gone with its endpoint
                    log("WARNING", f"template: exit of {pid} not recorded: {error}")


def _exit_words(status: int) -> Dict[str, Any]:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = str(number)
        return {"signal": number, "words": f"killed by {name}"}
    return {"code": os.WEXITSTATUS(status), "words": f"exited with status {os.WEXITSTATUS(status)}"}


def _foreign_threads() -> List[str]:
    """Names of this process's threads, other than the main one, that a fork would lose."""
    names = []
    for task in os.listdir("/proc/self/task"):
        if int(task) == os.getpid():
            continue
        try:
            with open(f"/proc/self/task/{task}/comm", encoding="utf-8") as file:
                name = file.read().strip()
        except OSError:  # it has ended
            continue
        if name not in _HARMLESS_THREADS:
            names.append(name)
    return names


def main(arguments: List[str]) -> int:
    """`template SOCKET VERSION LOG LOG_BYTES`."""
    socket_path, version, log_path, log_bytes = arguments
    output = BoundedLog(log_path, int(log_bytes))
    output.redirect()
    memory = json.loads(os.environ.pop(_MEMORY, "{}"))
    Template(socket_path, version, output, memory).run()
    return 0
