"""From Anthropic's messages to OpenAI's chat completions.

Reasoning is given where it was asked for, in the form that Databricks gives it: then the content is a list of parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from moorage.external.anthropic_formats import ANSWER_TOOL, answers_with_tool
from moorage.external.anthropic_wire import (
    Block,
    MessageAnswer,
    RedactedThinkingBlock,
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
    UsageReport,
    block_of,
)
from moorage.external.chat_answers import ChatForm, read_as, tool_call
from moorage.external.exchange import Answer, Call, Document, Target

_FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def chat_answer(target: Target, call: Call, body: bytes) -> Answer:
    """
    Raises:
        UnreadableAnswer: the body is not a message.
    """
    message = read_as(MessageAnswer, body, "it is not a message")
    blocks = [block for document in message.content if (block := block_of(document)) is not None]
    tools = [block for block in blocks if isinstance(block, ToolUseBlock)]
    text = "".join(block.text for block in blocks if isinstance(block, TextBlock))
    if answers_with_tool(target.model, call.body):
        for tool in tools:
            if tool.name == ANSWER_TOOL:
                # What a model says beside the answer would keep the content from being JSON.
                text = orjson.dumps(tool.input).decode()
        tools = [tool for tool in tools if tool.name != ANSWER_TOOL]
    reasoning = _reasoning(blocks) if asks_for_reasoning(call.body) else []
    said: Document = {"role": "assistant", "content": text}
    if reasoning:
        said["content"] = [*reasoning, {"type": "text", "text": text}] if text else reasoning
    if tools:
        said["content"] = said["content"] or None
        said["tool_calls"] = [tool_call(tool.id, tool.name, orjson.dumps(tool.input).decode()) for tool in tools]
    answer = ChatForm(message.id, call.created, message.model).answer(
        said,
        finish_reason(message.stop_reason, tool_calls=bool(tools)),
        message.usage.usage,
        message.usage.prompt_details,
        None,
    )
    add_reasoning_tokens(answer.body, message.usage)
    return answer


def _reasoning(blocks: list[Block]) -> list[Document]:
    parts = []
    for block in blocks:
        if isinstance(block, ThinkingBlock):
            parts.append(reasoning_part(block.thinking, block.signature))
        elif isinstance(block, RedactedThinkingBlock):
            parts.append(redacted_part(block.data))
    return parts


def asks_for_reasoning(body: Mapping[str, Any]) -> bool:
    """Whether the caller wants to see it: newer models think unasked, and callers that did not ask expect a text."""
    thinking = body.get("thinking")
    if isinstance(thinking, dict):
        return thinking.get("type") != "disabled"
    return body.get("reasoning_effort") not in (None, "none")


def reasoning_part(text: str, signature: str) -> Document:
    summary: Document = {"type": "summary_text", "text": text}
    if signature:
        summary["signature"] = signature
    return {"type": "reasoning", "summary": [summary]}


def redacted_part(data: str) -> Document:
    return {"type": "reasoning", "summary": [{"type": "summary_encrypted_text", "data": data}]}


def finish_reason(stop_reason: str | None, *, tool_calls: bool) -> str:
    """`tool_calls`: whether the answer has some, which an answer through `ANSWER_TOOL` has not."""
    reason = _FINISH_REASONS.get(stop_reason or "", "stop")
    return "stop" if reason == "tool_calls" and not tool_calls else reason


def add_reasoning_tokens(document: Document, report: UsageReport) -> None:
    """To the usage of an answer or chunk, where Anthropic said how many there were."""
    if "usage" in document and report.reasoning_tokens:
        document["usage"]["completion_tokens_details"] = {"reasoning_tokens": report.reasoning_tokens}
