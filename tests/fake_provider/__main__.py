"""Serve the fake provider: `python -m tests.fake_provider --port 18100` from the root of the repository.

Says its address in one line when it is ready. With `--while-stdin` it ends when its standard input does, and so with
the process that started it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import threading
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .app import FakeProvider
from .control import Script
from .delivery import TRANSPORT

_BACKLOG = 1024
_STOP_SECONDS = 1


def _protocol(app: FakeProvider) -> type[asyncio.Protocol]:
    """The server's protocol, which lets the application at the connection and counts connections."""

    class Protocol(HttpToolsProtocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            app.ledger.connections += 1

        def connection_lost(self, exc: Exception | None) -> None:
            app.ledger.connections -= 1
            super().connection_lost(exc)

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self.scope["extensions"] = {TRANSPORT: self.transport}  # type: ignore[dict-item]

    return Protocol


def _stop_with_stdin(server: uvicorn.Server) -> None:
    while os.read(0, 1024):
        pass
    server.should_exit = True


def main() -> None:
    parser = argparse.ArgumentParser(prog="fake_provider", description="A scripted stand-in for providers of models.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument(
        "--instant", action="store_true", help="OpenAI's chat costs next to nothing and is not looked at"
    )
    parser.add_argument("--while-stdin", action="store_true", help="end when the standard input does")
    options = parser.parse_args()
    app = FakeProvider()
    app.script = Script(instant=options.instant)
    listening = socket.create_server((options.host, options.port), backlog=_BACKLOG)
    config = uvicorn.Config(
        app, loop="uvloop", http=_protocol(app), ws="none", lifespan="off", log_level="error", access_log=False,
        server_header=False, date_header=False, timeout_graceful_shutdown=_STOP_SECONDS, timeout_keep_alive=75,
    )  # fmt: skip
    server = uvicorn.Server(config)
    if options.while_stdin:
        threading.Thread(target=_stop_with_stdin, args=(server,), daemon=True).start()
    print(f"The fake provider is ready at http://{options.host}:{listening.getsockname()[1]}", flush=True)
    server.run(sockets=[listening])


if __name__ == "__main__":
    main()
