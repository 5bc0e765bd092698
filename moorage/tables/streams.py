"""A streamed answer put together to the one document that the same request without streaming would have had.

Sources: OpenAI's API reference (chat completions, completions, responses), Anthropic's (messages), each under
streaming.
"""

from __future__ import annotations

from typing import Any

import orjson

from moorage.external.sse import EventTooLong, SseParser

_DONE = b"[DONE]"
_SET = {"role", "name", "id", "type", "index"}
"""Members of a delta that are said again and not continued."""

Document = dict[str, Any]


def whole_answer(stream: bytes) -> Any:
    """The final document of a stream of events, as far as it came; None when it holds no event with JSON.

    An event of a kind that nobody knows is kept as it is: such a stream becomes the list of its events.
    """
    parser = SseParser()
    try:
        events = [*parser.feed(stream), *parser.end()]
    except EventTooLong:
        return None
    documents: list[Any] = []
    for event in events:
        if event.data.strip() == _DONE:
            continue
        try:
            documents.append(orjson.loads(event.data))
        except orjson.JSONDecodeError:
            documents.append(event.data.decode("utf-8", "replace"))
    if not any(isinstance(one, dict | list) for one in documents):
        return None
    told = [one for one in documents if isinstance(one, dict)]
    for recognised, put_together in (
        (_is_chat, _chat),
        (_is_completion, _completion),
        (_is_response, _response),
        (_is_message, _message),
    ):
        if any(recognised(one) for one in told):
            try:
                return put_together(told)
            except RecursionError:  # objects within objects, a thousand deep
                return documents
    return documents


def _is_chat(chunk: Document) -> bool:
    choices = chunk.get("choices")
    return chunk.get("object") == "chat.completion.chunk" or (
        isinstance(choices, list) and any(isinstance(one, dict) and "delta" in one for one in choices)
    )


def _is_completion(chunk: Document) -> bool:
    return chunk.get("object") == "text_completion"


def _is_response(chunk: Document) -> bool:
    return str(chunk.get("type", "")).startswith("response.")


def _is_message(chunk: Document) -> bool:
    return chunk.get("type") in ("message_start", "content_block_start", "content_block_delta", "message_delta")


def _chat(chunks: list[Document]) -> Document:
    answer, choices = _choices(chunks, "chat.completion")
    for index, parts in choices.items():
        message: Document = {"role": "assistant", "content": None}
        for part in parts:
            delta = part.get("delta")
            if isinstance(delta, dict):
                _continue(message, delta)
        for call in message.get("tool_calls") or ():
            if isinstance(call, dict):
                call.pop("index", None)
        answer["choices"].append({"index": index, "message": message, **_ends(parts)})
    return answer


def _completion(chunks: list[Document]) -> Document:
    answer, choices = _choices(chunks, "text_completion")
    for index, parts in choices.items():
        text = "".join(part["text"] for part in parts if isinstance(part.get("text"), str))
        answer["choices"].append({"index": index, "text": text, **_ends(parts)})
    return answer


def _choices(chunks: list[Document], kind: str) -> tuple[Document, dict[int, list[Document]]]:
    """What belongs to the whole answer, with no choices yet, and the parts of each choice by its index.

    Chunks of another kind, such as an error that ends the stream, give it their members.
    """
    answer: Document = {}
    choices: dict[int, list[Document]] = {}
    for chunk in chunks:
        answer.update((key, value) for key, value in chunk.items() if key != "choices" and value is not None)
        given = chunk.get("choices")
        for part in given if isinstance(given, list) else ():
            if isinstance(part, dict):
                index = part.get("index")
                choices.setdefault(index if isinstance(index, int) else 0, []).append(part)
    answer["object"] = kind
    answer["choices"] = []
    return answer, dict(sorted(choices.items()))


def _ends(parts: list[Document]) -> Document:
    """How a choice ended, and what else was said of it."""
    end: Document = {"finish_reason": None}
    for part in parts:
        for key, value in part.items():
            if key in ("index", "delta", "text") or value is None:
                continue
            if key == "logprobs" and isinstance(value, dict):
                _continue(end.setdefault(key, {}), value)
            else:
                end[key] = value
    return end


def _continue(known: Document, delta: Document) -> None:
    """Add a delta: texts and lists go on, objects in lists are found by their `index`, other values are replaced."""
    for key, value in delta.items():
        earlier = known.get(key)
        if value is None:
            known.setdefault(key, None)
        elif isinstance(value, str) and isinstance(earlier, str) and key not in _SET:
            known[key] = earlier + value
        elif isinstance(value, dict) and isinstance(earlier, dict):
            _continue(earlier, value)
        elif isinstance(value, list):
            if not isinstance(earlier, list):
                earlier = known[key] = []
            _continue_list(earlier, value)
        elif isinstance(value, dict):
            _continue(_put(known, key), value)
        else:
            known[key] = value


def _put(known: Document, key: str) -> Document:
    known[key] = {}
    found: Document = known[key]
    return found


def _continue_list(known: list[Any], given: list[Any]) -> None:
    for item in given:
        index = item.get("index") if isinstance(item, dict) else None
        if index is None:
            known.append(item)
            continue
        for earlier in known:
            if isinstance(earlier, dict) and earlier.get("index") == index:
                _continue(earlier, item)
                break
        else:
            known.append(item)


def _response(events: list[Document]) -> Document:
    """The response of the last event that holds a finished one; else what its items and texts were so far."""
    answer: Document = {"object": "response", "output": []}
    texts: dict[str, Document] = {}
    for event in events:
        kind, response = event.get("type"), event.get("response")
        if isinstance(response, dict):
            answer = {**response, "output": response.get("output") or answer["output"]}
            if kind in ("response.completed", "response.incomplete", "response.failed"):
                texts.clear()
        elif kind == "response.output_item.done" and isinstance(event.get("item"), dict):
            answer["output"] = [*answer["output"], event["item"]]
            texts.pop(str(event["item"].get("id")), None)
        elif kind == "response.output_text.delta" and isinstance(event.get("delta"), str):
            item = texts.setdefault(
                str(event.get("item_id")),
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": ""}]},
            )
            item["content"][0]["text"] += event["delta"]
        elif not str(kind).startswith("response."):
            answer = {**answer, **event}
    answer["output"] = [*answer["output"], *texts.values()]
    return answer


def _message(events: list[Document]) -> Document:
    answer: Document = {"type": "message", "role": "assistant", "content": []}
    blocks: dict[int, Document] = {}
    inputs: dict[int, str] = {}
    for event in events:
        kind, index, delta = event.get("type"), event.get("index"), event.get("delta")
        place = index if isinstance(index, int) else 0
        if kind == "message_start" and isinstance(event.get("message"), dict):
            answer.update(event["message"])
        elif kind == "content_block_start" and isinstance(event.get("content_block"), dict):
            blocks[place] = dict(event["content_block"])
        elif kind == "content_block_delta" and isinstance(delta, dict):
            if isinstance(delta.get("partial_json"), str):
                inputs[place] = inputs.get(place, "") + delta["partial_json"]
            else:
                given = {key: value for key, value in delta.items() if key != "type"}
                _continue(blocks.setdefault(place, {"type": "text"}), given)
        elif kind == "message_delta":
            if isinstance(delta, dict):
                answer.update(delta)
            if isinstance(event.get("usage"), dict):
                answer["usage"] = {**(answer.get("usage") or {}), **event["usage"]}
        elif kind == "error":
            answer["error"] = event.get("error")
    for place, text in inputs.items():
        blocks.setdefault(place, {"type": "tool_use"})["input"] = _document_or_text(text)
    answer["content"] = [blocks[place] for place in sorted(blocks)]
    return answer


def _document_or_text(text: str) -> Any:
    try:
        return orjson.loads(text) if text else {}
    except orjson.JSONDecodeError:
        return text
