"""Anthropic's Messages API over models that take chat completions.

Source: Anthropic API reference, messages, create; streaming messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from moorage.api.errors import BadRequest
from moorage.external.anthropic_wire import RedactedThinkingBlock, TextBlock, ThinkingBlock
from moorage.external.chat_reading import CalledFunction, called_functions, choices_in, delta_of
from moorage.external.chat_reading import message_of as message_in
from moorage.external.exchange import Document, UnreadableAnswer
from moorage.external.messages_input import messages_of, text_field
from moorage.external.messages_output import error_document, message_document, stop_reason, usage_of, words_in

_TAKEN_AS_THEY_ARE = ("temperature", "top_p", "top_k")
_BUDGETS = ((2048, "low"), (8192, "medium"))
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def chat_body_of(body: Mapping[str, Any]) -> Document:
    """The body of chat completions that asks for the same. Marks for caches are left out.

    Raises:
        BadRequest: a field is not as it should be, or chat completions have nothing like it; the message names it.
    """
    for name in ("container", "mcp_servers"):
        if body.get(name):
            raise BadRequest(f"'{name}' cannot be passed on to this model: leave it out.")
    limit = body.get("max_tokens")
    if type(limit) is not int or limit < 1:
        raise BadRequest("'max_tokens' must be an integer of at least 1.")
    chat: Document = {"max_tokens": limit, "messages": messages_of(body.get("system"), body.get("messages"))}
    chat.update({name: body[name] for name in _TAKEN_AS_THEY_ARE if body.get(name) is not None})
    stop = body.get("stop_sequences")
    if stop is not None and not (isinstance(stop, list) and all(isinstance(sequence, str) for sequence in stop)):
        raise BadRequest("'stop_sequences' must be a list of texts.")
    if stop:
        chat["stop"] = stop
    if tools := _tools(body.get("tools")):
        chat.update(tools=tools, **_tool_choice(body.get("tool_choice")))
    chat.update(_thinking(body))
    if (schema := _output_schema(body)) is not None:
        chat["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    metadata = body.get("metadata")
    if isinstance(metadata, dict) and isinstance(metadata.get("user_id"), str):
        chat["user"] = metadata["user_id"]
    if body.get("stream"):
        chat.update(stream=True, stream_options={"include_usage": True})
    return chat


def _tools(tools: Any) -> list[Document]:
    if tools is not None and not isinstance(tools, list):
        raise BadRequest("'tools' must be a list.")
    return [_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools or ())]


def _tool(tool: Any, where: str) -> Document:
    if not isinstance(tool, dict) or not isinstance(tool.get("input_schema"), dict | None):
        raise BadRequest(f"'{where}' must be an object with 'name' and 'input_schema'.")
    if tool.get("type") not in (None, "custom"):
        raise BadRequest(f"'{where}.type' must be 'custom': this model has no tools of Anthropic's own.")
    function: Document = {"name": text_field(tool, "name", where)}
    if isinstance(tool.get("description"), str):
        function["description"] = tool["description"]
    function["parameters"] = tool.get("input_schema") or {"type": "object", "properties": {}}
    return {"type": "function", "function": function}


def _tool_choice(choice: Any) -> Document:
    if choice is None:
        return {}
    kind = choice.get("type") if isinstance(choice, dict) else None
    chat: Document = {}
    if kind == "tool":
        chat["tool_choice"] = {"type": "function", "function": {"name": text_field(choice, "name", "tool_choice")}}
    elif isinstance(kind, str) and kind in _CHOICES:
        chat["tool_choice"] = _CHOICES[kind]
    else:
        raise BadRequest("'tool_choice.type' must be 'auto', 'any', 'tool' or 'none'.")
    if choice.get("disable_parallel_tool_use"):
        chat["parallel_tool_calls"] = False
    return chat


def _thinking(body: Mapping[str, Any]) -> Document:
    """`reasoning_effort`, where an effort or a budget was asked for: many models know neither."""
    effort = _output_config(body).get("effort")
    if isinstance(effort, str):
        return {"reasoning_effort": effort}
    match body.get("thinking"):
        case {"type": "enabled", "budget_tokens": int(budget)}:
            return {"reasoning_effort": next((effort for most, effort in _BUDGETS if budget <= most), "high")}
    return {}


def _output_schema(body: Mapping[str, Any]) -> Document | None:
    form = _output_config(body).get("format")
    if form is None:
        return None
    schema = form.get("schema") if isinstance(form, dict) and form.get("type") == "json_schema" else None
    if not isinstance(schema, dict):
        raise BadRequest("'output_config.format' must be an object with 'type' 'json_schema' and 'schema'.")
    return schema


def _output_config(body: Mapping[str, Any]) -> Mapping[str, Any]:
    config = body.get("output_config")
    if config is not None and not isinstance(config, dict):
        raise BadRequest("'output_config' must be an object.")
    return config or {}


def message_of(chat: Mapping[str, Any]) -> Document:
    """The message for an answer of chat completions; of several choices it is the first.

    Raises:
        UnreadableAnswer: it is not an answer of chat completions.
    """
    choices = choices_in(chat)
    if not choices:
        raise UnreadableAnswer("the answer has no 'choices'")
    message, reason = message_in(choices[0]), choices[0].get("finish_reason")
    content: list[Document] = [{"type": _kind(words), **words.model_dump()} for words in words_in(message)]
    calls = called_functions(message)
    for number, call in enumerate(calls):
        arguments = _arguments(call)
        if arguments is not None:
            content.append({"type": "tool_use", "id": _id(call, number), "name": call.name, "input": arguments})
        elif reason != "length":  # what the limit cut off is no call, as the reason tells
            raise UnreadableAnswer(f"the arguments for '{call.name}' are not a JSON object")
    return message_document(chat, content, stop_reason(reason, tool_calls=bool(calls)), usage_of(chat.get("usage")))


def _arguments(call: CalledFunction) -> Document | None:
    try:
        arguments = orjson.loads(call.arguments or "{}")
    except orjson.JSONDecodeError:
        return None
    return arguments if isinstance(arguments, dict) else None


def _kind(words: TextBlock | ThinkingBlock | RedactedThinkingBlock) -> str:
    match words:
        case TextBlock():
            return "text"
        case ThinkingBlock():
            return "thinking"
    return "redacted_thinking"


def _id(call: CalledFunction, number: int) -> str:
    """Some servers name no calls, but clients answer them by their ids."""
    return call.id or f"toolu_{number}"


@dataclass(slots=True)
class _Call:
    """A tool call of a stream. `pieces` are of its arguments, as long as it waits for its turn."""

    id: str
    name: str
    pieces: list[str] = field(default_factory=list)
    over: bool = False


class MessageEvents:
    """The event stream of one message. Each method gives the bytes to send next.

    Blocks follow each other: clients of this API may rely on that. Providers may send the pieces of several tool
    calls in turns, so only the first call goes out as it comes; the others wait for the end.
    """

    def __init__(self) -> None:
        self._started = False
        self._over = False
        self._blocks = 0
        self._open = ""  # the type of the block that is open
        self._calls: dict[int, _Call] = {}
        self._current: _Call | None = None
        self._waiting: list[_Call] = []
        self._called = 0
        self._finish_reason: Any = None
        self._usage: Any = None
        self._events: list[bytes] = []

    def feed(self, chunks: Iterable[Document]) -> bytes:
        """What these chunks add; of several choices the first counts.

        Raises:
            UnreadableAnswer: a chunk is not one of chat completions.
        """
        for chunk in chunks:
            self._take(chunk)
        return self._sent()

    def end(self) -> bytes:
        """The end of a message whose model has said all it had to."""
        if self._over:
            return b""
        self._over = True
        self._start({})
        self._end_calls()
        self._close()
        reason = stop_reason(self._finish_reason, tool_calls=bool(self._called))
        delta = {"stop_reason": reason, "stop_sequence": None}
        self._event("message_delta", delta=delta, usage=usage_of(self._usage))
        self._event("message_stop")
        return self._sent()

    def error(self, status: int, message: str) -> bytes:
        """The end of a message that failed, as with that HTTP status."""
        if self._over:
            return b""
        self._over = True
        self._event("error", error=error_document(status, message)["error"])
        return self._sent()

    def _take(self, chunk: Document) -> None:
        self._start(chunk)
        self._usage = chunk.get("usage") or self._usage
        for choice in choices_in(chunk):
            if choice.get("index", 0) != 0:
                continue
            delta = delta_of(choice)
            for words in words_in(delta):
                self._say(words)
            for piece in called_functions(delta):
                self._call(piece)
            self._finish_reason = choice.get("finish_reason") or self._finish_reason

    def _start(self, chunk: Document) -> None:
        if not self._started:
            self._started = True
            self._event("message_start", message=message_document(chunk, [], None, usage_of(chunk.get("usage"))))

    def _say(self, words: TextBlock | ThinkingBlock | RedactedThinkingBlock) -> None:
        self._end_calls()
        match words:
            case TextBlock(text=text):
                self._open_block("text", text="")
                self._delta("text_delta", text=text)
            case ThinkingBlock(thinking=thinking, signature=signature):
                self._open_block("thinking", thinking="", signature="")
                if thinking:
                    self._delta("thinking_delta", thinking=thinking)
                if signature:
                    self._delta("signature_delta", signature=signature)
                    self._close()
            case RedactedThinkingBlock(data=data):
                self._open_block("redacted_thinking", data=data)
                self._close()

    def _call(self, piece: CalledFunction) -> None:
        index = max(self._calls, default=0) if piece.index is None else piece.index
        call = self._calls.get(index)
        # Some servers give whole calls one after the other, all with the same index or with none.
        if call is None or (piece.id and piece.name and piece.id != call.id):
            if not piece.name:
                raise UnreadableAnswer("a tool call of the stream begins without the name of a function")
            call = self._calls[index] = _Call(_id(piece, self._called), piece.name)
            self._called += 1
            if self._current is None:
                self._begin(call)
            else:
                self._waiting.append(call)
        if call.over:
            raise UnreadableAnswer("the stream has arguments of a tool call that is over")
        if call is not self._current:
            call.pieces.append(piece.arguments)
        elif piece.arguments:
            self._delta("input_json_delta", partial_json=piece.arguments)

    def _begin(self, call: _Call) -> None:
        self._close()
        self._current = call
        self._open_block("tool_use", id=call.id, name=call.name, input={})

    def _end_calls(self) -> None:
        if self._current is None:
            return
        self._current.over = True
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            self._begin(call)
            call.over = True
            if arguments := "".join(call.pieces):
                self._delta("input_json_delta", partial_json=arguments)
        self._close()
        self._current = None

    def _open_block(self, kind: str, **fields: Any) -> None:
        if self._open != kind:
            self._close()
            self._open = kind
            self._event("content_block_start", index=self._blocks, content_block={"type": kind, **fields})

    def _close(self) -> None:
        if self._open:
            self._event("content_block_stop", index=self._blocks)
            self._blocks += 1
            self._open = ""

    def _delta(self, kind: str, **fields: Any) -> None:
        self._event("content_block_delta", index=self._blocks, delta={"type": kind, **fields})

    def _event(self, kind: str, /, **fields: Any) -> None:
        self._events.append(b"event: %s\ndata: %s\n\n" % (kind.encode(), orjson.dumps({"type": kind, **fields})))

    def _sent(self) -> bytes:
        events, self._events = self._events, []
        return b"".join(events)
