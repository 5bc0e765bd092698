"""Does as `vllm serve` does, as far as its engine looks: a server on a socket, and a worker that outlives it."""

from __future__ import annotations

import argparse
import http.server
import os
import signal
import socketserver
import subprocess
import sys
import threading
import time
from pathlib import Path

state = {"running": 0}


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class Handler(http.server.BaseHTTPRequestHandler):
    def address_string(self) -> str:
        return "engine"

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        running = f'vllm:num_requests_running{{engine="0"}} {state["running"]}.0\n'
        waiting = 'vllm:num_requests_waiting{engine="0"} 0.0\n'
        self._answer(running + waiting if self.path == "/metrics" else "")

    def do_POST(self) -> None:
        state["running"] += 1
        time.sleep(float(os.environ.get("FAKE_SECONDS", "0")))
        self._answer("done")
        state["running"] -= 1

    def _answer(self, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("verb")
    parser.add_argument("model")
    parser.add_argument("--uds")
    arguments, _ = parser.parse_known_args()
    Path("arguments.txt").write_text("\n".join(sys.argv[1:]))
    if os.environ.get("FAKE_FAILURE"):
        print("INFO starting")
        print("ValueError: the model needs 99 GiB of memory", flush=True)
        print("INFO leaving", flush=True)
        raise SystemExit(7)
    worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path("pids.txt").write_text(f"{os.getpid()} {worker.pid}")

    def leave(*_: object) -> None:
        Path("asked-to-leave.txt").write_text("")
        worker.terminate()
        worker.wait()
        os._exit(0)

    signal.signal(signal.SIGTERM, leave)
    if os.environ.get("FAKE_NOISE"):
        for number in range(20_000):
            print(f"line {number} of what nobody reads", flush=number % 100 == 0)
    if os.environ.get("FAKE_SLOW"):
        time.sleep(600)
    server = Server(arguments.uds, Handler)
    threading.Thread(target=server.serve_forever).start()
    signal.pause()


if __name__ == "__main__":
    main()
