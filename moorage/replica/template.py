"""The template: one process an environment that has the libraries imported and forks replicas.

It listens on a Unix socket for lines of JSON from the control plane and answers each with one line. It
outlives the control plane, and its replicas outlive it. Operations:

    {"op": "hello"}                      -> its pid, start ticks, code version
    {"op": "warm", "modules": [...]}     -> imports them, for the replicas to come; {"restarting": true} when one
                                            of them started threads: it comes back without that one, ask again
    {"op": "spawn", "replica": {...}}    -> starts that replica; {"pid", "started_at", "mode"}. With the line comes
                                            a descriptor of a file with the replica's environment as JSON
    {"op": "stop"}                       -> leaves; its replicas stay

A replica is forked from the imported libraries, unless its environment variables must be seen before the
libraries load: then it is a fresh process of the same interpreter. Either reads its environment, in which there may
be secrets, after the fork: what this process knew, every later replica would inherit. A library that starts
threads when it is imported cannot be forked with; the template learns which do and leaves them to the replicas.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from typing import Any, Callable, Dict, List, Optional

from .guard import give_up_privileges, hide
from .main import become_replica, read_environment
from .process import BoundedLog, log, peer_uid, start_ticks, write_json

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
_MOST_DESCRIPTORS = 4096  # ours close by themselves; this is for what libraries opened

_Become = Callable[[Dict[str, Any], Dict[str, str]], None]


class ThreadsStarted(Exception):
    """Importing a library started threads, which a fork would lose. `args[0]` is the library."""


class Template:
    """The process behind one template socket. It obeys nobody but the user `client_uid`."""

    def __init__(
        self, socket_path: str, version: str, output: BoundedLog, memory: Dict[str, Any], client_uid: int
    ) -> None:
        self._socket_path = socket_path
        self._client_uid = client_uid
        self._version = version
        self._output = output
        self._blocked = set(memory.get("blocked", ())) | _STARTS_THREADS
        self._children: Dict[int, str] = {int(p): f for p, f in memory.get("children", {}).items()}
        self._selector = selectors.DefaultSelector()
        self._clients: Dict[socket.socket, bytes] = {}
        self._descriptors: Dict[socket.socket, List[int]] = {}  # received and not yet used
        self._listener: Optional[socket.socket] = None
        self._wake: List[int] = []
        self._running = True

    def run(self) -> None:
        """Serve until told to stop."""
        wake_read, wake_write = self._wake = list(os.pipe())
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
        if peer_uid(client) != self._client_uid:  # a model that it started
            client.close()
            return
        client.setblocking(True)
        self._clients[client] = b""
        self._descriptors[client] = []
        self._selector.register(client, selectors.EVENT_READ)

    def _read(self, client: socket.socket) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(client, 65536, 1, socket.MSG_CMSG_CLOEXEC)
        except OSError:
            data, descriptors = b"", []
        self._descriptors[client] += descriptors
        if not data:
            self._drop(client)
            return
        *lines, self._clients[client] = (self._clients[client] + data).split(b"\n")
        for line in lines:
            successor = False
            try:
                answer = self._perform(json.loads(line), self._descriptors[client])
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
        for descriptor in self._descriptors.pop(client, ()):
            os.close(descriptor)
        client.close()

    def _perform(self, request: Dict[str, Any], descriptors: List[int]) -> Dict[str, Any]:
        """The answer. `descriptors` have come with the request; those that it uses are taken out."""
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
            return self._spawn(request["replica"], descriptors)
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

    def _spawn(self, replica: Dict[str, Any], descriptors: List[int]) -> Dict[str, Any]:
        if not descriptors:
            raise ValueError("no environment came with the request")
        environment = descriptors.pop()
        try:
            fresh = any(name.startswith(_READ_BEFORE_IMPORT) for name in replica["chosen_variables"])
            os.makedirs(replica["folder"], mode=0o700, exist_ok=True)
            pid = self._fork(replica, environment, self._start_fresh if fresh else become_replica)
        finally:
            os.close(environment)
        self._children[pid] = replica["folder"]
        return {"pid": pid, "started_at": start_ticks(pid), "mode": "fresh" if fresh else "fork"}

    def _fork(self, replica: Dict[str, Any], environment: int, become: _Become) -> int:
        import gc

        gc.freeze()  # what is shared now stays shared: the collector will not touch it in the fork
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            return pid
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.setsid()
            self._selector.close()
            for descriptor in self._wake:
                os.close(descriptor)
            for others in self._descriptors.values():
                for descriptor in others:
                    os.close(descriptor)
            for sock in (self._listener, *self._clients):
                if sock is not None:
                    sock.close()
            become(replica, read_environment(environment))
        except BaseException:  # noqa: BLE001  the last word of a fork
            traceback.print_exc()
        finally:
            os._exit(1)

    def _start_fresh(self, replica: Dict[str, Any], environment: Dict[str, str]) -> None:
        """Become a new process of the interpreter, which sees the environment from its beginning on."""
        config = os.path.join(replica["folder"], "config.json")
        write_json(config, replica)
        launcher = os.path.join(os.path.dirname(os.path.abspath(__file__)), "launch.py")
        os.chdir(replica["folder"])
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        log_file = os.open(replica["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.dup2(log_file, 1)
        os.dup2(log_file, 2)
        os.closerange(3, _MOST_DESCRIPTORS)
        os.execve(sys.executable, [sys.executable, launcher, "replica", config], environment)

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
    """`template SOCKET VERSION LOG LOG_BYTES CLIENT_UID`."""
    socket_path, version, log_path, log_bytes, client_uid = arguments
    if int(client_uid) != os.getuid():
        give_up_privileges()
        hide()
    output = BoundedLog(log_path, int(log_bytes))
    output.redirect()
    memory = json.loads(os.environ.pop(_MEMORY, "{}"))
    Template(socket_path, version, output, memory, int(client_uid)).run()
    return 0
