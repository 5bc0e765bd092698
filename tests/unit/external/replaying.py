"""A real HTTP server that answers every POST with the same bytes, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from openai import OpenAI

EVENTS = "text/event-stream"
DOCUMENT = "application/json"


@contextmanager
def openai_client(pieces: Sequence[bytes], content_type: str) -> Iterator[tuple[OpenAI, list[tuple[str, Any]]]]:
    """OpenAI's own client of a server that answers with these pieces, and the paths and bodies that it sent."""
    asked: list[tuple[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((self.path, json.loads(body)))
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for piece in filter(None, pieces):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *arguments: Any) -> None:
            """Nothing on the standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        with OpenAI(api_key="key", base_url=url, max_retries=0, timeout=20) as client:
            yield client, asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
