"""From OpenAI's chat form to a request of Amazon Bedrock's Converse API.

Source: Amazon Bedrock API reference, Converse and ConverseStream; user guide, inference parameters of each vendor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moorage.api.errors import BadRequest
from moorage.api.external_models import BedrockProvider
from moorage.external import chat_bodies
from moorage.external.anthropic_formats import JSON_INSTRUCTION
from moorage.external.anthropic_requests import effort_fields
from moorage.external.bedrock_tools import tool_fields
from moorage.external.bedrock_turns import system_texts, turns_of
from moorage.external.exchange import Document

_BEDROCK = "Amazon Bedrock"
_NOTHING_FOR = {
    "n": 1,
    "logprobs": False,
    "top_logprobs": 0,
    "logit_bias": {},
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "parallel_tool_calls": True,
    "functions": None,
    "function_call": None,
    "audio": None,
    "modalities": ["text"],
}


def converse_request(vendor: BedrockProvider, model: str, body: Mapping[str, Any]) -> Document:
    """The body of a Converse request.

    Raises:
        BadRequest: Bedrock, or the vendor's models on it, could not take the body.
    """
    chat_bodies.refuse_fields(body, _NOTHING_FOR, _BEDROCK)
    messages = chat_bodies.messages(body)
    system = system_texts(messages)
    if chat_bodies.asks_for_json_object(body):
        system.append(JSON_INSTRUCTION)
    request: Document = {
        "messages": turns_of(messages),
        "system": [{"text": text} for text in system],
        "inferenceConfig": _inference(body),
        "additionalModelRequestFields": _additional_fields(vendor, model, body),
        **tool_fields(vendor, model, body, messages),
    }
    return {field: value for field, value in request.items() if value}


def _inference(body: Mapping[str, Any]) -> Document:
    fields = {
        "maxTokens": chat_bodies.max_tokens(body),
        "temperature": chat_bodies.number(body, "temperature"),
        "topP": chat_bodies.number(body, "top_p"),
        "stopSequences": chat_bodies.stop_sequences(body) or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _additional_fields(vendor: BedrockProvider, model: str, body: Mapping[str, Any]) -> Document:
    """What the vendor's own models take beside what Converse names."""
    fields: Document = {}
    top_k = chat_bodies.integer(body, "top_k")
    if top_k is not None:
        match vendor:
            case BedrockProvider.ANTHROPIC:
                fields["top_k"] = top_k
            case BedrockProvider.COHERE:
                fields["k"] = top_k
            case BedrockProvider.AMAZON:
                fields["inferenceConfig"] = {"topK": top_k}
            case BedrockProvider.AI21LABS:
                raise BadRequest(f"'top_k' cannot be passed on to models of 'ai21labs' on {_BEDROCK}: leave it out.")
    thinking = body.get("thinking")
    if thinking is not None:
        if vendor is not BedrockProvider.ANTHROPIC:
            raise BadRequest(f"'thinking' is for the models of 'anthropic' alone on {_BEDROCK}: leave it out.")
        if not isinstance(thinking, dict):
            raise BadRequest("'thinking' must be an object with 'type' and 'budget_tokens'.")
        fields["thinking"] = thinking
    elif body.get("reasoning_effort") is not None:
        if vendor is not BedrockProvider.ANTHROPIC:
            raise BadRequest(f"'reasoning_effort' cannot be passed on to models of '{vendor}' on {_BEDROCK}.")
        fields.update(effort_fields(model, body))
    return fields
