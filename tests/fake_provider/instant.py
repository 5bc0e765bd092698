"""Chat completions that cost next to nothing, for measurements: bytes made once, and no look at the request."""

from __future__ import annotations

from .control import Script
from .delivery import Receive, Send
from .openai_chat import completed
from .talk import Ask
from .wire import Plain, Stream

PATH = "/v1/chat/completions"
CHUNKS = 50
_BODY = {"model": "instant", "messages": []}
_ASK = Ask(texts=["Hello"], last_user="Hello")
_SCRIPT = Script(chunks=CHUNKS)


def _whole() -> Plain:
    reply = completed(_BODY, _ASK, _SCRIPT)
    assert isinstance(reply, Plain)
    return reply


def _stream() -> Stream:
    reply = completed({**_BODY, "stream": True, "stream_options": {"include_usage": True}}, _ASK, _SCRIPT)
    assert isinstance(reply, Stream)
    return reply


_ANSWER = _whole().body
_START = {
    "type": "http.response.start", "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(_ANSWER)).encode())],
}  # fmt: skip
_END = {"type": "http.response.body", "body": _ANSWER}
_STREAM_START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
_EVENTS = [{"type": "http.response.body", "body": event, "more_body": True} for event in _stream().events]
_STREAM_END = {"type": "http.response.body", "body": b"", "more_body": False}


async def answer(receive: Receive, send: Send) -> None:
    """Answer a chat completion; it streams when the body says `"stream": true` in so many letters."""
    message = await receive()
    body = message.get("body", b"")
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
    if b'"stream":true' in body or b'"stream": true' in body:
        await send(_STREAM_START)
        for event in _EVENTS:
            await send(event)
        await send(_STREAM_END)
        return
    await send(_START)
    await send(_END)
