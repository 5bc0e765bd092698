"""OpenAI's chat completion bodies as Gemini's `generateContent` takes them.

Source: Gemini API reference, models, generateContent; the same method of Vertex AI.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from moorage.api.errors import BadRequest
from moorage.external import chat_bodies
from moorage.external.chat_bodies import Function, ToolChoice, ToolUse
from moorage.external.exchange import Document
from moorage.external.gemini_messages import Host, contents, system_instruction
from moorage.external.gemini_models import thinking
from moorage.external.gemini_schema import json_schema

_TRANSLATED = frozenset(
    {
        "messages", "tools", "tool_choice", "response_format", "max_tokens", "max_completion_tokens", "temperature",
        "top_p", "top_k", "n", "stop", "seed", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs",
        "reasoning_effort",
    }
)
_WITHOUT_EFFECT_ON_THE_ANSWER = frozenset(
    {
        "model", "stream", "stream_options", "user", "safety_identifier", "metadata", "store", "service_tier",
        "prompt_cache_key", "prompt_cache_retention",
    }
)
_WHAT_GEMINI_DOES_ANYWAY: Mapping[str, Any] = {
    "parallel_tool_calls": True,
    "modalities": ["text"],
    "logit_bias": {},
    "functions": [],
    "function_call": "none",
}
_NUMBERS = {
    "temperature": "temperature",
    "top_p": "topP",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}
_INTEGERS = {"top_k": "topK", "n": "candidateCount", "seed": "seed"}
_MODES = {ToolUse.AUTO: "AUTO", ToolUse.NONE: "NONE", ToolUse.REQUIRED: "ANY", ToolUse.NAMED: "ANY"}


def chat_request(model: str, body: Mapping[str, Any], host: Host) -> Document:
    """The body of `generateContent` and `streamGenerateContent`.

    Raises:
        BadRequest: see `chat_bodies`; or a field has nothing that it could become.
    """
    _refuse_others(body)
    conversation = chat_bodies.messages(body)
    instruction = system_instruction(conversation)
    request: Document = {"contents": contents(conversation, model, host)}
    if instruction is not None:
        request["systemInstruction"] = instruction
    functions = chat_bodies.functions(body)
    choice = chat_bodies.tool_choice(body, functions)
    if functions:
        request["tools"] = [{"functionDeclarations": _declarations(functions)}]
        if body.get("tool_choice") is not None:
            request["toolConfig"] = {"functionCallingConfig": _calling(choice)}
    if config := _generation_config(model, body):
        request["generationConfig"] = config
    return request


def _refuse_others(body: Mapping[str, Any]) -> None:
    for field, value in body.items():
        if field in _TRANSLATED or field in _WITHOUT_EFFECT_ON_THE_ANSWER or value is None:
            continue
        if field not in _WHAT_GEMINI_DOES_ANYWAY or value != _WHAT_GEMINI_DOES_ANYWAY[field]:
            raise BadRequest(f"'{field}' cannot be passed on to Gemini models: leave it out.")


def _declarations(functions: Sequence[Function]) -> list[Document]:
    declarations = []
    for index, function in enumerate(functions):
        declaration: Document = {"name": function.name}
        if function.description:
            declaration["description"] = function.description
        where = f"tools[{index}].function.parameters"
        declaration["parametersJsonSchema"] = json_schema(function.parameters, where)
        declarations.append(declaration)
    return declarations


def _calling(choice: ToolChoice) -> Document:
    names = {"allowedFunctionNames": [choice.name]} if choice.use is ToolUse.NAMED else {}
    return {"mode": _MODES[choice.use], **names}


def _generation_config(model: str, body: Mapping[str, Any]) -> Document:
    config: Document = {}
    for field, name in _NUMBERS.items():
        if (number := chat_bodies.number(body, field)) is not None:
            config[name] = number
    for field, name in _INTEGERS.items():
        if (integer := chat_bodies.integer(body, field)) is not None:
            config[name] = integer
    if (most := chat_bodies.max_tokens(body)) is not None:
        config["maxOutputTokens"] = most
    if sequences := chat_bodies.stop_sequences(body):
        config["stopSequences"] = sequences
    if (effort := body.get("reasoning_effort")) is not None:
        config["thinkingConfig"] = thinking(model, effort)
    return {**config, **_response_form(body), **_logprobs(body)}


def _response_form(body: Mapping[str, Any]) -> Document:
    if asked := chat_bodies.response_schema(body):
        schema = json_schema(asked.schema, "response_format.json_schema.schema")
        return {"responseMimeType": "application/json", "responseJsonSchema": schema}
    return {"responseMimeType": "application/json"} if chat_bodies.asks_for_json_object(body) else {}


def _logprobs(body: Mapping[str, Any]) -> Document:
    asked = body.get("logprobs")
    if asked is not None and not isinstance(asked, bool):
        raise BadRequest("'logprobs' must be true or false.")
    others = chat_bodies.integer(body, "top_logprobs")
    if not asked:
        if others:
            raise BadRequest("'top_logprobs' needs 'logprobs' to be true.")
        return {}
    return {"responseLogprobs": True, **({"logprobs": others} if others else {})}
