"""`python -m moorage.tables --workspace-id ID`: writes the inference tables and system tables until SIGTERM."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import logging
import os
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from moorage.datadir import DataDirectory
from moorage.settings import Settings
from moorage.tables.bodies import Redaction
from moorage.tables.location import TablePlace
from moorage.tables.writer import Engine, Round, TableWriter

_logger = logging.getLogger("moorage.tables")

LOOK_SECONDS = 1.0
COMMIT_SECONDS = 3.0
"""At the least between two rounds that write: each commit makes a file in every table."""
_LAST_ROUNDS_SECONDS = 5.0
_LOCK_SECONDS = 0.1


def write_for_ever(writer: TableWriter, stop: threading.Event) -> None:
    """Rounds until `stop`, then those that are left, as many as begin within 5 s."""
    while not stop.is_set():
        done = _round(writer, in_haste=False)
        pause = COMMIT_SECONDS if done.commits else LOOK_SECONDS
        stop.wait(0 if done.more and done.commits else pause)
    deadline = time.monotonic() + _LAST_ROUNDS_SECONDS
    more = True
    while more and time.monotonic() < deadline:
        done = _round(writer, in_haste=True)
        more = done.more and done.commits > 0


def _round(writer: TableWriter, *, in_haste: bool) -> Round:
    try:
        return writer.round(in_haste=in_haste)
    except OSError as error:
        _logger.error("the spool cannot be read: %s", error)
        return Round(commits=0, more=False)


@contextlib.contextmanager
def _alone(spool: Path, stop: threading.Event) -> Iterator[bool]:
    """Hold the spool, as soon as nobody else does; False when `stop` came first. Two that wrote at once would only
    be in each other's way."""
    spool.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(spool / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        held = False
        while not held and not stop.is_set():
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held = True
            if not held:
                stop.wait(_LOCK_SECONDS)
        yield held
    finally:
        os.close(descriptor)


def spool_id(spool: Path) -> str:
    """The name of this spool in the tables' transactions, made once; whoever calls holds the spool.

    Raises:
        OSError: it cannot be read or written.
    """
    path = spool / "id"
    with contextlib.suppress(FileNotFoundError):
        return path.read_text().strip()
    name = secrets.token_hex(8)
    new = spool / "id.tmp"
    new.write_text(f"{name}\n")
    os.replace(new, path)
    return name


def main() -> None:
    """Write with the settings of the environment."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--workspace-id", default="")
    arguments = parser.parse_args()
    settings = Settings()
    logging.basicConfig(level=settings.log_level, format="%(levelname)s %(name)s: %(message)s")
    os.umask(0o077)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    data = DataDirectory(settings.data_dir)
    place = TablePlace.of(settings, data)

    with _alone(data.spool, stop) as held:
        if not held:
            return
        application = f"moorage/{spool_id(data.spool)}"

        def load_engine() -> Engine:
            # Delta and Arrow take most of this process's memory: a server without a table goes without them.
            from moorage.tables.engine import delta_engine

            redaction = Redaction(settings.payload_redact_keys)
            return delta_engine(place, arguments.workspace_id, redaction, application)

        writer = TableWriter(
            data.spool,
            data.tables_status,
            place,
            load_engine,
            most_bytes=settings.spool_max_bytes,
            clock=time.monotonic,
            now=lambda: time.time_ns() // 1_000_000,
        )
        write_for_ever(writer, stop)


if __name__ == "__main__":
    main()
