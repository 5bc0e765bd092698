"""A provider that costs next to nothing: it answers every request with bytes that were recorded before.

`BENCHMARK_ANSWER` is the file of the whole answer, `BENCHMARK_EVENTS` that of the stream, of which each event is sent
on its own. A request streams when its body says `"stream":true`, with or without a space.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

Message = MutableMapping[str, Any]

_ANSWER = Path(os.environ["BENCHMARK_ANSWER"]).read_bytes()
_EVENTS = [event + b"\n\n" for event in Path(os.environ["BENCHMARK_EVENTS"]).read_bytes().split(b"\n\n") if event]
_JSON = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_ANSWER))]
_STREAM = [(b"content-type", b"text/event-stream")]


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Answer."""
    assert scope["type"] == "http"
    parts = []
    more = True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    body = b"".join(parts)
    if b'"stream":true' in body or b'"stream": true' in body:
        await send({"type": "http.response.start", "status": 200, "headers": _STREAM})
        for event in _EVENTS:
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    await send({"type": "http.response.start", "status": 200, "headers": _JSON})
    await send({"type": "http.response.body", "body": _ANSWER})
