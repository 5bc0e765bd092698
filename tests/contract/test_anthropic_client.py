"""Anthropic's own client against endpoints of Anthropic, and of others whose answers are translated for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic
from external_endpoints import ExternalEndpoints
from fake_provider.anthropic import SIGNATURE
from fake_provider.running import FakeProviderClient, running_fake_provider
from server import OTHER_TOKEN, Server

WAYS = ("anthropic", "openai", "bedrock", "palm", "vertex", "cohere", "databricks")
SHOW_THINKING = ("anthropic", "bedrock")
SAID = "tell me of the sea"
ANSWER = f"You said: {SAID}"
MESSAGES: list[Any] = [{"role": "user", "content": SAID}]
USE_TOOL: list[Any] = [{"role": "user", "content": "please use the tool"}]
TOOL: Any = {
    "name": "get_weather",
    "description": "The weather.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city", "days"],
    },
}
CALLED = {"city": "city", "days": 7}

ways = pytest.mark.parametrize("way", WAYS)


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeProviderClient]:
    with running_fake_provider() as running:
        yield running


@pytest.fixture(scope="module")
def endpoints(server: Server, fake: FakeProviderClient) -> Iterator[ExternalEndpoints]:
    made = ExternalEndpoints(server, fake.url, "anthropic-client")
    yield made
    made.remove()


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Anthropic]:
    with Anthropic(base_url=f"{server.url}/serving-endpoints/anthropic", api_key=server.token, max_retries=0) as made:
        yield made


@pytest.fixture(autouse=True)
def clean(fake: FakeProviderClient) -> None:
    fake.reset()


@ways
def test_a_message_is_answered(client: Anthropic, endpoints: ExternalEndpoints, way: str) -> None:
    answer = client.messages.create(
        model=endpoints.chat(way), max_tokens=200, system="Be brief.", messages=MESSAGES
    )
    (block,) = answer.content
    assert block.type == "text"
    assert (block.text, answer.role, answer.type) == (ANSWER, "assistant", "message")
    assert (answer.stop_reason, answer.stop_sequence) == ("end_turn", None)
    assert answer.model == endpoints.way(way).model
    assert answer.usage.input_tokens > 11
    assert answer.usage.output_tokens == len(ANSWER) // 2


@ways
def test_a_conversation_goes_to_the_provider_whole(
    client: Anthropic, endpoints: ExternalEndpoints, fake: FakeProviderClient, way: str
) -> None:
    conversation: list[Any] = [
        {"role": "user", "content": "first words"},
        {"role": "assistant", "content": [{"type": "text", "text": "second words"}]},
        {"role": "user", "content": [{"type": "text", "text": "third words"}]},
    ]
    system: Any = [{"type": "text", "text": "words before", "cache_control": {"type": "ephemeral"}}]
    answer = client.messages.create(
        model=endpoints.chat(way), max_tokens=200, system=system, messages=conversation
    )
    assert answer.content[0].type == "text"
    assert answer.content[0].text == "You said: third words"
    body = json.dumps(fake.requests()[-1]["body"])
    places = [body.find(words) for words in ("first words", "second words", "third words")]
    assert "words before" in body
    assert -1 < places[0] < places[1] < places[2]


@ways
def test_the_limit_and_stop_sequences_have_their_reasons(
    client: Anthropic, endpoints: ExternalEndpoints, way: str
) -> None:
    model = endpoints.chat(way)
    short = client.messages.create(model=model, max_tokens=4, messages=MESSAGES)
    assert short.content[0].type == "text"
    assert (short.content[0].text, short.stop_reason) == (ANSWER[:8], "max_tokens")
    halted = client.messages.create(
        model=model, max_tokens=200, messages=[{"role": "user", "content": "one HALT two"}], stop_sequences=["HALT"]
    )
    assert halted.content[0].type == "text"
    assert halted.content[0].text == "You said: one "
    # Only Anthropic tells which sequence it was; with others it looks like an end.
    assert halted.stop_reason == ("stop_sequence" if way == "anthropic" else "end_turn")


@ways
def test_a_stream_through_the_helper_is_the_whole_message(
    client: Anthropic, endpoints: ExternalEndpoints, way: str
) -> None:
    with client.messages.stream(model=endpoints.chat(way), max_tokens=200, messages=MESSAGES) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    assert len(pieces) > 1
    assert "".join(pieces) == ANSWER
    (block,) = final.content
    assert block.type == "text"
    assert (block.text, final.stop_reason, final.role) == (ANSWER, "end_turn", "assistant")
    assert final.usage.output_tokens == len(ANSWER) // 2
    assert final.model == endpoints.way(way).model


@ways
def test_events_of_a_stream_come_in_their_order(client: Anthropic, endpoints: ExternalEndpoints, way: str) -> None:
    stream = client.messages.create(model=endpoints.chat(way), max_tokens=200, messages=MESSAGES, stream=True)
    kinds = [event.type for event in stream if str(event.type) != "ping"]
    deltas = [kind for kind in kinds if kind == "content_block_delta"]
    assert len(deltas) > 1
    assert kinds == [
        "message_start", "content_block_start", *deltas, "content_block_stop", "message_delta", "message_stop",
    ]  # fmt: skip


@ways
def test_a_tool_is_called_and_its_result_sent_back(client: Anthropic, endpoints: ExternalEndpoints, way: str) -> None:
    model = endpoints.chat(way)
    first = client.messages.create(model=model, max_tokens=200, messages=USE_TOOL, tools=[TOOL])
    (call,) = [block for block in first.content if block.type == "tool_use"]
    assert (call.name, call.input, first.stop_reason) == ("get_weather", CALLED, "tool_use")
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "17 degrees"}]}
    conversation: list[Any] = [
        *USE_TOOL,
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [result]},
    ]
    second = client.messages.create(model=model, max_tokens=200, messages=conversation, tools=[TOOL])
    (block,) = second.content
    assert block.type == "text"
    assert (block.text, second.stop_reason) == ("The tool said: 17 degrees", "end_turn")


@ways
def test_a_streamed_call_of_a_tool_is_put_together(client: Anthropic, endpoints: ExternalEndpoints, way: str) -> None:
    clock: Any = {"name": "get_time", "input_schema": {"type": "object", "properties": {}}}
    twice: list[Any] = [{"role": "user", "content": "use the tool twice"}]
    with client.messages.stream(
        model=endpoints.chat(way), max_tokens=200, messages=twice, tools=[TOOL, clock]
    ) as stream:
        pieces = [event.partial_json for event in stream if event.type == "input_json"]
        final = stream.get_final_message()
    assert pieces
    calls = [block for block in final.content if block.type == "tool_use"]
    assert [(call.name, call.input) for call in calls] == [("get_weather", CALLED), ("get_time", {})]
    assert calls[0].id != calls[1].id
    assert final.stop_reason == "tool_use"


@ways
@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "get_weather"}])
def test_a_tool_can_be_demanded(client: Anthropic, endpoints: ExternalEndpoints, way: str, choice: Any) -> None:
    answer = client.messages.create(
        model=endpoints.chat(way), max_tokens=200, messages=MESSAGES, tools=[TOOL], tool_choice=choice
    )
    assert [block.name for block in answer.content if block.type == "tool_use"] == ["get_weather"]


@pytest.mark.parametrize("way", [way for way in WAYS if way != "cohere"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_model_thinks_before_it_answers(
    client: Anthropic, endpoints: ExternalEndpoints, fake: FakeProviderClient, way: str, stream: bool
) -> None:
    """Those that show it, signed; the others are told how hard to think. Cohere's models take no effort."""
    model = endpoints.chat(way)
    asked: Any = {
        "model": model,
        "max_tokens": 4000,
        "messages": MESSAGES,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }
    if stream:
        with client.messages.stream(**asked) as events:
            answer: Any = events.get_final_message()
    else:
        answer = client.messages.create(**asked)
    thoughts = [block for block in answer.content if block.type == "thinking"]
    assert answer.content[-1].text == ANSWER
    if way not in SHOW_THINKING:
        assert thoughts == []
        body = fake.requests()[-1]["body"]
        asked_for = body.get("reasoning_effort") or body["generationConfig"]["thinkingConfig"]
        assert asked_for == ({"thinkingBudget": 1024} if way in ("palm", "vertex") else "low")
        return
    (thought,) = thoughts
    assert (thought.thinking, thought.signature) == (f"Let me think about: {SAID}", SIGNATURE)
    assert answer.usage.output_tokens == len(ANSWER) // 2 + len(thought.thinking) // 2
    conversation = [*MESSAGES, {"role": "assistant", "content": answer.content}, {"role": "user", "content": "more"}]
    second = client.messages.create(**{**asked, "messages": conversation})
    assert second.content[-1].text == "You said: more"
    assert SIGNATURE in json.dumps(fake.requests()[-1]["body"]), "what was thought goes back as it was signed"


@ways
def test_an_image_reaches_the_model(client: Anthropic, endpoints: ExternalEndpoints, way: str) -> None:
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
    content: Any = [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": pixel}},
        {"type": "text", "text": "what is it"},
    ]
    answer = client.messages.create(
        model=endpoints.chat(way), max_tokens=200, messages=[{"role": "user", "content": content}]
    )
    assert answer.content[0].type == "text"
    assert answer.content[0].text == "You said: what is it [image]"


def test_the_asynchronous_client_asks_all_at_once(server: Server, endpoints: ExternalEndpoints) -> None:
    models = [endpoints.chat(way) for way in WAYS]

    async def said(client: AsyncAnthropic, model: str) -> str:
        async with client.messages.stream(model=model, max_tokens=200, messages=MESSAGES) as stream:
            return await stream.get_final_text()

    async def all_said() -> list[str]:
        async with AsyncAnthropic(
            base_url=f"{server.url}/serving-endpoints/anthropic", api_key=server.token
        ) as client:
            return await asyncio.gather(*(said(client, model) for model in models))

    assert asyncio.run(all_said()) == [ANSWER] * len(models)


# What goes wrong


def test_a_token_gets_in_by_either_header(server: Server, endpoints: ExternalEndpoints) -> None:
    """The client says its key in `x-api-key`, and a token as a bearer's."""
    base = f"{server.url}/serving-endpoints/anthropic"
    with Anthropic(base_url=base, auth_token=server.token, api_key=None, max_retries=0) as bearer:
        answer = bearer.messages.create(model=endpoints.chat("anthropic"), max_tokens=200, messages=MESSAGES)
    assert answer.content[0].type == "text"
    assert answer.content[0].text == ANSWER


@pytest.mark.parametrize(
    ("key", "error"),
    [
        ("no-such-token", (anthropic.AuthenticationError, anthropic.PermissionDeniedError)),
        (OTHER_TOKEN, anthropic.PermissionDeniedError),
    ],
)
def test_who_may_not_query_is_told_so(
    server: Server, endpoints: ExternalEndpoints, fake: FakeProviderClient, key: str, error: Any
) -> None:
    model = endpoints.chat("anthropic")
    base = f"{server.url}/serving-endpoints/anthropic"
    with Anthropic(base_url=base, api_key=key, max_retries=0) as stranger, pytest.raises(error) as refused:
        stranger.messages.create(model=model, max_tokens=200, messages=MESSAGES)
    assert refused.value.body["type"] == "error"
    assert refused.value.body["error"]["message"]
    assert fake.requests() == []


def test_a_model_that_is_none_is_not_found(client: Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="nobody-made-this"):
        client.messages.create(model="nobody-made-this", max_tokens=200, messages=MESSAGES)


@ways
@pytest.mark.parametrize("stream", [False, True])
def test_a_limit_of_the_provider_is_told_with_its_wait(
    client: Anthropic, endpoints: ExternalEndpoints, fake: FakeProviderClient, way: str, stream: bool
) -> None:
    model = endpoints.chat(way)
    client.messages.create(model=model, max_tokens=200, messages=MESSAGES)  # access tokens are there then
    fake.fail_next("status", status=429, headers={"retry-after": "7"}, message="Slow down.")
    with pytest.raises(anthropic.RateLimitError, match="Slow down") as limited:
        client.messages.create(model=model, max_tokens=200, messages=MESSAGES, stream=stream)
    assert limited.value.response.headers["retry-after"] == "7"


@ways
def test_a_stream_that_breaks_off_raises(
    client: Anthropic, endpoints: ExternalEndpoints, fake: FakeProviderClient, way: str
) -> None:
    """A half answer never looks like a whole one."""
    model = endpoints.chat(way)
    client.messages.create(model=model, max_tokens=200, messages=MESSAGES)  # access tokens are there then
    fake.fail_next("reset_midway", after=5)
    heard: list[str] = []
    with client.messages.stream(model=model, max_tokens=200, messages=MESSAGES) as stream:  # noqa: SIM117
        with pytest.raises(anthropic.APIStatusError, match="cannot be reached"):
            heard.extend(stream.text_stream)
    assert "".join(heard) != ANSWER
    assert ANSWER.startswith("".join(heard))
