"""The events of OpenAI's Responses API, from the chunks of a chat stream.

Source: OpenAI API reference, responses, streaming events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from moorage.external.chat_reading import CalledFunction, called_functions, choices_in, delta_of, spoken_in
from moorage.external.exchange import Document, UnreadableAnswer
from moorage.external.responses_output import (
    Item,
    ItemKind,
    Output,
    ResponseIds,
    response_document,
    response_usage,
    status_after,
)


class ResponseEvents:
    """The event stream of one response. Each method gives the bytes to send next.

    Words close what the model said before; calls of functions stay open together until the model ends, since
    providers may send their pieces in turns.
    """

    def __init__(self, body: Mapping[str, Any], ids: ResponseIds) -> None:
        self._body = body
        self._ids = ids
        self._model = ""
        self._output = Output(ids)
        self._speaking: Item | None = None
        self._calls: dict[int, Item] = {}
        self._open_calls: list[Item] = []
        self._finish_reason: Any = None
        self._usage: Document | None = None
        self._started = False
        self._over = False
        self._number = 0
        self._events: list[bytes] = []

    def feed(self, chunks: Iterable[Document]) -> bytes:
        """What these chunks, of one choice each, add to the response.

        Raises:
            UnreadableAnswer: a chunk is not one of chat completions.
        """
        for chunk in chunks:
            self._take(chunk)
        return self._sent()

    def end(self) -> bytes:
        """The end of a response whose model has said all it had to."""
        if self._over:
            return b""
        self._over = True
        self._start()
        status, details = status_after(self._finish_reason)
        self._close_all(status)
        response = self._response(status, self._output.documents(status))
        response["incomplete_details"] = details
        response["usage"] = self._usage
        self._event(f"response.{status}", response=response)
        return self._sent()

    def error(self, status: int, message: str) -> bytes:
        """The end of a response that failed, as with that HTTP status."""
        if self._over:
            return b""
        self._over = True
        self._start()
        response = self._response("failed", self._output.documents("incomplete"))
        response["error"] = {"code": _error_code(status), "message": message}
        response["usage"] = self._usage
        self._event("response.failed", response=response)
        return self._sent()

    def _take(self, chunk: Document) -> None:
        if not self._model and isinstance(chunk.get("model"), str):
            self._model = chunk["model"]
        self._start()
        self._usage = response_usage(chunk.get("usage")) or self._usage
        for choice in choices_in(chunk):
            if choice.get("index", 0) != 0 or self._finish_reason is not None:
                continue
            delta = delta_of(choice)
            spoken = spoken_in(delta)
            self._say(ItemKind.REASONING, spoken.reasoning)
            self._say(ItemKind.TEXT, spoken.text)
            self._say(ItemKind.REFUSAL, spoken.refusal)
            for call in called_functions(delta):
                self._call(call)
            if choice.get("finish_reason") is not None:
                self._finish_reason = choice["finish_reason"]
                self._close_all(status_after(self._finish_reason)[0])

    def _start(self) -> None:
        if not self._started:
            self._started = True
            for name in ("response.created", "response.in_progress"):
                self._event(name, response=self._response("in_progress", []))

    def _say(self, kind: ItemKind, text: str) -> None:
        if not text:
            return
        item = self._speaking
        if item is None or item.kind is not kind:
            self._fall_silent("completed")
            item = self._speaking = self._output.add(kind)
            self._event("response.output_item.added", output_index=item.position, item=item.begun())
            self._event("response.content_part.added", **_place(item), part=item.part(""))
        self._add(item, text)

    def _call(self, piece: CalledFunction) -> None:
        self._fall_silent("completed")
        index = max(self._calls, default=0) if piece.index is None else piece.index
        item = self._calls.get(index)
        # Some servers give whole calls one after the other, all with the same index or with none.
        if item is None or (piece.id and piece.name and piece.id != item.call_id):
            if not piece.name:
                raise UnreadableAnswer("a tool call of the stream begins without the name of a function")
            item = self._calls[index] = self._output.add_call(piece.id, piece.name)
            self._open_calls.append(item)
            self._event("response.output_item.added", output_index=item.position, item=item.begun())
        if piece.arguments:
            self._add(item, piece.arguments)

    def _add(self, item: Item, text: str) -> None:
        item.pieces.append(text)
        self._event(f"{item.kind.events}.delta", **_place(item), delta=text, **_logprobs(item))

    def _fall_silent(self, status: str) -> None:
        item, self._speaking = self._speaking, None
        if item is None:
            return
        text = {item.kind.text_field: item.text}
        self._event(f"{item.kind.events}.done", **_place(item), **text, **_logprobs(item))
        self._event("response.content_part.done", **_place(item), part=item.part(item.text))
        self._event("response.output_item.done", output_index=item.position, item=item.document(status))

    def _close_all(self, status: str) -> None:
        """Ends every item; what is incomplete is the last one."""
        last = len(self._output.items) - 1
        open_calls, self._open_calls = self._open_calls, []
        for item in open_calls:
            self._event(f"{item.kind.events}.done", **_place(item), name=item.name, arguments=item.text)
            document = item.document(status if item.position == last else "completed")
            self._event("response.output_item.done", output_index=item.position, item=document)
        self._fall_silent(status)

    def _response(self, status: str, output: list[Document]) -> Document:
        return response_document(self._ids, self._body, self._model, status, output)

    def _event(self, kind: str, /, **fields: Any) -> None:
        document = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        self._events.append(b"event: %s\ndata: %s\n\n" % (kind.encode(), orjson.dumps(document)))

    def _sent(self) -> bytes:
        events, self._events = self._events, []
        return b"".join(events)


def _place(item: Item) -> Document:
    place: Document = {"item_id": item.id, "output_index": item.position}
    if item.kind is not ItemKind.CALL:
        place["content_index"] = 0
    return place


def _logprobs(item: Item) -> Document:
    return {"logprobs": []} if item.kind is ItemKind.TEXT else {}


def _error_code(status: int) -> str:
    """The code among those of the API that comes nearest."""
    if status == 429:
        return "rate_limit_exceeded"
    return "invalid_prompt" if 400 <= status < 500 else "server_error"
