"""Requests to engines of this machine: fields are checked, and those that engines know are sent.

Engines take wrong values for none, or answer with a status 500; so everything is looked at here. Fields that nobody
knows are left out.
Sources: Databricks documentation, Foundation Model REST API; OpenAI API reference; llama.cpp, server; vLLM,
OpenAI-compatible server.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moorage.api.engines import Engine
from moorage.api.errors import BadRequest
from moorage.external import chat_bodies
from moorage.external.chat_answers import tool_call
from moorage.external.chat_bodies import Function, ImagePart, Message, Role
from moorage.external.engine_tools import call_format, call_instructions, forced_functions
from moorage.external.exchange import Document, Target

_MOST_CHOICES = 5
_MOST_TOOLS = 32
_MOST_STOPS = 16
_MOST_PROMPTS = 128
_MOST_TOKENS = (1 << 31) - 1  # what llama.cpp reads into 32 bits
_SEED_BITS = (1 << 31) - 1  # -1 and the largest of 32 bits stand for no seed there
_MOST_LOGPROBS = 20
_NOTHING_FOR = {
    "functions": None,
    "function_call": None,
    "audio": None,
    "modalities": ["text"],
    "web_search_options": None,
}
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
_ERROR_BEHAVIOURS = ("error", "truncate")


def chat_body(target: Target, body: Mapping[str, Any]) -> Document:
    """The body of a chat request, but for what all have in common.

    Raises:
        BadRequest: the body is not one that the model could take; the message names the field.
    """
    chat_bodies.refuse_fields(body, _NOTHING_FOR, "this model")
    messages = [_message(message) for message in chat_bodies.messages(body)]
    functions = chat_bodies.functions(body)
    if len(functions) > _MOST_TOOLS:
        raise BadRequest(f"'tools' must hold at most {_MOST_TOOLS} functions, not {len(functions)}.")
    forced = forced_functions(body)
    request: Document = {**_sampling(target, body), **_chat_logprobs(body), "response_format": _response_format(body)}
    if forced:
        messages = _with_instructions(messages, call_instructions(forced))
        request["response_format"] = call_format(forced)
        request["stop"] = request["ignore_eos"] = None  # the call has its own end
    elif functions:
        request["tools"] = [_tool(function) for function in functions]
        request["tool_choice"] = body.get("tool_choice")
        request["parallel_tool_calls"] = _boolean(body, "parallel_tool_calls")
    effort = body.get("reasoning_effort")
    if effort is not None and effort not in _EFFORTS:
        raise BadRequest(f"'reasoning_effort' must be one of {', '.join(map(repr, _EFFORTS))}.")
    request["reasoning_effort"] = effort
    request["chat_template_kwargs"] = _object(body, "chat_template_kwargs")
    return {"messages": messages, **_given(request)}


def completion_body(target: Target, body: Mapping[str, Any]) -> Document:
    """The body of a completions request, but for what all have in common.

    Prompts go to the model as they are, whether `use_raw_prompt` says so or not. With `error_behavior` `truncate` an
    answer may be cut where the context ends, as it may without; a prompt that does not fit is refused in any case.

    Raises:
        BadRequest: the body is not one that the model could take; the message names the field.
    """
    if body.get("suffix"):
        raise BadRequest("'suffix' must be left out: this model writes on from a prompt, not between two texts.")
    if body.get("best_of") not in (None, 1):
        raise BadRequest("'best_of' must be 1: completions are not ranked; 'n' asks for more.")
    _boolean(body, "use_raw_prompt")
    if body.get("error_behavior") not in (None, *_ERROR_BEHAVIOURS):
        raise BadRequest("'error_behavior' must be 'truncate' or 'error'.")
    prompts = prompts_of(body)
    logprobs = _integer(body, "logprobs", 0, _MOST_LOGPROBS)
    if _boolean(body, "echo"):
        if logprobs is not None:
            raise BadRequest("'logprobs' must be left out with 'echo': there are none of the prompt.")
        if not all(isinstance(prompt, str) for prompt in prompts):
            raise BadRequest("'echo' must be false with a prompt of tokens.")
    request = _sampling(target, body)
    if logprobs is not None:
        request["logprobs"] = max(logprobs, 1)  # llama.cpp gives none at all for 0
    # For vLLM no limit is null; without the field it would be 16.
    return {"prompt": body["prompt"], **_given(request), "max_tokens": request["max_tokens"]}


def embedding_body(target: Target, body: Mapping[str, Any]) -> Document:
    """The body of an embeddings request but for the model: always for numbers, which are encoded here if at all.

    Raises:
        BadRequest: the body is not one that the model could take; the message names the field.
    """
    if body.get("encoding_format") not in (None, "float", "base64"):
        raise BadRequest("'encoding_format' must be 'float' or 'base64'.")
    inputs = _texts_or_tokens(body, "input")
    if not all(inputs):
        raise BadRequest("'input' must not hold an empty text.")
    dimensions = _integer(body, "dimensions", 1)
    if dimensions is not None and target.provider is not Engine.VLLM:
        raise BadRequest("'dimensions' must be left out: this model's embeddings have one length.")
    instruction = body.get("instruction")
    if instruction is not None:
        if not isinstance(instruction, str) or not all(isinstance(one, str) for one in inputs):
            raise BadRequest("'instruction' must be a text, and 'input' texts with it.")
        inputs = [f"{instruction} {one}".strip() for one in inputs]
    return {"input": inputs, "encoding_format": "float", **_given({"dimensions": dimensions})}


def prompts_of(body: Mapping[str, Any]) -> list[Any]:
    """The prompts of a completions request, each a text or a list of tokens.

    Raises:
        BadRequest: `prompt` is none of the forms there are.
    """
    return _texts_or_tokens(body, "prompt")


def top_logprobs_of(body: Mapping[str, Any]) -> int:
    """How many alternatives to a token the client wants to see."""
    return body.get("top_logprobs") or 0


def _texts_or_tokens(body: Mapping[str, Any], field: str) -> list[Any]:
    given = body.get(field)
    several = [given] if isinstance(given, str) or _are_tokens(given) else given
    if (
        not isinstance(several, list)
        or not several
        or not all(isinstance(one, str) or _are_tokens(one) for one in several)
    ):
        raise BadRequest(f"'{field}' must be a text, a list of texts, a list of tokens or a list of lists of tokens.")
    if field == "prompt" and len(several) > _MOST_PROMPTS:
        raise BadRequest(f"'prompt' must hold at most {_MOST_PROMPTS} prompts, not {len(several)}.")
    return several


def _are_tokens(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(token) is int and token >= 0 for token in value)


def _sampling(target: Target, body: Mapping[str, Any]) -> Document:
    """The fields of chat and completions alike; None for what engines shall choose."""
    older, newer = _integer(body, "max_tokens", 1), _integer(body, "max_completion_tokens", 1)
    limit = older if newer is None else newer
    seed = chat_bodies.integer(body, "seed")
    top_p = _number(body, "top_p", 0, 1)
    if top_p == 0:
        raise BadRequest("'top_p' must be above 0.")
    temperature = _number(body, "temperature", 0, 2)
    repetition = "repeat_penalty" if target.provider is Engine.LLAMA_CPP else "repetition_penalty"
    _object(body, "stream_options")
    return {
        "max_tokens": None if limit is None else min(limit, _MOST_TOKENS),
        "temperature": 1 if temperature is None else temperature,
        "top_p": 1 if top_p is None else top_p,
        "top_k": _top_k(body),
        "min_p": _number(body, "min_p", 0, 1),
        "presence_penalty": _number(body, "presence_penalty", -2, 2),
        "frequency_penalty": _number(body, "frequency_penalty", -2, 2),
        repetition: _number(body, "repetition_penalty", 0.01, 10),
        "logit_bias": _logit_bias(body),
        "seed": None if seed is None else seed & _SEED_BITS,
        "stop": _stop(body),
        "n": _integer(body, "n", 1, _MOST_CHOICES),
        "ignore_eos": _boolean(body, "ignore_eos"),
    }


def _top_k(body: Mapping[str, Any]) -> int | None:
    top_k = _integer(body, "top_k", 1)
    return None if top_k is None else min(top_k, _MOST_TOKENS)


def _stop(body: Mapping[str, Any]) -> list[str] | None:
    stop = chat_bodies.stop_sequences(body)
    if not all(stop):
        raise BadRequest("'stop' must not hold an empty text.")
    if len(stop) > _MOST_STOPS:
        raise BadRequest(f"'stop' must hold at most {_MOST_STOPS} texts, not {len(stop)}.")
    return stop or None


def _logit_bias(body: Mapping[str, Any]) -> Document | None:
    bias = _object(body, "logit_bias")
    if not bias:
        return None
    for token in bias:
        if not (token.isascii() and token.isdigit()):
            raise BadRequest(f"'logit_bias' must have numbers of tokens as names, such as '50', not '{token}'.")
        _number(bias, token, -100, 100)
    return bias


def _chat_logprobs(body: Mapping[str, Any]) -> Document:
    top = _integer(body, "top_logprobs", 0, _MOST_LOGPROBS)
    if not _boolean(body, "logprobs"):
        if top:
            raise BadRequest("'top_logprobs' needs 'logprobs' to be true.")
        return {}
    return {"logprobs": True, "top_logprobs": max(top or 0, 1)}  # llama.cpp gives none at all for 0


def _response_format(body: Mapping[str, Any]) -> Document | None:
    schema = chat_bodies.response_schema(body)
    if schema is not None:
        return {"type": "json_schema", "json_schema": {"name": schema.name, "schema": schema.schema}}
    return {"type": "json_object"} if chat_bodies.asks_for_json_object(body) else None


def _message(message: Message) -> Document:
    """Contents are texts: not every chat template takes parts."""
    for index, part in enumerate(message.parts):
        if isinstance(part, ImagePart):
            raise BadRequest(f"'{message.where}.content[{index}]' is an image: the model takes text alone.")
    if message.role in (Role.SYSTEM, Role.DEVELOPER):
        return {"role": "system", "content": _needed_text(message)}
    if message.role is Role.USER:
        return {"role": "user", "content": _needed_text(message)}
    if message.role is Role.TOOL:
        return {"role": "tool", "tool_call_id": message.tool_call_id, "content": message.text}
    if not message.tool_calls:
        return {"role": "assistant", "content": message.text}
    calls = [tool_call(call.id, call.name, call.arguments or "{}") for call in message.tool_calls]
    return {"role": "assistant", "content": message.text or None, "tool_calls": calls}


def _needed_text(message: Message) -> str:
    if message.document.get("content") is None:
        raise BadRequest(f"'{message.where}.content' must be a text or a list of parts.")
    return message.text


def _with_instructions(messages: list[Document], text: str) -> list[Document]:
    """Most templates have a place for one system message, the first."""
    first = messages[0]
    if first["role"] != "system":
        return [{"role": "system", "content": text}, *messages]
    return [{"role": "system", "content": f"{first['content']}\n\n{text}"}, *messages[1:]]


def _tool(function: Function) -> Document:
    description = {"description": function.description} if function.description else {}
    return {"type": "function", "function": {"name": function.name, **description, "parameters": function.parameters}}


def _number(body: Mapping[str, Any], field: str, lowest: float, highest: float) -> float | None:
    value = chat_bodies.number(body, field)
    if value is not None and not lowest <= value <= highest:
        raise BadRequest(f"'{field}' must be between {lowest} and {highest}, not {value}.")
    return value


def _integer(body: Mapping[str, Any], field: str, lowest: int, highest: int | None = None) -> int | None:
    value = chat_bodies.integer(body, field)
    if value is None or (value >= lowest and (highest is None or value <= highest)):
        return value
    allowed = f"at least {lowest}" if highest is None else f"between {lowest} and {highest}"
    raise BadRequest(f"'{field}' must be {allowed}, not {value}.")


def _boolean(body: Mapping[str, Any], field: str) -> bool | None:
    value = body.get(field)
    if value is not None and not isinstance(value, bool):
        raise BadRequest(f"'{field}' must be true or false.")
    return value


def _object(body: Mapping[str, Any], field: str) -> Document | None:
    value = body.get(field)
    if value is not None and not isinstance(value, dict):
        raise BadRequest(f"'{field}' must be an object.")
    return value


def _given(fields: Mapping[str, Any]) -> Document:
    return {field: value for field, value in fields.items() if value is not None}
