"""OpenAI's own client against endpoints of every provider: what it is given does not depend on who answers."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import time
import zlib
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from external_endpoints import CHATTERS, EMBEDDERS, ExternalEndpoints
from fake_provider.running import FakeProviderClient, running_fake_provider
from fake_provider.vectors import vector
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel
from server import OTHER_TOKEN, Server

SAID = "tell me of the sea"
MESSAGES: list[Any] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": SAID}]
ANSWER = f"You said: {SAID}"
USE_TOOL: list[Any] = [{"role": "user", "content": "please use the tool"}]
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
TOOL: Any = {
    "type": "function",
    "function": {"name": "get_weather", "description": "The weather.", "parameters": PARAMETERS},
}
NOTHING = {"type": "object", "properties": {}}
CLOCK: Any = {"type": "function", "function": {"name": "get_time", "parameters": NOTHING}}
RESPONSES_TOOL: Any = {"type": "function", **TOOL["function"], "strict": False}
CALLED = {"city": "city", "days": 7}
TAKE_N = ("openai", "azure", "azuread", "palm", "vertex", "ai21labs", "databricks", "custom")
TAKE_LOGPROBS = ("openai", "azure", "azuread", "cohere", "palm", "vertex", "databricks", "custom")
NO_IMAGES = ("ai21labs",)
LATER_THAN_FIRST = ("openai", "anthropic", "cohere", "bedrock", "palm", "databricks", "ai21labs")
"""One way of each form in which streams come."""

chatters = pytest.mark.parametrize("way", CHATTERS)


class Place(BaseModel):
    name: str
    country: str


class Trip(BaseModel):
    title: str
    days: int
    places: list[Place]


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeProviderClient]:
    with running_fake_provider() as running:
        yield running


@pytest.fixture(scope="module")
def endpoints(server: Server, fake: FakeProviderClient) -> Iterator[ExternalEndpoints]:
    made = ExternalEndpoints(server, fake.url, "openai-client")
    yield made
    made.remove()


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/serving-endpoints", api_key=server.token, max_retries=0) as made:
        yield made


@pytest.fixture(autouse=True)
def clean(fake: FakeProviderClient) -> None:
    fake.reset()


def is_counted(usage: Any) -> bool:
    """Whether these are the provider's own counts, of which each differs from what an estimate would be."""
    return usage.prompt_tokens > 11 and usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def model_said(way: str, model: str) -> str:
    """What answers name as their model; on Azure it is what the provider says of a deployment."""
    return "mine" if way in ("azure", "azuread") else model


def spoken(stream: Any, way: str) -> str:
    """The text of a stream, as most programs read it: by `chunk.choices[0]`, without a look.

    On Azure they have to look, there as here: its first chunk tells of its filter alone.
    """
    chunks = (chunk for chunk in stream if chunk.choices or way not in ("azure", "azuread"))
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


# Chat completions


@chatters
def test_a_chat_is_answered(client: OpenAI, endpoints: ExternalEndpoints, way: str) -> None:
    answer = client.chat.completions.create(
        model=endpoints.chat(way), messages=MESSAGES, max_tokens=200, temperature=0.5
    )
    (choice,) = answer.choices
    assert (choice.message.content, choice.message.role) == (ANSWER, "assistant")
    assert (choice.finish_reason, choice.index, choice.message.tool_calls) == ("stop", 0, None)
    assert answer.usage is not None
    assert is_counted(answer.usage)
    assert answer.usage.completion_tokens == len(ANSWER) // 2
    assert answer.model == model_said(way, endpoints.way(way).model)
    assert (answer.object, answer.created > 1_600_000_000, bool(answer.id)) == ("chat.completion", True, True)


@chatters
def test_a_conversation_goes_to_the_provider_whole(
    client: OpenAI, endpoints: ExternalEndpoints, fake: FakeProviderClient, way: str
) -> None:
    conversation: list[Any] = [
        {"role": "system", "content": "first words"},
        {"role": "user", "content": "second words"},
        {"role": "assistant", "content": "third words"},
        {"role": "user", "content": "fourth words"},
    ]
    answer = client.chat.completions.create(model=endpoints.chat(way), messages=conversation)
    assert answer.choices[0].message.content == "You said: fourth words"
    (sent,) = [one for one in fake.requests() if one["path"] != "/token" and "oauth2" not in one["path"]]
    text = json.dumps(sent["body"])
    places = [text.find(words) for words in ("second words", "third words", "fourth words")]
    assert "first words" in text
    assert -1 < places[0] < places[1] < places[2]


@chatters
def test_the_limit_of_tokens_cuts_the_answer(client: OpenAI, endpoints: ExternalEndpoints, way: str) -> None:
    answer = client.chat.completions.create(model=endpoints.chat(way), messages=MESSAGES, max_tokens=4)
    assert answer.choices[0].message.content == ANSWER[:8]
    assert answer.choices[0].finish_reason == "length"


@chatters
def test_a_streamed_chat_comes_in_pieces_with_its_usage_last(
    client: OpenAI, endpoints: ExternalEndpoints, way: str
) -> None:
    chunks = list(
        client.chat.completions.create(
            model=endpoints.chat(way), messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
    )
    if way in ("azure", "azuread"):
        del chunks[0]  # of its filter alone
    pieces = [one.choices[0].delta.content for one in chunks if one.choices and one.choices[0].delta.content]
    assert len(pieces) > 1
    assert "".join(pieces) == ANSWER
    reasons = [one.choices[0].finish_reason for one in chunks if one.choices]
    assert [reason for reason in reasons if reason] == ["stop"]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert len({one.id for one in chunks}) == 1
    usage = chunks[-1].usage
    assert usage is not None
    assert is_counted(usage)
    assert usage.completion_tokens == len(ANSWER) // 2


@chatters
def test_each_chunk_has_a_choice_where_usage_was_not_asked_for(
    client: OpenAI, endpoints: ExternalEndpoints, way: str
) -> None:
    """The usage comes nevertheless, in the chunk that ends the answer."""
    chunks = list(client.chat.completions.create(model=endpoints.chat(way), messages=MESSAGES, stream=True))
    assert spoken(chunks, way) == ANSWER
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert is_counted(chunks[-1].usage)


@chatters
def test_text_beyond_ascii_arrives_as_it_is(
    client: OpenAI, endpoints: ExternalEndpoints, fake: FakeProviderClient, way: str
) -> None:
    text = "naïve — 你好 🚀 \u2028 \"quoted\" \\ end"
    fake.control(text=text)
    messages: list[Any] = [{"role": "user", "content": text}]
    whole = client.chat.completions.create(model=endpoints.chat(way), messages=messages)
    stream = client.chat.completions.create(model=endpoints.chat(way), messages=messages, stream=True)
    assert whole.choices[0].message.content == text
    assert spoken(stream, way) == text


@chatters
def test_a_tool_is_called_and_its_answer_sent_back(client: OpenAI, endpoints: ExternalEndpoints, way: str) -> None:
    model = endpoints.chat(way)
    first = client.chat.completions.create(model=model, messages=USE_TOOL, tools=[TOOL])
    (choice,) = first.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls is not None
    (call,) = choice.message.tool_calls
    assert call.type == "function"
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", CALLED)
    result = {"role": "tool", "tool_call_id": call.id, "content": "17 degrees"}
    conversation: list[Any] = [*USE_TOOL, choice.message, result]
    second = client.chat.completions.create(model=model, messages=conversation, tools=[TOOL])
    assert second.choices[0].message.content == "The tool said: 17 degrees"
    assert second.choices[0].finish_reason == "stop"


@chatters
def test_two_calls_in_one_answer_are_both_answered(client: OpenAI, endpoints: ExternalEndpoints, way: str) -> None:
    model = endpoints.chat(way)
    asked: list[Any] = [{"role": "user", "content": "use the tool twice"}]
    first = client.chat.completions.create(model=model, messages=asked, tools=[TOOL, CLOCK])
    calls = first.choices[0].message.tool_calls or []
    assert [call.function.name for call in calls if call.type == "function"] == ["get_weather", "get_time"]
    assert len({call.id for call in calls}) == 2
    results = [{"role": "tool", "tool_call_id": call.id, "content": f"result {at}"} for at, call in enumerate(calls)]
    conversation: list[Any] = [*asked, first.choices[0].message, *results]
    second = client.chat.completions.create(model=model, messages=conversation, tools=[TOOL, CLOCK])
    assert second.choices[0].message.content == "The tool said: result 0 result 1"


@chatters
def test_a_streamed_call_of_a_tool_is_put_together(client: OpenAI, endpoints: ExternalEndpoints, way: str) -> None:
    """As the client's users do it: by the index of the call, with the name once and the arguments in pieces."""
    stream = client.chat.completions.create(
        model=endpoints.chat(way), messages=[{"role": "user", "content": "use the tool twice"}], tools=[TOOL, CLOCK],
        stream=True,
    )  # fmt: skip
    calls: dict[int, dict[str, str]] = {}
    reasons = []
    for chunk in stream:
        if way in ("azure", "azuread") and not chunk.choices:
            continue
        for piece in chunk.choices[0].delta.tool_calls or []:
            call = calls.setdefault(piece.index, {"id": "", "name": "", "arguments": ""})
            assert piece.function is not None
            call["id"] += piece.id or ""
            call["name"] += piece.function.name or ""
            call["arguments"] += piece.function.arguments or ""
        reasons.append(chunk.choices[0].finish_reason)
    assert [reason for reason in reasons if reason] == ["tool_calls"]
    assert [calls[index]["name"] for index in sorted(calls)] == ["get_weather", "get_time"]
    assert json.loads(calls[0]["arguments"]) == CALLED
    assert json.loads(calls[1]["arguments"] or "{}") == {}
    assert calls[0]["id"] != calls[1]["id"]


@chatters
def test_the_streaming_helper_gives_the_same_call(client: OpenAI, endpoints: ExternalEndpoints, way: str) -> None:
    with client.chat.completions.stream(model=endpoints.chat(way), messages=USE_TOOL, tools=[TOOL]) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert "tool_calls.function.arguments.delta" in kinds
    assert "tool_calls.function.arguments.done" in kinds
    (call,) = final.choices[0].message.tool_calls or []
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", CALLED)


@pytest.mark.parametrize(
    ("way", "choice"),
    [(way, "required") for way in CHATTERS] + [(way, "get_weather") for way in CHATTERS if way != "ai21labs"],
)
def test_a_tool_can_be_demanded(client: OpenAI, endpoints: ExternalEndpoints, way: str, choice: str) -> None:
    """AI21 alone has no choice of one function."""
    wanted: Any = choice if choice == "required" else {"type": "function", "function": {"name": choice}}
    answer = client.chat.completions.create(
        model=endpoints.chat(way), messages=MESSAGES, tools=[TOOL], tool_choice=wanted
    )
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "get_weather"


@chatters
def test_a_schema_is_followed(client: OpenAI, endpoints: ExternalEndpoints, way: str) -> None:
    answer = client.chat.completions.parse(model=endpoints.chat(way), messages=MESSAGES, response_format=Trip)
    (choice,) = answer.choices
    assert choice.finish_reason == "stop"
    assert choice.message.tool_calls in (None, [])
    parsed = choice.message.parsed
    assert parsed == Trip(title="title", days=7, places=[Place(name="name", country="country")])


@chatters
def test_a_schema_is_followed_in_a_stream(client: OpenAI, endpoints: ExternalEndpoints, way: str) -> None:
    with client.chat.completions.stream(
        model=endpoints.chat(way), messages=MESSAGES, response_format=Trip
    ) as stream:
        pieces = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert len(pieces) > 1
    assert final.choices[0].message.parsed == Trip.model_validate_json("".join(pieces))
    assert final.choices[0].finish_reason == "stop"


@chatters
def test_a_json_object_is_given(client: OpenAI, endpoints: ExternalEndpoints, way: str) -> None:
    """Bedrock has no such mode: there the model is told in words, and the fake one does not heed them."""
    asked: list[Any] = [{"role": "user", "content": "answer in json"}]
    answer = client.chat.completions.create(
        model=endpoints.chat(way), messages=asked, response_format={"type": "json_object"}
    )
    if way not in ("anthropic", "bedrock"):
        assert isinstance(json.loads(answer.choices[0].message.content or ""), dict)
    else:
        assert answer.choices[0].finish_reason == "stop"


def png() -> str:
    """A picture of one pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    chunks = (
        chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)),
        chunk(b"IDAT", zlib.compress(b"\0\0")),
        chunk(b"IEND", b""),
    )
    picture = b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


@chatters
def test_an_image_reaches_the_model(client: OpenAI, endpoints: ExternalEndpoints, way: str) -> None:
    parts: list[Any] = [{"type": "text", "text": "what is it"}, {"type": "image_url", "image_url": {"url": png()}}]
    messages: list[Any] = [{"role": "user", "content": parts}]
    if way in NO_IMAGES:
        with pytest.raises(openai.APIStatusError, match="content") as refused:
            client.chat.completions.create(model=endpoints.chat(way), messages=messages)
        assert refused.value.status_code in (400, 422)
        return
    answer = client.chat.completions.create(model=endpoints.chat(way), messages=messages)
    assert answer.choices[0].message.content == "You said: what is it [image]"


@chatters
@pytest.mark.parametrize("stop", ["HALT", ["HALT", "nothing"]])
def test_the_answer_ends_where_it_should_stop(
    client: OpenAI, endpoints: ExternalEndpoints, way: str, stop: Any
) -> None:
    messages: list[Any] = [{"role": "user", "content": "one HALT two"}]
    answer = client.chat.completions.create(model=endpoints.chat(way), messages=messages, stop=stop)
    assert answer.choices[0].message.content == "You said: one "
    assert answer.choices[0].finish_reason == "stop"


@chatters
def test_several_answers_are_given_or_refused_by_name(client: OpenAI, endpoints: ExternalEndpoints, way: str) -> None:
    if way not in TAKE_N:
        with pytest.raises(openai.BadRequestError, match="'n'"):
            client.chat.completions.create(model=endpoints.chat(way), messages=MESSAGES, n=2)
        return
    answer = client.chat.completions.create(model=endpoints.chat(way), messages=MESSAGES, n=2)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert [choice.message.content for choice in answer.choices] == [ANSWER, f"Answer 2. {ANSWER}"]


@pytest.mark.parametrize("way", [way for way in TAKE_N if way != "ai21labs"])
def test_several_answers_stream_side_by_side(client: OpenAI, endpoints: ExternalEndpoints, way: str) -> None:
    stream = client.chat.completions.create(model=endpoints.chat(way), messages=MESSAGES, n=2, stream=True)
    texts = {0: "", 1: ""}
    reasons = {}
    for chunk in stream:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            if choice.finish_reason:
                reasons[choice.index] = choice.finish_reason
    assert texts == {0: ANSWER, 1: f"Answer 2. {ANSWER}"}
    assert reasons == {0: "stop", 1: "stop"}


@chatters
def test_probabilities_are_given_or_refused_by_name(client: OpenAI, endpoints: ExternalEndpoints, way: str) -> None:
    if way not in TAKE_LOGPROBS:
        with pytest.raises(openai.APIStatusError, match="logprobs") as refused:
            client.chat.completions.create(model=endpoints.chat(way), messages=MESSAGES, logprobs=True)
        assert refused.value.status_code in (400, 422)
        return
    answer = client.chat.completions.create(model=endpoints.chat(way), messages=MESSAGES, logprobs=True)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert "".join(one.token for one in logprobs.content) == ANSWER
    assert all(one.logprob < 0 for one in logprobs.content)


@pytest.mark.parametrize("way", [way for way in CHATTERS if way != "cohere"])
def test_filtered_content_has_its_reason(client: OpenAI, endpoints: ExternalEndpoints, way: str) -> None:
    """Cohere alone says nothing of filters."""
    messages: list[Any] = [{"role": "user", "content": "trip the filter"}]
    answer = client.chat.completions.create(model=endpoints.chat(way), messages=messages)
    assert answer.choices[0].finish_reason == "content_filter"


# Embeddings


@pytest.mark.parametrize("embedder", EMBEDDERS)
def test_embeddings_are_the_same_in_both_encodings(
    client: OpenAI, endpoints: ExternalEndpoints, embedder: str
) -> None:
    """The client asks for base64 where nothing was said, and reads it back."""
    model = endpoints.embeddings(embedder)
    asked: list[dict[str, Any]] = [{}, {"encoding_format": "float"}]
    for options in asked:
        answer = client.embeddings.create(model=model, input="a text", **options)
        (one,) = answer.data
        assert one.embedding == pytest.approx(vector("a text", 8), abs=1e-6)
        assert (one.index, answer.object) == (0, "list")
        assert answer.model == model_said(embedder, EMBEDDERS[embedder].model)
        assert answer.usage.total_tokens == answer.usage.prompt_tokens
    raw: Any = client.embeddings.create(model=model, input="a text", encoding_format="base64").data[0].embedding
    assert isinstance(raw, str)
    assert struct.unpack("<8f", base64.b64decode(raw)) == pytest.approx(vector("a text", 8), abs=1e-6)


@pytest.mark.parametrize("embedder", EMBEDDERS)
def test_a_list_of_texts_has_an_embedding_for_each(
    client: OpenAI, endpoints: ExternalEndpoints, embedder: str
) -> None:
    model = endpoints.embeddings(embedder)
    texts = ["one", "two", "three"]
    if embedder == "titan":
        with pytest.raises(openai.BadRequestError, match="one text a request"):
            client.embeddings.create(model=model, input=texts)
        return
    data = client.embeddings.create(model=model, input=texts).data
    assert [one.index for one in data] == [0, 1, 2]
    for text, one in zip(texts, data, strict=True):
        assert one.embedding == pytest.approx(vector(text, 8), abs=1e-6)


@pytest.mark.parametrize("embedder", EMBEDDERS)
def test_embeddings_have_as_many_dimensions_as_are_wanted(
    client: OpenAI, endpoints: ExternalEndpoints, embedder: str
) -> None:
    answer = client.embeddings.create(model=endpoints.embeddings(embedder), input="a text", dimensions=4)
    assert answer.data[0].embedding == pytest.approx(vector("a text", 4), abs=1e-6)


# Completions


@chatters
def test_a_text_is_completed(client: OpenAI, endpoints: ExternalEndpoints, way: str) -> None:
    """Also by models that take chats alone."""
    answer = client.completions.create(model=endpoints.completions(way), prompt="Once upon a time", max_tokens=50)
    (choice,) = answer.choices
    assert (choice.text, choice.finish_reason, choice.index) == ("You said: Once upon a time", "stop", 0)
    assert answer.object == "text_completion"
    assert answer.usage is not None
    assert is_counted(answer.usage)


@chatters
def test_a_streamed_completion_comes_in_pieces(client: OpenAI, endpoints: ExternalEndpoints, way: str) -> None:
    stream = client.completions.create(
        model=endpoints.completions(way), prompt="Once upon a time", max_tokens=50, stream=True
    )
    chunks = list(stream)
    pieces = [chunk.choices[0].text for chunk in chunks]
    assert "".join(pieces) == "You said: Once upon a time"
    assert len([piece for piece in pieces if piece]) > 1
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["stop"]


# Responses


@chatters
def test_a_response_is_created(client: OpenAI, endpoints: ExternalEndpoints, way: str) -> None:
    answer = client.responses.create(
        model=endpoints.chat(way), input=SAID, instructions="Be brief.", max_output_tokens=200, temperature=0.5
    )
    assert (answer.output_text, answer.status, answer.object) == (ANSWER, "completed", "response")
    assert (answer.instructions, answer.error, answer.incomplete_details) == ("Be brief.", None, None)
    assert answer.usage is not None
    assert answer.usage.input_tokens > 11
    assert answer.usage.output_tokens == len(ANSWER) // 2
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens


@chatters
def test_a_response_streams_through_the_helper(client: OpenAI, endpoints: ExternalEndpoints, way: str) -> None:
    with client.responses.stream(model=endpoints.chat(way), input=SAID) as stream:
        events = list(stream)
        final = stream.get_final_response()
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(deltas) > 1
    assert "".join(deltas) == ANSWER
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    assert [event.sequence_number for event in events if event.type != "response.output_text.delta"]  # all have one
    assert (final.output_text, final.status) == (ANSWER, "completed")
    assert final.usage is not None
    assert final.usage.output_tokens == len(ANSWER) // 2


@chatters
def test_a_response_calls_a_function_and_goes_on_from_its_items(
    client: OpenAI, endpoints: ExternalEndpoints, way: str
) -> None:
    """Nothing is kept here, so the items of the earlier response are sent again, as the client documents."""
    model = endpoints.chat(way)
    asked: list[Any] = [{"role": "user", "content": "please use the tool"}]
    first = client.responses.create(model=model, input=asked, tools=[RESPONSES_TOOL])
    (call,) = [item for item in first.output if item.type == "function_call"]
    assert (call.name, json.loads(call.arguments)) == ("get_weather", CALLED)
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "17 degrees"}
    second = client.responses.create(model=model, input=[*asked, *first.output, output], tools=[RESPONSES_TOOL])
    assert second.output_text == "The tool said: 17 degrees"
    third = client.responses.create(
        model=model,
        input=[*asked, *first.output, output, *second.output, {"role": "user", "content": "thank you"}],
        tools=[RESPONSES_TOOL],
    )
    assert third.output_text == "You said: thank you"


@chatters
def test_a_streamed_response_calls_a_function(client: OpenAI, endpoints: ExternalEndpoints, way: str) -> None:
    with client.responses.stream(
        model=endpoints.chat(way), input="please use the tool", tools=[RESPONSES_TOOL]
    ) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert "response.function_call_arguments.delta" in kinds
    assert "response.function_call_arguments.done" in kinds
    (call,) = [item for item in final.output if item.type == "function_call"]
    assert (call.name, json.loads(call.arguments)) == ("get_weather", CALLED)


@chatters
def test_a_response_follows_a_schema(client: OpenAI, endpoints: ExternalEndpoints, way: str) -> None:
    answer = client.responses.parse(model=endpoints.chat(way), input=SAID, text_format=Trip)
    assert answer.output_parsed == Trip(title="title", days=7, places=[Place(name="name", country="country")])


@chatters
def test_what_would_have_to_be_kept_is_refused(client: OpenAI, endpoints: ExternalEndpoints, way: str) -> None:
    with pytest.raises(openai.BadRequestError, match="'store'"):
        client.responses.create(model=endpoints.chat(way), input=SAID, store=True)


# Models


def test_models_are_the_endpoints_that_may_be_queried(client: OpenAI, endpoints: ExternalEndpoints) -> None:
    name = endpoints.chat("openai")
    listed = {model.id: model for model in client.models.list()}
    assert listed[name].object == "model"
    retrieved = client.models.retrieve(name)
    assert retrieved == listed[name]
    with pytest.raises(openai.NotFoundError, match="nobody-made-this"):
        client.models.retrieve("nobody-made-this")


# The asynchronous client


def test_the_asynchronous_client_asks_all_at_once(server: Server, endpoints: ExternalEndpoints) -> None:
    models = [endpoints.chat(way) for way in CHATTERS]

    async def said(client: AsyncOpenAI, model: str) -> tuple[str | None, str]:
        whole = await client.chat.completions.create(model=model, messages=MESSAGES)
        stream = await client.chat.completions.create(model=model, messages=MESSAGES, stream=True)
        pieces = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
        return whole.choices[0].message.content, "".join(pieces)

    async def all_said() -> list[tuple[str | None, str]]:
        async with AsyncOpenAI(base_url=f"{server.url}/serving-endpoints", api_key=server.token) as client:
            return await asyncio.gather(*(said(client, model) for model in models))

    assert asyncio.run(all_said()) == [(ANSWER, ANSWER)] * len(models)


# What goes wrong


@pytest.mark.parametrize("surface", ["chat", "completions", "embeddings", "responses"])
def test_a_model_that_is_none_is_not_found(client: OpenAI, surface: str) -> None:
    model = "nobody-made-this"
    ask: Any = {
        "chat": lambda: client.chat.completions.create(model=model, messages=MESSAGES),
        "completions": lambda: client.completions.create(model=model, prompt="a"),
        "embeddings": lambda: client.embeddings.create(model=model, input="a"),
        "responses": lambda: client.responses.create(model=model, input="a"),
    }[surface]
    with pytest.raises(openai.NotFoundError, match=model):
        ask()


def test_an_endpoint_of_another_task_is_refused_with_its_own(client: OpenAI, endpoints: ExternalEndpoints) -> None:
    with pytest.raises(openai.BadRequestError, match="llm/v1/embeddings"):
        client.chat.completions.create(model=endpoints.embeddings("openai"), messages=MESSAGES)
    with pytest.raises(openai.BadRequestError, match="llm/v1/chat"):
        client.embeddings.create(model=endpoints.chat("openai"), input="a")


def test_a_key_that_is_none_cannot_get_in(
    server: Server, endpoints: ExternalEndpoints, fake: FakeProviderClient
) -> None:
    model = endpoints.chat("openai")
    stranger = OpenAI(base_url=f"{server.url}/serving-endpoints", api_key="no-such-token", max_retries=0)
    with stranger, pytest.raises((openai.AuthenticationError, openai.PermissionDeniedError)) as refused:
        stranger.chat.completions.create(model=model, messages=MESSAGES)
    assert refused.value.body
    assert fake.requests() == []


def test_a_user_without_the_right_is_denied(
    server: Server, endpoints: ExternalEndpoints, fake: FakeProviderClient
) -> None:
    model = endpoints.chat("openai")
    other = OpenAI(base_url=f"{server.url}/serving-endpoints", api_key=OTHER_TOKEN, max_retries=0)
    with other:
        with pytest.raises(openai.PermissionDeniedError, match="CAN_QUERY"):
            other.chat.completions.create(model=model, messages=MESSAGES)
        assert model not in [one.id for one in other.models.list()]
    assert fake.requests() == []


@chatters
@pytest.mark.parametrize("stream", [False, True])
def test_a_limit_of_the_provider_is_told_with_its_wait(
    client: OpenAI, endpoints: ExternalEndpoints, fake: FakeProviderClient, way: str, stream: bool
) -> None:
    model = endpoints.chat(way)
    client.chat.completions.create(model=model, messages=MESSAGES)  # access tokens are there then
    fake.fail_next("status", status=429, headers={"retry-after": "7"}, message="Slow down.")
    with pytest.raises(openai.RateLimitError, match="Slow down") as limited:
        client.chat.completions.create(model=model, messages=MESSAGES, stream=stream)
    assert limited.value.response.headers["retry-after"] == "7"
    assert limited.value.code == "REQUEST_LIMIT_EXCEEDED"


def test_the_client_waits_as_long_as_the_provider_asks(
    client: OpenAI, endpoints: ExternalEndpoints, fake: FakeProviderClient
) -> None:
    """Its own first wait is half a second at most."""
    model = endpoints.chat("anthropic")
    fake.fail_next("status", status=429, headers={"retry-after": "1"})
    began = time.monotonic()
    answer = client.with_options(max_retries=1).chat.completions.create(model=model, messages=MESSAGES)
    assert answer.choices[0].message.content == ANSWER
    assert time.monotonic() - began >= 1
    assert [one["status"] for one in fake.requests()] == [429, 200]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (422, openai.UnprocessableEntityError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("way", ["openai", "anthropic", "bedrock", "palm", "cohere"])
def test_an_error_of_the_provider_is_the_clients_own(
    client: OpenAI, endpoints: ExternalEndpoints, fake: FakeProviderClient, way: str, status: int, error: Any
) -> None:
    """With the provider's words and its name, so that nobody looks for the fault in the wrong place."""
    model = endpoints.chat(way)
    fake.fail_next("status", status=status, message="It went wrong.")
    with pytest.raises(error, match=r"provider '.*' answered with status \d+: It went wrong"):
        client.chat.completions.create(model=model, messages=MESSAGES)


@pytest.mark.parametrize("way", LATER_THAN_FIRST)
def test_a_stream_that_breaks_off_raises(
    client: OpenAI, endpoints: ExternalEndpoints, fake: FakeProviderClient, way: str
) -> None:
    """A half answer never looks like a whole one."""
    model = endpoints.chat(way)
    fake.fail_next("reset_midway", after=4)
    heard: list[str] = []
    stream = client.chat.completions.create(model=model, messages=MESSAGES, stream=True)
    with pytest.raises(openai.APIError, match="cannot be reached"):
        heard.extend(chunk.choices[0].delta.content or "" for chunk in stream)
    assert "".join(heard)
    assert ANSWER.startswith("".join(heard))
    assert "".join(heard) != ANSWER


@pytest.mark.parametrize("way", [*LATER_THAN_FIRST, "azure"])
def test_a_response_that_breaks_off_says_so_in_its_last_event(
    client: OpenAI, endpoints: ExternalEndpoints, fake: FakeProviderClient, way: str
) -> None:
    """The client does not raise for it: its helper says that the response was never completed."""
    model = endpoints.chat(way)
    fake.fail_next("reset_midway", after=4)
    with client.responses.stream(model=model, input=SAID) as stream:
        last = list(stream)[-1]
        with pytest.raises(RuntimeError, match=r"response\.completed"):
            stream.get_final_response()
    if way == "azure":  # which has the Responses API itself, so that its events are passed on
        assert last.type == "error"
        assert (last.code, "cannot be reached" in last.message) == ("TEMPORARILY_UNAVAILABLE", True)
    else:
        assert last.type == "response.failed"
        assert last.response.error is not None
        assert "cannot be reached" in last.response.error.message


def test_no_credential_of_the_provider_is_told(
    client: OpenAI, endpoints: ExternalEndpoints, fake: FakeProviderClient
) -> None:
    """Also where the provider repeats it."""
    key = fake.keys["openai"]
    model = endpoints.chat("openai")
    fake.fail_next("status", status=401, message=f"Incorrect API key provided: {key}.")
    with pytest.raises(openai.AuthenticationError) as refused:
        client.chat.completions.create(model=model, messages=MESSAGES)
    assert key not in refused.value.response.text
