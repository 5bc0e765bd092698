"""OpenAI's Responses API over models that take chat completions. Nothing is kept between requests.

Source: OpenAI API reference, responses, create.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moorage.api.errors import BadRequest
from moorage.external.chat_reading import called_functions, choices_in, message_of, spoken_in
from moorage.external.exchange import Document, UnreadableAnswer
from moorage.external.responses_input import messages_of
from moorage.external.responses_output import (
    ItemKind,
    Output,
    ResponseIds,
    response_document,
    response_usage,
    status_after,
)

_TAKEN_AS_THEY_ARE = ("temperature", "top_p", "user", "stream")
_TRANSLATED = frozenset(
    {
        "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "text", "reasoning",
        "max_output_tokens", *_TAKEN_AS_THEY_ARE,
    }
)  # fmt: skip
_WITHOUT_EFFECT_ON_THE_ANSWER = frozenset(
    {
        "model", "metadata", "stream_options", "max_tool_calls", "truncation", "safety_identifier",
        "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention",
    }
)  # fmt: skip
_NOTHING_TO_INCLUDE = frozenset(
    {
        "web_search_call.action.sources", "code_interpreter_call.outputs", "computer_call_output.output.image_url",
        "file_search_call.results", "message.input_image.image_url", "reasoning.encrypted_content",
    }
)  # fmt: skip
"""What `include` may name although no answer has it: it belongs to tools that are refused, or to OpenAI alone."""


def refuse_kept_state(body: Mapping[str, Any]) -> None:
    """Refuse what needs answers that are kept, or OpenAI's own ways of processing.

    Raises:
        BadRequest: such a field is there; the message names it.
    """
    if body.get("background"):
        raise BadRequest("'background' must be false: answers are given at once.")
    if body.get("store"):
        raise BadRequest("'store' must be false: answers are not kept.")
    for field in ("conversation", "service_tier"):
        if body.get(field) is not None:
            raise BadRequest(f"'{field}' is not supported here: leave it out.")


def chat_body_of(body: Mapping[str, Any]) -> Document:
    """The body of chat completions that asks for the same.

    Raises:
        BadRequest: a field is not as it should be, or chat completions have nothing like it; the message names it.
    """
    refuse_kept_state(body)
    _refuse_others(body)
    chat: Document = {"messages": messages_of(body.get("input"), body.get("instructions"))}
    chat.update({field: body[field] for field in _TAKEN_AS_THEY_ARE if body.get(field) is not None})
    if body.get("max_output_tokens") is not None:
        chat["max_tokens"] = body["max_output_tokens"]
    if tools := _tools(body.get("tools")):
        chat["tools"] = tools
        if body.get("parallel_tool_calls") is not None:
            chat["parallel_tool_calls"] = body["parallel_tool_calls"]
    if (choice := _tool_choice(body.get("tool_choice"))) is not None:
        chat["tool_choice"] = choice
    text = _object(body, "text")
    if (form := _response_format(text.get("format"))) is not None:
        chat["response_format"] = form
    if text.get("verbosity") is not None:
        chat["verbosity"] = text["verbosity"]
    if (effort := _object(body, "reasoning").get("effort")) is not None:
        chat["reasoning_effort"] = effort
    return chat


def response_of(answer: Document, body: Mapping[str, Any], ids: ResponseIds) -> Document:
    """The response in a chat answer to what `chat_body_of(body)` asks.

    Raises:
        UnreadableAnswer: the answer is not one of chat completions.
    """
    choices = choices_in(answer)
    if not choices:
        raise UnreadableAnswer("the answer has no choice")
    message = message_of(choices[0])
    spoken = spoken_in(message)
    output = Output(ids)
    for kind, text in (
        (ItemKind.REASONING, spoken.reasoning),
        (ItemKind.TEXT, spoken.text),
        (ItemKind.REFUSAL, spoken.refusal),
    ):
        if text:
            output.add(kind).pieces.append(text)
    for call in called_functions(message):
        output.add_call(call.id, call.name).pieces.append(call.arguments)
    status, details = status_after(choices[0].get("finish_reason"))
    response = response_document(ids, body, str(answer.get("model", "")), status, output.documents(status))
    response["incomplete_details"] = details
    response["usage"] = response_usage(answer.get("usage"))
    return response


def _refuse_others(body: Mapping[str, Any]) -> None:
    include = body.get("include")
    if include is not None and not isinstance(include, list):
        raise BadRequest("'include' must be a list.")
    for index, name in enumerate(include or ()):
        if not isinstance(name, str) or name not in _NOTHING_TO_INCLUDE:
            raise BadRequest(f"'include[{index}]' is not supported by this model: leave it out.")
    if body.get("previous_response_id") is not None:
        raise BadRequest("'previous_response_id' must be left out: answers are not kept; give all items in 'input'.")
    metadata = _object(body, "metadata")
    if not all(isinstance(value, str) for value in metadata.values()):
        raise BadRequest("'metadata' must be an object of texts.")
    checked = {"background", "store", "include"}
    for field, value in body.items():
        known = field in _TRANSLATED or field in _WITHOUT_EFFECT_ON_THE_ANSWER or field in checked
        if not known and value is not None:
            raise BadRequest(f"'{field}' is not supported by this model in the Responses API: leave it out.")


def _object(body: Mapping[str, Any], field: str) -> Document:
    value = body.get(field)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadRequest(f"'{field}' must be an object.")
    return value


def _tools(tools: Any) -> list[Document]:
    if tools is None:
        return []
    if not isinstance(tools, list):
        raise BadRequest("'tools' must be a list.")
    return [_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools)]


def _tool(tool: Any, where: str) -> Document:
    if not isinstance(tool, dict) or not isinstance(tool.get("type"), str):
        raise BadRequest(f"'{where}' must be an object with 'type' 'function'.")
    if tool["type"] != "function":
        kind = tool["type"]
        raise BadRequest(f"'{where}.type' must be 'function': this model cannot use the built-in tool '{kind}'.")
    if not isinstance(tool.get("name"), str):
        raise BadRequest(f"'{where}.name' must be a text.")
    given = ("name", "description", "parameters", "strict")
    return {"type": "function", "function": {field: tool[field] for field in given if tool.get(field) is not None}}


def _tool_choice(choice: Any) -> Any:
    if choice is None or choice in ("none", "auto", "required"):
        return choice
    if isinstance(choice, dict) and choice.get("type") == "function" and isinstance(choice.get("name"), str):
        return {"type": "function", "function": {"name": choice["name"]}}
    raise BadRequest("'tool_choice' must be 'none', 'auto', 'required' or {'type': 'function', 'name': ...}.")


def _response_format(form: Any) -> Document | None:
    if form is None:
        return None
    kind = form.get("type") if isinstance(form, dict) else None
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": "json_object"}
    if kind != "json_schema":
        raise BadRequest("'text.format.type' must be one of 'text', 'json_object', 'json_schema'.")
    if not isinstance(form.get("name"), str):
        raise BadRequest("'text.format.name' must be a text.")
    if not isinstance(form.get("schema"), dict):
        raise BadRequest("'text.format.schema' must be a JSON schema.")
    given = ("name", "description", "schema", "strict")
    schema = {field: form[field] for field in given if form.get(field) is not None}
    return {"type": "json_schema", "json_schema": schema}
