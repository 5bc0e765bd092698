"""Queries to registered models on OpenAI's routes: what the model is asked, and its answers in OpenAI's form.

On `/invocations` a model's answers go out as they are. On the routes of chat completions and responses they get the
form that clients of these read, decided by the shape of each answer and not by the model's task: a chat completion,
what MLflow's `ChatAgent` answers, a bare text, a Responses object. What has none of these shapes goes out as it is.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import orjson

from moorage.api.errors import ApiError, BadRequest
from moorage.api.surfaces import Surface
from moorage.external.exchanges import error_document

Document = dict[str, Any]

STREAM_MEMBER = b'"stream"'
"""Where a body has none of this it asks for no stream, and need not be read."""

_NOT_MODELS = ("model",)  # names the endpoint, and is not meant for the model


class ModelError(ApiError):
    """The error that a replica answered with."""

    def __init__(self, status: int, body: bytes) -> None:
        found = _parsed(body)
        extra: Document = found if isinstance(found, dict) else {}
        super().__init__(str(extra.pop("message", "The model failed.")))
        self.status = status
        self.error_code = str(extra.pop("error_code", "BAD_REQUEST"))
        self.extra = extra


def asks_for_stream(body: bytes) -> bool:
    """Whether `stream` is true at the top level of a JSON object. Cheap where it is not mentioned at all."""
    if STREAM_MEMBER not in body:
        return False
    found = _parsed(body)
    return isinstance(found, dict) and found.get("stream") is True


def body_for_model(surface: Surface, document: Document) -> bytes:
    """What is passed to a model of a body that named its endpoint: the same as `/invocations` would have got.

    A text as `input` of responses is the message of a user, as OpenAI says it; agents know messages alone.
    """
    passed = {name: value for name, value in document.items() if name not in _NOT_MODELS}
    if surface is Surface.RESPONSES and isinstance(passed.get("input"), str):
        passed["input"] = [{"role": "user", "content": passed["input"]}]
    return orjson.dumps(passed)


class AnswerForm:
    """An answer's way to a client of `/invocations`: nothing in it is changed. One of its own for each request."""

    surface: Surface | None = None

    def whole(self, status: int, body: bytes) -> bytes:
        """The body of an answer in one piece."""
        return body

    def event(self, piece: bytes) -> bytes:
        """The event for one object of the model's stream."""
        return b"data: " + piece + b"\n\n"

    def last(self) -> bytes:
        """The events that end a stream which has not failed."""
        return b"data: [DONE]\n\n"

    def failed(self, error: ApiError) -> bytes:
        """The event that ends a stream in its middle. It has what clients of every form look for."""
        return self.event(orjson.dumps(error_document(self.surface or Surface.CHAT, error)))


class SurfaceForm(AnswerForm):
    """On a route of OpenAI's errors have a member for its clients; answers are the model's own."""

    def __init__(self, surface: Surface, endpoint: str, request_id: str) -> None:
        self.surface = surface
        self._endpoint = endpoint
        self._request_id = request_id
        self._created = int(time.time())

    def whole(self, status: int, body: bytes) -> bytes:
        if status != 200:
            return orjson.dumps(error_document(self.surface, ModelError(status, body)))
        answer = self._answer(_parsed(body))
        return body if answer is None else orjson.dumps(answer)

    def _answer(self, found: Any) -> Document | None:
        """The answer in the form of the route, None where it has none to give."""
        return None


class ResponsesForm(SurfaceForm):
    """Responses objects get the members that every one has; events of a stream are the model's own."""

    def _answer(self, found: Any) -> Document | None:
        if not (isinstance(found, dict) and isinstance(found.get("output"), list)):
            return None
        head = {
            "id": f"resp_{self._request_id}",
            "object": "response",
            "created_at": self._created,
            "model": self._endpoint,
            "status": "completed",
        }
        return _with(head, found)

    def failed(self, error: ApiError) -> bytes:
        event = {"type": "error", "code": error.error_code, "param": None, "sequence_number": 0}
        return self.event(orjson.dumps({**event, **error_document(self.surface, error)}))


class ChatForm(SurfaceForm):
    """Chat completions and their chunks.

    Of an agent's messages the last of the assistant is the choice; all of them stay beside it. In a stream the texts
    of the assistant's messages follow each other, and what an agent says of its tools' results is no text of any.
    """

    def __init__(self, surface: Surface, endpoint: str, request_id: str) -> None:
        super().__init__(surface, endpoint, request_id)
        self._speaking = False
        self._translated = False
        self._finished = False
        self._calls: dict[str, int] = {}

    def _answer(self, found: Any) -> Document | None:
        found = _only(found)
        head = self._head("chat.completion")
        if isinstance(found, str):
            found = {"messages": [{"role": "assistant", "content": found}]}
        elif isinstance(found, dict) and isinstance(found.get("content"), str):
            found = {"messages": [found]}
        elif not isinstance(found, dict):
            return None
        if isinstance(found.get("choices"), list):
            return _with(head, found)
        messages = found.get("messages")
        if not (isinstance(messages, list) and messages and all(isinstance(one, dict) for one in messages)):
            return None
        said = [one for one in messages if one.get("role", "assistant") == "assistant"] or messages
        message = {"role": "assistant", "content": said[-1].get("content")}
        calls = said[-1].get("tool_calls")
        if calls:
            message["tool_calls"] = calls
        reason = found.get("finish_reason") or ("tool_calls" if calls else "stop")
        choices = [{"index": 0, "message": message, "finish_reason": reason, "logprobs": None}]
        return {**head, "choices": choices, **{k: v for k, v in found.items() if k != "finish_reason"}}

    def event(self, piece: bytes) -> bytes:
        found = _only(_parsed(piece))
        if isinstance(found, str):
            found = {"delta": {"content": found}}
        elif isinstance(found, dict) and isinstance(found.get("content"), str):
            found = {"delta": found}
        elif not isinstance(found, dict):
            return super().event(piece)
        if isinstance(found.get("choices"), list):
            found = _with(self._head("chat.completion.chunk"), found)
        elif isinstance(found.get("delta"), dict):
            found = self._chunk(found)
        else:
            return super().event(piece)
        return super().event(orjson.dumps(found))

    def last(self) -> bytes:
        if not self._translated or self._finished:
            return super().last()
        return super().event(orjson.dumps(self._chunk({"delta": {}, "finish_reason": "stop"}))) + super().last()

    def _chunk(self, found: Document) -> Document:
        """A chunk of a completion from one of an agent."""
        self._translated = True
        said = found["delta"]
        rest = {name: value for name, value in found.items() if name not in ("delta", "finish_reason")}
        delta: Document = {}
        if said.get("role", "assistant") != "assistant":
            rest["delta"] = said
        else:
            if not self._speaking:
                self._speaking = True
                delta["role"] = "assistant"
            if said.get("content") is not None:
                delta["content"] = said["content"]
            if isinstance(said.get("tool_calls"), list):
                delta["tool_calls"] = [self._call(one) for one in said["tool_calls"]]
        reason = found.get("finish_reason")
        self._finished = self._finished or reason is not None
        choices = [{"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}]
        return {**self._head("chat.completion.chunk"), "choices": choices, **rest}

    def _call(self, call: Any) -> Any:
        """A tool call with its number in the stream, by which clients put its pieces together."""
        if not isinstance(call, dict) or "index" in call:
            return call
        return {"index": self._calls.setdefault(str(call.get("id")), len(self._calls)), **call}

    def _head(self, kind: str) -> Document:
        return {
            "id": f"chatcmpl-{self._request_id}",
            "object": kind,
            "created": self._created,
            "model": self._endpoint,
        }


def answer_form(surface: Surface | None, endpoint: str, request_id: str) -> AnswerForm:
    """How the answers of a registered model get to this client.

    Raises:
        BadRequest: they have no form that clients of this route could read.
    """
    if surface is None:
        return AnswerForm()
    if surface is Surface.MESSAGES:
        raise BadRequest(
            f"Endpoint '{endpoint}' serves a registered model, which does not answer in the form of Anthropic's"
            " messages: use chat completions, responses or its invocations."
        )
    kinds = {Surface.CHAT: ChatForm, Surface.RESPONSES: ResponsesForm}
    return kinds.get(surface, SurfaceForm)(surface, endpoint, request_id)


def _with(head: Mapping[str, Any], found: Document) -> Document:
    """`found`, with the members of `head` that it lacks before its own."""
    return {**head, **{name: value for name, value in found.items() if value is not None or name not in head}}


def _only(found: Any) -> Any:
    """The one answer to one query, where the model takes and gives lists of them, as chains do."""
    return found[0] if isinstance(found, list) and len(found) == 1 else found


def _parsed(body: bytes) -> Any:
    """None where it is not JSON."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
