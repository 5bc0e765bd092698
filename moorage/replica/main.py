"""A replica's life: settle in its folder, load the model, warm it up, serve until told to stop."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import socket
import sys
import tempfile
import time
import traceback
from typing import Any, Dict, List

from .guard import fence, give_up_privileges, hide, limit_memory
from .process import BoundedLog, Status, log

LOAD_FAILED = 3
"""Exit status of a replica whose model could not be loaded; the reason is in its status file."""

_LONGEST_REASON = 1500


def read_environment(descriptor: int) -> Dict[str, str]:
    """The environment variables in an open file, as JSON."""
    with os.fdopen(descriptor, "rb") as file:
        file.seek(0)
        document: Dict[str, str] = json.load(file)
    return document


def run(config: Dict[str, Any], environment: Dict[str, str]) -> int:
    """Be the replica that `config` (see `compute.local`) describes. Returns the exit status.

    `environment` may hold secrets: nothing of it may be written anywhere.
    """
    _give_up_what_it_needs_not(config)
    folder = config["folder"]
    status = Status(os.path.join(folder, "status.json"), config["replica_id"])
    output = BoundedLog(config["log"], config["log_bytes"])
    output.redirect()
    output.watch()
    work = os.path.join(folder, "work")
    os.makedirs(work, exist_ok=True)
    os.makedirs(os.path.join(folder, "tmp"), exist_ok=True)
    os.chdir(work)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # the template's does not count
    _limit_core_dumps()
    _reseed()
    listener = _listen(config["socket"])
    known = set(sys.modules)
    status.update(phase="loading")
    log("INFO", f"replica {config['replica_id']} of {config['endpoint']}/{config['served_name']} loads its model")
    began = time.monotonic()
    try:
        from .model import ServedModel

        model = ServedModel(config["model_path"], config["strict_json"], config["batching"])
        loaded = time.monotonic()
        log("INFO", f"model loaded in {loaded - began:.2f} s")
        status.update(phase="warming")
        warmed = _warm_up(model)
    except BaseException as error:  # noqa: BLE001  the model's code may raise anything, SystemExit too
        reason = f"{type(error).__name__}: {error}"[:_LONGEST_REASON]
        log("ERROR", f"the model could not be loaded: {reason}\n{traceback.format_exc()}")
        status.update(phase="failed", message=reason)
        return LOAD_FAILED

    from .server import ReplicaServer

    identity = {"replica_id": config["replica_id"], "pid": os.getpid()}
    server = ReplicaServer(
        model,
        listener,
        identity,
        threads=config["threads"],
        orphan_seconds=config["orphan_seconds"],
        client_uid=config["client_uid"],
        on_batching_off=lambda: status.update(batching=False),
    )
    signal.signal(signal.SIGTERM, server.stop)  # from here on it is asked to drain, not ended
    status.update(
        phase="ready",
        load_seconds=round(loaded - began, 3),
        warm_up_seconds=round(time.monotonic() - loaded, 3),
        warm_up=warmed,
        batching=model.batches,
        fast_path=model.fast_path.name if model.fast_path else None,
        imports=_library_imports(known),
    )
    log("INFO", f"ready after {time.monotonic() - began:.2f} s")
    server.run()
    log("INFO", "stopped")
    status.update(phase="stopped")
    return 0


def _give_up_what_it_needs_not(config: Dict[str, Any]) -> None:
    """Before there are threads, and before anything of the model runs."""
    give_up_privileges()
    if config["client_uid"] != os.getuid():
        hide()
    fence()
    if config["memory_bytes"]:
        limit_memory(config["memory_bytes"])


def _warm_up(model: Any) -> str:
    """Answer the logged input example, by MLflow's path and by the fast one. A failure is a word in the log."""
    example = model.input_example()
    if example is None:
        return "no input example"
    answer = model.predict_one(example, "application/json", "warm-up", True)
    if answer.status != 200:
        log("WARNING", "the model does not answer its own input example; it is served all the same")
        return "input example failed"
    decoded = model.decode(example)
    if decoded is not None:
        model.predict_batch([decoded[0]], [decoded[1]], decoded[2])
    return "input example answered"


def _listen(path: str) -> socket.socket:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(256)
    return listener


def _limit_core_dumps() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


def _reseed() -> None:
    """A fork has its template's random state; each replica needs one of its own."""
    random.seed()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()


def _library_imports(known: set) -> List[str]:  # type: ignore[type-arg]
    """Modules of installed libraries that loading brought in: what a template does well to have beforehand."""
    prefixes = tuple({sys.prefix, sys.base_prefix})
    names = []
    for name in sorted(set(sys.modules) - known):
        module = sys.modules.get(name)
        file = getattr(module, "__file__", None)
        if file and os.path.abspath(file).startswith(prefixes) and not name.startswith("moorage"):
            names.append(name)
    return names


def become_replica(config: Dict[str, Any], environment: Dict[str, str]) -> None:
    """Run and leave, without the cleanup of the process that this one was forked from."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    code = 1
    try:
        code = run(config, environment)
    except BaseException:  # noqa: BLE001  the last word of a fork
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
