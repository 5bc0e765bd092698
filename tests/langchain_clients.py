"""Run in an environment of its own: asks a server through LangChain and Databricks' client of OpenAI.

`python langchain_clients.py CHAT EMBEDDINGS` prints one JSON object: what each of the clients was answered by these
endpoints. The server is the one that the `DATABRICKS_*` variables of the environment name.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from databricks_langchain import ChatDatabricks, DatabricksEmbeddings
from databricks_openai import AsyncDatabricksOpenAI, DatabricksOpenAI
from langchain_core.messages import AIMessageChunk, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel

SAID = "tell me of the sea"
USE_TOOL = "please use the tool"


@tool
def get_weather(city: str, days: int) -> str:
    """The weather of a city."""
    return f"17 degrees in {city} for {days} days"


class Trip(BaseModel):
    """A journey."""

    title: str
    days: int


def whole(chunks: Any) -> AIMessageChunk:
    """The sum of the chunks of a stream."""
    first, *others = chunks
    for chunk in others:
        first += chunk
    return first


def calls_of(message: Any) -> list[Any]:
    return [[call["name"], call["args"], bool(call["id"])] for call in message.tool_calls]


def langchain(endpoint: str, **options: Any) -> dict[str, Any]:
    """A chat, its stream, and tools with their results sent back."""
    model = ChatDatabricks(endpoint=endpoint, **options)
    invoked = model.invoke([SystemMessage("Be brief."), HumanMessage(SAID)])
    chunks = list(model.stream(SAID))
    with_tools = model.bind_tools([get_weather])
    asked = with_tools.invoke(USE_TOOL)
    results = [ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"]) for call in asked.tool_calls]
    answered = with_tools.invoke([HumanMessage(USE_TOOL), asked, *results])
    return {
        "invoked": invoked.text,
        "usage": dict(invoked.usage_metadata or {}),
        "streamed": whole(chunks).text,
        "pieces": len([chunk for chunk in chunks if chunk.text]),
        # The client repeats the usage in a chunk of its own, so that the sum of all chunks would count it twice.
        "streamed_usage": [dict(chunk.usage_metadata) for chunk in chunks if chunk.usage_metadata][-1],
        "calls": calls_of(asked),
        "answered": answered.text,
        "streamed_calls": calls_of(whole(with_tools.stream(USE_TOOL))),
    }


def structured(endpoint: str) -> dict[str, Any]:
    """Answers that follow a schema, by each of the ways that LangChain has."""
    model = ChatDatabricks(endpoint=endpoint)
    return {
        method: model.with_structured_output(Trip, method=method).invoke(SAID).model_dump()
        for method in ("function_calling", "json_schema")
    }


async def asynchronous(endpoint: str) -> dict[str, Any]:
    model = ChatDatabricks(endpoint=endpoint)
    invoked = await model.ainvoke(SAID)
    streamed = [chunk async for chunk in model.astream(SAID)]
    client = AsyncDatabricksOpenAI()
    answer = await client.chat.completions.create(model=endpoint, messages=[{"role": "user", "content": SAID}])
    return {
        "invoked": invoked.text,
        "streamed": whole(streamed).text,
        "openai": answer.choices[0].message.content,
    }


def databricks_openai(endpoint: str) -> dict[str, Any]:
    """Databricks' own client of OpenAI: chat, stream and responses."""
    client = DatabricksOpenAI()
    messages: Any = [{"role": "user", "content": SAID}]
    chat = client.chat.completions.create(model=endpoint, messages=messages)
    stream = client.chat.completions.create(model=endpoint, messages=messages, stream=True)
    response = client.responses.create(model=endpoint, input=[{"role": "user", "content": SAID}])
    events = client.responses.create(model=endpoint, input=SAID, stream=True)
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    return {
        "chat": chat.choices[0].message.content,
        "streamed": "".join(chunk.choices[0].delta.content or "" for chunk in stream),
        "response": response.output_text,
        "deltas": deltas,
    }


def main(chat: str, embeddings: str) -> dict[str, Any]:
    embedder = DatabricksEmbeddings(endpoint=embeddings)
    return {
        "chat": langchain(chat, temperature=0.5, max_tokens=200),
        "responses": langchain(chat, use_responses_api=True),
        "structured": structured(chat),
        "asynchronous": asyncio.run(asynchronous(chat)),
        "openai": databricks_openai(chat),
        "query": embedder.embed_query("a text"),
        "documents": embedder.embed_documents(["one", "two"]),
    }


if __name__ == "__main__":
    json.dump(main(*sys.argv[1:]), sys.stdout)
