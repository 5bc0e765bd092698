"""Whether the server is ready, asked through its own port as a client would."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from urllib.parse import urlsplit

_TIMEOUT_SECONDS = 5.0
_LONGEST_ANSWER = 64 * 1024


@dataclass(frozen=True, slots=True)
class Health:
    """`reason` says in words what is missing; empty when ready."""

    ready: bool
    reason: str = ""


async def fetch_health(base_url: str, timeout_seconds: float = _TIMEOUT_SECONDS) -> Health:
    """`GET /health` of the server at `base_url`, plain HTTP. Never raises: no answer is a reason too."""
    try:
        async with asyncio.timeout(timeout_seconds):
            status, body = await _get(base_url, "/health")
    except TimeoutError:
        return Health(False, "the gateway does not answer yet")
    except (OSError, ValueError) as error:
        return Health(False, f"the gateway does not answer yet ({error})")
    try:
        document = json.loads(body)
    except ValueError:
        return Health(False, f"/health answered {status} without a JSON document")
    if not isinstance(document, dict):
        return Health(False, f"/health answered {status} without a JSON object")
    if status == 200 and document.get("status") == "ready":
        return Health(True)
    components = document.get("components")
    if isinstance(components, dict) and components:
        missing = (f"{name} {word}" for name, word in components.items() if word != "ok")
        return Health(False, ", ".join(missing))
    return Health(False, f"/health answered {status}: {document.get('status', 'no status')}")


async def _get(base_url: str, path: str) -> tuple[int, bytes]:
    """One HTTP/1.0 exchange: the connection's end is the body's end, so there is no framing to read."""
    url = urlsplit(base_url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port or 80)
    try:
        writer.write(f"GET {path} HTTP/1.0\r\nHost: {url.netloc}\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        answer = b""
        while len(answer) < _LONGEST_ANSWER:
            chunk = await reader.read(_LONGEST_ANSWER)
            if not chunk:
                break
            answer += chunk
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(None, 2)
    if len(words) < 2 or not words[1].isdigit():
        raise ValueError("no HTTP answer")
    return int(words[1]), body
