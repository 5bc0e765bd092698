"""The fake provider is right: the providers' SDKs take it for the real thing, and its faults are what they say."""

from __future__ import annotations

import base64
import json
import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import boto3
import cohere
import httpx
import openai
import pytest
from anthropic import Anthropic, BadRequestError, omit
from anthropic.lib.vertex import AnthropicVertex
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from fake_provider.examples import example
from fake_provider.running import FakeProviderClient, running_fake_provider
from google import genai
from google.auth.transport.requests import Request as GoogleRequest
from google.genai import types
from google.oauth2.service_account import Credentials
from server import wait_for

HELLO = [{"role": "user", "content": "Hello, provider"}]
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 2}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
ARGUMENTS = {"city": "city", "days": 2}
OPENAI_TOOL = {"type": "function", "function": {"name": "weather", "description": "tells", "parameters": WEATHER}}
PNG = base64.b64encode(b"\x89PNG fake").decode()
SAID = "You said: Hello, provider"


@pytest.fixture(scope="module")
def shared() -> Iterator[FakeProviderClient]:
    with running_fake_provider() as running:
        yield running


@pytest.fixture
def fake(shared: FakeProviderClient) -> FakeProviderClient:
    shared.reset()
    return shared


@pytest.fixture
def gpt(fake: FakeProviderClient) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{fake.url}/v1", api_key=fake.keys["openai"], max_retries=0) as client:
        yield client


@pytest.fixture
def claude(fake: FakeProviderClient) -> Iterator[Anthropic]:
    with Anthropic(base_url=fake.url, api_key=fake.keys["anthropic"], max_retries=0) as client:
        yield client


@pytest.fixture
def gemini(fake: FakeProviderClient) -> genai.Client:
    return genai.Client(api_key=fake.keys["gemini"], http_options=types.HttpOptions(base_url=fake.url))


@pytest.fixture
def bedrock(fake: FakeProviderClient) -> Any:
    return boto3.client(
        "bedrock-runtime",
        endpoint_url=fake.url,
        region_name="us-east-1",
        aws_access_key_id=fake.keys["bedrock_access_key_id"],
        aws_secret_access_key=fake.keys["bedrock_secret_access_key"],
        config=Config(retries={"total_max_attempts": 1}),
    )


@pytest.fixture
def command(fake: FakeProviderClient) -> cohere.ClientV2:
    return cohere.ClientV2(api_key=fake.keys["cohere"], base_url=fake.url)


def events(text: str) -> list[Any]:
    """The data of server-sent events, without the last."""
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def ask(fake: FakeProviderClient, **body: Any) -> httpx.Response:
    """A chat completion by raw HTTP."""
    headers = {"authorization": f"Bearer {fake.keys['openai']}"}
    return fake.http.post("/v1/chat/completions", json={"model": "m", "messages": HELLO, **body}, headers=headers)


# OpenAI


def test_openai_chat(fake: FakeProviderClient, gpt: openai.OpenAI) -> None:
    told = gpt.chat.completions.create(model="m", messages=HELLO, n=2, logprobs=True, top_logprobs=2)
    first, second = told.choices
    assert (first.message.content, first.finish_reason) == (SAID, "stop")
    assert second.message.content == f"Answer 2. {SAID}"
    assert first.logprobs is not None
    assert "".join(token.token for token in first.logprobs.content or ()) == SAID
    assert {len(token.top_logprobs) for token in first.logprobs.content or ()} == {2}
    assert told.usage is not None
    assert (told.usage.prompt_tokens, told.usage.completion_tokens) == (11 + 8, 13 + 18)
    recorded = fake.requests()[0]
    assert (recorded["dialect"], recorded["path"], recorded["body"]["n"]) == ("openai", "/v1/chat/completions", 2)
    assert recorded["headers"]["authorization"] == f"Bearer {fake.keys['openai']}"


def test_openai_chat_stream(fake: FakeProviderClient, gpt: openai.OpenAI) -> None:
    fake.control(chunks=9)
    stream = gpt.chat.completions.create(
        model="m", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    pieces = [c.choices[0].delta.content for c in chunks if c.choices and c.choices[0].delta.content]
    assert (len(pieces), "".join(pieces)) == (9, SAID)
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (19, 13)
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_openai_tools(gpt: openai.OpenAI) -> None:
    asked: list[Any] = [{"role": "user", "content": "use the tool twice"}]
    told = gpt.chat.completions.create(model="m", messages=asked, tools=[OPENAI_TOOL]).choices[0]
    assert told.finish_reason == "tool_calls"
    assert [json.loads(call.function.arguments) for call in told.message.tool_calls or ()] == [ARGUMENTS] * 2
    with gpt.chat.completions.stream(model="m", messages=asked, tools=[OPENAI_TOOL]) as stream:
        streamed = stream.get_final_completion().choices[0]
    calls = [(call.id, call.function.arguments) for call in told.message.tool_calls or ()]
    assert [(call.id, call.function.arguments) for call in streamed.message.tool_calls or ()] == calls
    answers = [{"role": "tool", "tool_call_id": c.id, "content": "sunny"} for c in told.message.tool_calls or ()]
    asked += [told.message.to_dict(), *answers]
    last = gpt.chat.completions.create(model="m", messages=asked, tools=[OPENAI_TOOL]).choices[0]
    assert last.message.content == "The tool said: sunny sunny"
    with pytest.raises(openai.BadRequestError, match="did not have response messages"):
        gpt.chat.completions.create(model="m", messages=asked[:-1], tools=[OPENAI_TOOL])


def test_openai_structured_output_stop_limit_and_image(gpt: openai.OpenAI) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "weather", "strict": True, "schema": WEATHER}}
    told = gpt.chat.completions.create(model="m", messages=HELLO, response_format=form)
    assert json.loads(told.choices[0].message.content or "") == ARGUMENTS
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    shown = [{"role": "user", "content": [{"type": "text", "text": "See"}, image]}]
    assert (
        gpt.chat.completions.create(model="m", messages=shown).choices[0].message.content == "You said: See [image]"
    )
    stopped = gpt.chat.completions.create(model="m", messages=HELLO, stop=["llo"]).choices[0]
    assert (stopped.message.content, stopped.finish_reason) == ("You said: He", "stop")
    short = gpt.chat.completions.create(model="m", messages=HELLO, max_tokens=3)
    assert (short.choices[0].message.content, short.choices[0].finish_reason) == ("You sa", "length")
    assert short.usage is not None
    assert short.usage.completion_tokens == 3


def test_openai_completions_embeddings_and_models(gpt: openai.OpenAI) -> None:
    told = gpt.completions.create(model="m", prompt=["a", "b"], n=2, logprobs=1)
    assert [choice.text for choice in told.choices][::2] == ["You said: a", "You said: b"]
    streamed = "".join(c.choices[0].text for c in gpt.completions.create(model="m", prompt="abc", stream=True))
    assert streamed == "You said: abc"
    floats = gpt.embeddings.create(model="e", input=["a", "b"], encoding_format="float")
    packed = gpt.embeddings.create(model="e", input=["a", "b"])
    assert [one.embedding for one in floats.data] == [one.embedding for one in packed.data]
    assert floats.data[0].embedding != floats.data[1].embedding
    assert len(gpt.embeddings.create(model="e", input="a", dimensions=20).data[0].embedding) == 20
    assert [model.id for model in gpt.models.list()] == ["fake-chat", "fake-embedding"]


def test_openai_responses(gpt: openai.OpenAI) -> None:
    told = gpt.responses.create(model="m", input="Hello, provider", instructions="Be short")
    assert told.output_text == SAID
    assert told.usage is not None
    assert (told.usage.input_tokens, told.usage.output_tokens) == (23, 13)
    tool: Any = {"type": "function", "name": "weather", "parameters": WEATHER, "strict": True}
    called = gpt.responses.create(model="m", input="use the tool", tools=[tool])
    call: Any = called.output[0]
    assert (call.type, json.loads(call.arguments)) == ("function_call", ARGUMENTS)
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    turns: Any = [{"role": "user", "content": "use the tool"}, call.to_dict(), output]
    assert gpt.responses.create(model="m", input=turns, tools=[tool]).output_text == "The tool said: sunny"
    with gpt.responses.stream(model="m", input="use the tool", tools=[tool], reasoning={"effort": "low"}) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[0] == "response.created"
    assert "response.reasoning_summary_text.delta" in kinds
    assert kinds[-1] == "response.completed"
    assert [item.type for item in final.output] == ["reasoning", "function_call"]
    with gpt.responses.stream(model="m", input="Hello, provider") as stream:
        assert "".join(event.delta for event in stream if event.type == "response.output_text.delta") == SAID


def test_openai_refuses(fake: FakeProviderClient, gpt: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError, match="Incorrect API key provided") as denied:
        gpt.with_options(api_key="sk-wrong").chat.completions.create(model="m", messages=HELLO)
    assert denied.value.code == "invalid_api_key"
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"surprise": 1}, "Unknown parameter: 'surprise'"),
        ({"temperature": 3}, "Invalid value for 'temperature'"),
        ({"messages": []}, "Invalid value for 'messages'"),
        ({"messages": [{"role": "robot", "content": "x"}]}, r"'messages\[0\]\.role'"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "c"}]}, "preceeding message"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"tool_choice": "auto"}, "only allowed when 'tools'"),
        ({"top_logprobs": 2}, "logprobs"),
        ({"response_format": {"type": "json_object"}}, "must contain the word 'json'"),
        ({"model": "o3-mini", "max_tokens": 5}, "max_completion_tokens"),
    ]
    for body, words in wrong:
        with pytest.raises(openai.BadRequestError, match=words):
            gpt.post("/chat/completions", body={"model": "m", "messages": HELLO, **body}, cast_to=object)
    assert fake.counts()["refused"] == 1 + len(wrong)


def test_azure_with_a_key_and_with_entra(fake: FakeProviderClient) -> None:
    def client(**credentials: str) -> openai.AzureOpenAI:
        return openai.AzureOpenAI(azure_endpoint=fake.url, api_version="2024-10-21", max_retries=0, **credentials)

    azure = client(api_key=fake.keys["azure"])
    assert azure.chat.completions.create(model="my-gpt", messages=HELLO).choices[0].message.content == SAID
    chunks = list(azure.chat.completions.create(model="my-gpt", messages=HELLO, stream=True))
    assert chunks[0].choices == []
    assert "".join(c.choices[0].delta.content or "" for c in chunks[1:]) == SAID
    assert len(azure.embeddings.create(model="my-ada", input="a").data[0].embedding) == 8
    assert [one["model"] for one in fake.requests()] == ["my-gpt", "my-gpt", "my-ada"]
    form = {
        "grant_type": "client_credentials",
        "client_id": fake.keys["entra_client_id"],
        "client_secret": fake.keys["entra_client_secret"],
        "scope": "https://cognitiveservices.azure.com/.default",
    }
    path = f"/{fake.keys['entra_tenant']}/oauth2/v2.0/token"
    told = fake.http.post(path, data=form).json()
    assert told["expires_in"] == 3599
    entra = client(azure_ad_token=told["access_token"])
    assert entra.completions.create(model="my-gpt", prompt="x").choices[0].text == "You said: x"
    refused = fake.http.post(path, data={**form, "client_secret": "wrong"})
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    with pytest.raises(openai.AuthenticationError, match="invalid subscription key"):
        client(api_key="wrong").chat.completions.create(model="my-gpt", messages=HELLO)


def test_those_that_are_like_openai(fake: FakeProviderClient) -> None:
    def post(path: str, key: str, **body: Any) -> httpx.Response:
        return fake.http.post(path, json=body, headers={"authorization": f"Bearer {key}"})

    databricks, keys = "/serving-endpoints/claude/invocations", fake.keys
    told = post(databricks, keys["databricks"], messages=HELLO, max_tokens=100)
    assert told.json()["choices"][0]["message"]["content"] == SAID
    assert len(post(databricks, keys["databricks"], input=["a"]).json()["data"]) == 1
    assert post(databricks, keys["databricks"], prompt="x").json()["choices"][0]["text"] == "You said: x"
    streamed = events(post(databricks, keys["databricks"], messages=HELLO, stream=True).text)
    assert streamed[0]["usage"]["completion_tokens"] is None
    assert streamed[-1]["usage"]["completion_tokens"] == 13
    refused = post(databricks, keys["databricks"], inputs={})
    assert (refused.status_code, refused.json()["error_code"]) == (400, "BAD_REQUEST")
    assert post(databricks, "wrong", messages=HELLO).status_code == 403

    ai21 = "/studio/v1/chat/completions"
    told = post(ai21, keys["ai21"], model="jamba-mini", messages=HELLO, max_tokens=100)
    assert told.json()["choices"][0]["message"]["content"] == SAID
    refused = post(ai21, keys["ai21"], model="jamba-mini", messages=HELLO, logprobs=True)
    assert (refused.status_code, refused.json()["detail"][0]["loc"]) == (422, ["body", "logprobs"])
    assert post(ai21, "wrong", model="jamba-mini", messages=HELLO).status_code == 401

    for path in ("/openai/v1/chat/completions", "/custom/anything"):
        headers = {"x-my-key": keys["custom"]}
        own = fake.http.post(path, json={"messages": HELLO, "top_k": 3}, headers=headers)
        assert own.json()["choices"][0]["message"]["content"] == SAID
    assert fake.http.post("/custom/anything", json={"messages": HELLO}).status_code == 401


# Anthropic


CLAUDE_TOOL: Any = {"name": "weather", "description": "tells", "input_schema": WEATHER}


def test_anthropic_messages(fake: FakeProviderClient, claude: Anthropic) -> None:
    told = claude.messages.create(model="claude", max_tokens=100, messages=HELLO, system="Be short")
    assert (told.content[0].text, told.stop_reason) == (SAID, "end_turn")
    assert (told.usage.input_tokens, told.usage.output_tokens) == (23, 13)
    fake.control(chunks=7)
    with claude.messages.stream(model="claude", max_tokens=100, messages=HELLO, system="Be short") as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    assert (len(pieces), "".join(pieces)) == (7, SAID)
    assert (final.usage.input_tokens, final.usage.output_tokens) == (23, 13)
    stopped = claude.messages.create(model="claude", max_tokens=100, messages=HELLO, stop_sequences=["llo"])
    assert (stopped.content[0].text, stopped.stop_reason, stopped.stop_sequence) == (
        "You said: He",
        "stop_sequence",
        "llo",
    )
    source = {"type": "base64", "media_type": "image/png", "data": PNG}
    shown: Any = [{"role": "user", "content": [{"type": "text", "text": "See"}, {"type": "image", "source": source}]}]
    assert (
        claude.messages.create(model="claude", max_tokens=9, messages=shown).content[0].text == "You said: See [ima"
    )


def test_anthropic_tools_thinking_and_schema(claude: Anthropic) -> None:
    asked: Any = [{"role": "user", "content": "use the tool"}]
    more: Any = {"model": "claude", "max_tokens": 4000, "tools": [CLAUDE_TOOL]}
    thinking: Any = {"type": "enabled", "budget_tokens": 1024}
    told = claude.messages.create(messages=asked, thinking=thinking, **more)
    assert [block.type for block in told.content] == ["thinking", "tool_use"]
    assert (told.stop_reason, told.content[1].input) == ("tool_use", ARGUMENTS)
    with claude.messages.stream(messages=asked, thinking=thinking, **more) as stream:
        assert stream.get_final_message().content == told.content
    result = {"type": "tool_result", "tool_use_id": told.content[1].id, "content": "sunny"}
    turns = [*asked, {"role": "assistant", "content": told.content}, {"role": "user", "content": [result]}]
    assert claude.messages.create(messages=turns, **more).content[0].text == "The tool said: sunny"
    forced = claude.messages.create(messages=HELLO, tool_choice={"type": "tool", "name": "weather"}, **more)
    assert forced.content[0].input == ARGUMENTS
    form: Any = {"format": {"type": "json_schema", "schema": WEATHER}}
    asked_json = claude.messages.create(model="claude", max_tokens=100, messages=HELLO, output_config=form)
    assert json.loads(asked_json.content[0].text) == ARGUMENTS


def test_anthropic_refuses(claude: Anthropic) -> None:
    use = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "x"}
    user: Any = {"role": "user", "content": "x"}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"max_tokens": omit}, "max_tokens: Field required"),
        ({"frequency_penalty": 1}, "frequency_penalty: Extra inputs are not permitted"),
        ({"temperature": 0.5}, "temperature: Extra inputs are not permitted"),
        ({"messages": [{"role": "system", "content": "x"}, user]}, 'Unexpected role "system"'),
        ({"messages": [{"role": "assistant", "content": "x"}, user]}, "first message must use"),
        ({"messages": [{"role": "user", "content": [result]}]}, "unexpected `tool_use_id`"),
        ({"messages": [user, {"role": "assistant", "content": [use]}, user]}, "without `tool_result` blocks"),
        ({"messages": [{"role": "user", "content": ""}]}, "non-empty content"),
        ({"tools": omit, "tool_choice": {"type": "any"}}, "only be specified while providing tools"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, "must be greater than"),
    ]
    for change, words in wrong:
        body = {"model": "claude", "max_tokens": 100, "messages": HELLO, "tools": [CLAUDE_TOOL], **change}
        with pytest.raises(BadRequestError, match=words):
            claude.post("/v1/messages", body={k: v for k, v in body.items() if v is not omit}, cast_to=object)


def test_anthropic_takes_the_earlier_version_too(fake: FakeProviderClient) -> None:
    body = {"model": "claude", "max_tokens": 100, "messages": HELLO, "temperature": 0.5, "top_k": 3}
    headers = {"x-api-key": fake.keys["anthropic"], "anthropic-version": "2023-06-01"}
    assert fake.http.post("/v1/messages", json=body, headers=headers).json()["content"][0]["text"] == SAID
    for name, value, status in (("x-api-key", "wrong", 401), ("anthropic-version", "2020-01-01", 400)):
        assert fake.http.post("/v1/messages", json=body, headers={**headers, name: value}).status_code == status


# Google


def test_gemini(fake: FakeProviderClient, gemini: genai.Client) -> None:
    config = types.GenerateContentConfig(system_instruction="Be short", candidate_count=2)
    told = gemini.models.generate_content(model="gemini-2", contents="Hello, provider", config=config)
    assert told.text == SAID
    assert len(told.candidates or ()) == 2
    counts = told.usage_metadata
    assert counts is not None
    assert (counts.prompt_token_count, counts.candidates_token_count) == (23, 31)
    fake.control(chunks=7)
    chunks = list(gemini.models.generate_content_stream(model="gemini-2", contents="Hello, provider"))
    assert [len(chunks), "".join(chunk.text or "" for chunk in chunks)] == [7, SAID]
    assert [chunk.candidates[0].finish_reason for chunk in chunks[-2:]] == [None, types.FinishReason.STOP]
    assert chunks[-1].usage_metadata.candidates_token_count == 13
    image = types.Part.from_bytes(data=b"fake", mime_type="image/png")
    assert gemini.models.generate_content(model="gemini-2", contents=[image, "See"]).text == "You said: See [image]"
    form = types.GenerateContentConfig(response_mime_type="application/json", response_json_schema=WEATHER)
    asked_json = gemini.models.generate_content(model="gemini-2", contents="x", config=form)
    assert json.loads(asked_json.text or "") == ARGUMENTS
    other = genai.Client(api_key="wrong", http_options=types.HttpOptions(base_url=fake.url))
    with pytest.raises(genai.errors.ClientError, match="API key not valid"):
        other.models.generate_content(model="gemini-2", contents="x")


def test_gemini_tools_and_thinking(gemini: genai.Client) -> None:
    schema = types.Schema.model_validate({k: v for k, v in WEATHER.items() if k != "additionalProperties"})
    function = types.FunctionDeclaration(name="weather", description="tells", parameters=schema)
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[function])],
        thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_budget=100),
    )
    turns: list[Any] = [types.Content(role="user", parts=[types.Part(text="use the tool")])]
    told = gemini.models.generate_content(model="gemini-2", contents=turns, config=config)
    assert [call.args for call in told.function_calls or ()] == [ARGUMENTS]
    thought, call = told.candidates[0].content.parts
    assert thought.thought
    assert told.usage_metadata.thoughts_token_count
    streamed = [
        part
        for chunk in gemini.models.generate_content_stream(model="gemini-2", contents=turns, config=config)
        for part in chunk.candidates[0].content.parts
    ]
    assert streamed == [thought, call]
    result = types.Part.from_function_response(name="weather", response={"result": "sunny"})
    turns += [told.candidates[0].content, types.Content(role="user", parts=[result])]
    assert gemini.models.generate_content(model="gemini-2", contents=turns).text == "The tool said: sunny"


def test_gemini_embeddings(gemini: genai.Client) -> None:
    size = types.EmbedContentConfig(output_dimensionality=5)
    told = gemini.models.embed_content(model="gemini-embedding-001", contents=["a", "b"], config=size)
    assert [len(one.values or ()) for one in told.embeddings or ()] == [5, 5]


def test_gemini_refuses(fake: FakeProviderClient) -> None:
    def text(words: str, role: str) -> dict[str, Any]:
        return {"role": role, "parts": [{"text": words}]}

    call = {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"contents": []}, "contents is not specified"),
        ({"contents": [text("x", "assistant")]}, "Please use a valid role: user, model."),
        ({"messages": []}, 'Unknown name "messages"'),
        ({"contents": [{"parts": [{"text": "x", "inlineData": {"mimeType": "image/png", "data": PNG}}]}]}, "oneof"),
        ({"generationConfig": {"maxTokens": 3}}, "Unknown name \"maxTokens\" at 'generationConfig'"),
        ({"generationConfig": {"responseSchema": {"type": "OBJECT"}}}, "response_mime_type"),
        ({"contents": [text("x", "user"), call, text("y", "user")]}, "number of function response parts"),
    ]
    headers = {"x-goog-api-key": fake.keys["gemini"]}
    for change, words in wrong:
        body = {"contents": [text("x", "user")], **change}
        told = fake.http.post("/v1beta/models/g:generateContent", json=body, headers=headers)
        assert told.status_code == 400, told.text
        assert words in told.json()["error"]["message"]


@pytest.fixture(scope="module")
def service_account() -> tuple[str, str]:
    """A private key, and the public key that belongs to it."""
    key = rsa.generate_private_key(65537, 2048)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return private, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def google_credentials(fake: FakeProviderClient, private_key: str) -> Credentials:
    info = {"client_email": "me@example.com", "private_key": private_key, "token_uri": f"{fake.url}/token"}
    return Credentials.from_service_account_info(info, scopes=["https://www.googleapis.com/auth/cloud-platform"])


def test_vertex(fake: FakeProviderClient, service_account: tuple[str, str]) -> None:
    fake.control(keys={"google_public_key": service_account[1]})
    vertex = genai.Client(
        vertexai=True,
        project="p",
        location="us-central1",
        credentials=google_credentials(fake, service_account[0]),
        http_options=types.HttpOptions(base_url=fake.url),
    )
    assert vertex.models.generate_content(model="gemini-2", contents="Hello, provider").text == SAID
    assert len(list(vertex.models.generate_content_stream(model="gemini-2", contents="Hello"))) == 5
    embedded = vertex.models.embed_content(model="text-embedding-005", contents="a")
    assert len(embedded.embeddings[0].values) == 8
    assert [one["dialect"] for one in fake.requests()] == ["google_token", "vertex", "vertex", "vertex"]
    claude = AnthropicVertex(
        base_url=f"{fake.url}/v1", region="us-east5", project_id="p", access_token=fake.keys["google_token"]
    )
    assert claude.messages.create(model="claude@1", max_tokens=100, messages=HELLO).content[0].text == SAID
    with claude.messages.stream(model="claude@1", max_tokens=100, messages=HELLO) as stream:
        assert stream.get_final_text() == SAID


def test_google_refuses_a_jwt_of_another_key(fake: FakeProviderClient, service_account: tuple[str, str]) -> None:
    other = rsa.generate_private_key(65537, 2048).public_key()
    pem = other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    fake.control(keys={"google_public_key": pem})
    with pytest.raises(Exception, match="Invalid JWT Signature"):
        google_credentials(fake, service_account[0]).refresh(GoogleRequest())


# Amazon


CONVERSE_HELLO = [{"role": "user", "content": [{"text": "Hello, provider"}]}]
CONVERSE_TOOLS = {"tools": [{"toolSpec": {"name": "weather", "inputSchema": {"json": WEATHER}}}]}
NOVA = "us.amazon.nova-lite-v1:0"


def test_bedrock_converse(fake: FakeProviderClient, bedrock: Any) -> None:
    more = {"modelId": NOVA, "system": [{"text": "Be short"}], "inferenceConfig": {"maxTokens": 100}}
    told = bedrock.converse(messages=CONVERSE_HELLO, **more)
    assert told["output"]["message"]["content"] == [{"text": SAID}]
    assert (told["usage"]["inputTokens"], told["usage"]["outputTokens"]) == (23, 13)
    fake.control(chunks=7)
    events = list(bedrock.converse_stream(messages=CONVERSE_HELLO, **more)["stream"])
    pieces = [e["contentBlockDelta"]["delta"]["text"] for e in events if "contentBlockDelta" in e]
    assert (len(pieces), "".join(pieces)) == (7, SAID)
    assert events[-2]["messageStop"]["stopReason"] == "end_turn"
    assert events[-1]["metadata"]["usage"] == told["usage"]
    image = {"image": {"format": "png", "source": {"bytes": b"fake"}}}
    shown = bedrock.converse(modelId=NOVA, messages=[{"role": "user", "content": [{"text": "See"}, image]}])
    assert shown["output"]["message"]["content"][0]["text"] == "You said: See [image]"
    assert fake.requests()[0]["model"] == NOVA


def test_bedrock_tools_and_thinking(bedrock: Any) -> None:
    asked = [{"role": "user", "content": [{"text": "use the tool"}]}]
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    more = {"modelId": NOVA, "toolConfig": CONVERSE_TOOLS, "additionalModelRequestFields": thinking}
    told = bedrock.converse(messages=asked, **more)
    thought, call = told["output"]["message"]["content"]
    assert (told["stopReason"], call["toolUse"]["input"]) == ("tool_use", ARGUMENTS)
    assert "use the tool" in thought["reasoningContent"]["reasoningText"]["text"]
    events = list(bedrock.converse_stream(messages=asked, **more)["stream"])
    parts = [e["contentBlockDelta"]["delta"] for e in events if "contentBlockDelta" in e]
    assert json.loads("".join(part["toolUse"]["input"] for part in parts if "toolUse" in part)) == ARGUMENTS
    result = {"toolResult": {"toolUseId": call["toolUse"]["toolUseId"], "content": [{"text": "sunny"}]}}
    turns = [*asked, told["output"]["message"], {"role": "user", "content": [result]}]
    assert (
        bedrock.converse(messages=turns, **more)["output"]["message"]["content"][1]["text"] == "The tool said: sunny"
    )
    for messages, words in (
        (turns[:2], "Expected toolResult blocks"),
        (turns[1:], "must start with a user message"),
        ([*asked, *asked], "must alternate"),
        ([{"role": "user", "content": [{"text": " "}]}], "is blank"),
    ):
        with pytest.raises(ClientError, match=words):
            bedrock.converse(messages=messages, **more)


def test_bedrock_embeddings(bedrock: Any) -> None:
    def invoke(model: str, **body: Any) -> Any:
        return json.loads(bedrock.invoke_model(modelId=model, body=json.dumps(body))["body"].read())

    assert len(invoke("amazon.titan-embed-text-v2:0", inputText="a", dimensions=16)["embedding"]) == 16
    told = invoke("cohere.embed-english-v3", texts=["a", "b"], input_type="search_query")
    assert [len(one) for one in told["embeddings"]] == [8, 8]
    with pytest.raises(ClientError, match="ValidationException"):
        invoke("amazon.titan-embed-text-v2:0", texts=["a"])


def test_bedrock_checks_the_signature(fake: FakeProviderClient, bedrock: Any) -> None:
    fake.control(keys={"bedrock_secret_access_key": "another"})
    with pytest.raises(ClientError, match="InvalidSignatureException"):
        bedrock.converse(modelId=NOVA, messages=CONVERSE_HELLO)
    fake.control(keys={"bedrock_region": "eu-west-1"})
    with pytest.raises(ClientError, match="scoped to correct region: 'eu-west-1'"):
        bedrock.converse(modelId=NOVA, messages=CONVERSE_HELLO)
    fake.control(keys={"bedrock_access_key_id": "another"})
    with pytest.raises(ClientError, match="UnrecognizedClientException"):
        bedrock.converse(modelId=NOVA, messages=CONVERSE_HELLO)
    body = {"messages": CONVERSE_HELLO}
    unsigned = fake.http.post(f"/model/{NOVA}/converse", json=body)
    assert (unsigned.status_code, unsigned.json()) == (403, {"message": "Missing Authentication Token"})


# Cohere


def test_cohere(fake: FakeProviderClient, command: cohere.ClientV2) -> None:
    told = command.chat(model="command-a", messages=HELLO, logprobs=True)
    assert (told.message.content[0].text, told.finish_reason) == (SAID, "COMPLETE")
    assert (told.usage.tokens.input_tokens, told.usage.billed_units.input_tokens) == (19, 8)
    fake.control(chunks=7)
    events = list(command.chat_stream(model="command-a", messages=HELLO))
    pieces = [event.delta.message.content.text for event in events if event.type == "content-delta"]
    assert (len(pieces), "".join(pieces)) == (7, SAID)
    assert events[-1].delta.usage.tokens.output_tokens == 13
    form: Any = {"type": "json_object", "json_schema": WEATHER}
    asked_json = command.chat(model="command-a", messages=HELLO, response_format=form)
    assert json.loads(asked_json.message.content[0].text) == ARGUMENTS
    embedded = command.embed(model="embed-v4", texts=["a"], input_type="search_query", embedding_types=["float"])
    assert len(embedded.embeddings.float_[0]) == 8
    for body, words in (
        ({"stop": ["x"]}, "not a valid field"),
        ({"messages": [{"role": "CHATBOT", "content": "x"}]}, "invalid request: messages.0.role"),
        ({"p": 1.0}, "invalid request: p"),
        ({"messages": [*HELLO, {"role": "assistant", "content": "x"}]}, "last message"),
    ):
        sent = {"model": "command-a", "messages": HELLO, **body}
        headers = {"authorization": f"Bearer {fake.keys['cohere']}"}
        refused = fake.http.post("/v2/chat", json=sent, headers=headers)
        assert refused.status_code in (400, 422)
        assert words in refused.json()["message"]
    with pytest.raises(cohere.UnauthorizedError, match="invalid api token"):
        cohere.ClientV2(api_key="wrong", base_url=fake.url).chat(model="command-a", messages=HELLO)


def test_cohere_tools(command: cohere.ClientV2) -> None:
    asked: list[Any] = [{"role": "user", "content": "use the tool"}]
    tools: Any = [OPENAI_TOOL]
    told = command.chat(model="command-a", messages=asked, tools=tools)
    assert told.finish_reason == "TOOL_CALL"
    assert json.loads(told.message.tool_calls[0].function.arguments) == ARGUMENTS
    assert told.message.tool_plan == "I will call weather."
    events = list(command.chat_stream(model="command-a", messages=asked, tools=tools))
    parts = [e.delta.message.tool_calls.function.arguments for e in events if e.type == "tool-call-delta"]
    assert json.loads("".join(parts)) == ARGUMENTS
    call = told.message.tool_calls[0]
    asked += [told.message, {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    last = command.chat(model="command-a", messages=asked, tools=tools)
    assert last.message.content[0].text == "The tool said: sunny"


# Faults, by raw HTTP


def chunks_of(fake: FakeProviderClient, body: dict[str, Any]) -> list[bytes]:
    """The chunks of the answer to a chat completion, as HTTP frames them."""
    address = urlsplit(fake.url)
    sent = json.dumps({"model": "m", "messages": HELLO, **body}).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {fake.keys['openai']}\r\n"
        f"Content-Length: {len(sent)}\r\n\r\n"
    )
    chunks = []
    with socket.create_connection((str(address.hostname), address.port or 80), timeout=10) as connection:
        connection.sendall(head.encode() + sent)
        with connection.makefile("rb") as answer:
            while answer.readline() != b"\r\n":
                pass
            while size := int(answer.readline(), 16):
                chunks.append(answer.read(size))
                answer.readline()
    return chunks


def call(fake: FakeProviderClient, dialect: str, *, stream: bool = False) -> httpx.Response:
    """A small request in that dialect, with its right key."""
    path, headers, body = {
        "openai": ("/v1/chat/completions", {"authorization": "openai"}, {"model": "m", "messages": HELLO}),
        "azure": ("/openai/deployments/m/chat/completions?api-version=1", {"api-key": "azure"}, {"messages": HELLO}),
        "databricks": ("/serving-endpoints/m/invocations", {"authorization": "databricks"}, {"messages": HELLO}),
        "anthropic": (
            "/v1/messages",
            {"x-api-key": "anthropic"},
            {"model": "m", "messages": HELLO, "max_tokens": 100},
        ),
        "gemini": (
            f"/v1beta/models/m:{'streamGenerateContent?alt=sse' if stream else 'generateContent'}",
            {"x-goog-api-key": "gemini"},
            {"contents": [{"parts": [{"text": "Hello, provider"}]}]},
        ),
        "cohere": ("/v2/chat", {"authorization": "cohere"}, {"model": "m", "messages": HELLO}),
        "ai21": ("/studio/v1/chat/completions", {"authorization": "ai21"}, {"model": "m", "messages": HELLO}),
        "responses": ("/v1/responses", {"authorization": "openai"}, {"model": "m", "input": "Hello, provider"}),
    }[dialect]
    named = {n: ("Bearer " if n == "authorization" else "") + fake.keys[key] for n, key in headers.items()}
    streams = {"stream": True} if stream and dialect != "gemini" else {}
    return fake.http.post(path, json={**body, **streams}, headers={**named, "anthropic-version": "2023-06-01"})


@pytest.mark.parametrize(
    ("dialect", "status", "told"),
    [
        ("openai", 429, {"error": {"type": "rate_limit_error"}}),
        ("azure", 503, {"error": {"code": "503"}}),
        ("databricks", 429, {"error_code": "REQUEST_LIMIT_EXCEEDED"}),
        ("anthropic", 529, {"type": "error", "error": {"type": "overloaded_error"}}),
        ("gemini", 504, {"error": {"code": 504, "status": "DEADLINE_EXCEEDED"}}),
        ("cohere", 500, {"message": "no luck"}),
        ("ai21", 502, {"detail": "no luck"}),
    ],
)
def test_a_status_comes_in_the_form_of_the_dialect(
    fake: FakeProviderClient, dialect: str, status: int, told: dict[str, Any]
) -> None:
    fake.fail_next("status", status=status, message="no luck", headers={"retry-after": "3"})
    answer = call(fake, dialect)
    assert (answer.status_code, answer.headers["retry-after"]) == (status, "3")
    body = answer.json()
    for name, value in told.items():
        assert value.items() <= body[name].items() if isinstance(value, dict) else body[name] == value
    assert "no luck" in answer.text
    assert SAID in call(fake, dialect).text


def test_a_status_with_a_body_of_ones_own(fake: FakeProviderClient, bedrock: Any) -> None:
    fake.control(next=[{"kind": "status", "status": 502, "body": "<html>bad gateway"}])
    assert call(fake, "openai").text == "<html>bad gateway"
    fake.fail_next("status", status=429, message="slower")
    with pytest.raises(ClientError, match=r"ThrottlingException.*slower"):
        bedrock.converse(modelId=NOVA, messages=CONVERSE_HELLO)


def test_faults_come_in_order_and_only_to_whom_they_are_meant(fake: FakeProviderClient) -> None:
    fake.control(
        next=[
            {"kind": "status", "status": 500, "dialect": "cohere", "times": 2},
            {"kind": "status", "status": 502, "model": "other"},
            None,
            {"kind": "status", "status": 503},
            {"kind": "status", "status": 504, "times": 0, "dialect": "openai"},
        ]
    )
    assert [call(fake, "openai").status_code for _ in range(4)] == [200, 503, 504, 504]
    assert [call(fake, "cohere").status_code for _ in range(3)] == [500, 500, 200]
    assert ask(fake, model="other").status_code == 502
    assert [one["fault"] for one in fake.requests()[:3]] == [None, "status", "status"]
    assert fake.counts()["by_dialect"] == {"openai": 5, "cohere": 3}


def test_time_out(fake: FakeProviderClient) -> None:
    fake.fail_next("timeout", seconds=0.1)
    with pytest.raises(httpx.RemoteProtocolError, match="disconnected"):
        ask(fake)
    fake.fail_next("timeout")
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{fake.url}/v1/chat/completions", json={}, timeout=0.1)
    wait_for("the fake has seen the client leave", lambda: fake.counts()["aborted"] == 1, 5)
    assert fake.counts()["open"] == 0


def test_resets(fake: FakeProviderClient) -> None:
    fake.fail_next("reset")
    with pytest.raises(httpx.ReadError, match="reset by peer"):
        ask(fake)
    for streamed in (False, True):
        fake.fail_next("reset_midway", after=3)
        with stream_of(fake, stream=streamed) as answer:
            parts: list[bytes] = []
            with pytest.raises(httpx.ReadError):
                parts.extend(answer.iter_raw())
            got = b"".join(parts)
        assert got.count(b"\n\n") == 3 if streamed else got.startswith(b'{"id":')


def stream_of(fake: FakeProviderClient, **body: Any) -> Any:
    headers = {"authorization": f"Bearer {fake.keys['openai']}"}
    sent = {"model": "m", "messages": HELLO, **body}
    return fake.http.stream("POST", "/v1/chat/completions", json=sent, headers=headers)


def test_ends_in_the_middle(fake: FakeProviderClient) -> None:
    for streamed in (False, True):
        fake.fail_next("hang_up")
        with pytest.raises(httpx.RemoteProtocolError, match="peer closed connection"):
            ask(fake, stream=streamed)
    fake.fail_next("truncated")
    with pytest.raises(json.JSONDecodeError):
        ask(fake).json()
    fake.fail_next("truncated", after=2)
    told = ask(fake, stream=True).text.split("\n\n")
    assert len(told) == 3
    with pytest.raises(json.JSONDecodeError):
        json.loads(told[2].removeprefix("data: "))


def test_malformed(fake: FakeProviderClient, bedrock: Any) -> None:
    fake.fail_next("malformed")
    answer = ask(fake)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    with pytest.raises(json.JSONDecodeError):
        answer.json()
    fake.fail_next("malformed", after=2)
    told = ask(fake, stream=True).text.split("\n\n")
    json.loads(told[1].removeprefix("data: "))
    with pytest.raises(json.JSONDecodeError):
        json.loads(told[2].removeprefix("data: "))
    fake.fail_next("bad_checksum", after=2)
    with pytest.raises(Exception, match="Checksum mismatch"):
        list(bedrock.converse_stream(modelId=NOVA, messages=CONVERSE_HELLO)["stream"])


@pytest.mark.parametrize(
    ("dialect", "last"),
    [
        ("openai", 'data: {"error":{"message":"no luck","type":"server_error","param":null,"code":null}}\n\n'),
        ("responses", 'event: error\ndata: {"type":"error","code":"server_error","message":"no luck"'),
        ("anthropic", 'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"'),
        ("gemini", '\n\n{\n  "error": {\n    "code": 529,\n    "message": "no luck"'),
        (
            "cohere",
            'event: message-end\ndata: {"type":"message-end","delta":{"error":"no luck","finish_reason":"ERROR"',
        ),
    ],
)
def test_an_error_in_a_stream_is_the_dialects_own(fake: FakeProviderClient, dialect: str, last: str) -> None:
    fake.fail_next("error_event", status=529, message="no luck", after=3)
    told = call(fake, dialect, stream=True)
    assert told.status_code == 200
    assert told.text.split(last)[0].count("data: ") == 3
    assert last in told.text


def test_an_exception_in_a_binary_stream(fake: FakeProviderClient, bedrock: Any) -> None:
    fake.fail_next("error_event", status=429, message="slower", after=3)
    seen: list[Any] = []
    stream = bedrock.converse_stream(modelId=NOVA, messages=CONVERSE_HELLO)["stream"]
    with pytest.raises(EventStreamError, match=r"throttlingException.*slower"):
        seen.extend(iter(stream))
    assert len(seen) == 3


def test_a_stream_without_its_end(fake: FakeProviderClient, bedrock: Any) -> None:
    marks = {
        "openai": "[DONE]",
        "anthropic": "message_stop",
        "gemini": "finishReason",
        "cohere": "message-end",
        "responses": "response.completed",
    }
    for dialect, mark in marks.items():
        assert mark in call(fake, dialect, stream=True).text
        fake.fail_next("no_end")
        told = call(fake, dialect, stream=True).text
        assert told.endswith("\n\n")
        assert mark not in told
    fake.fail_next("no_end", drop=2)
    assert '"finish_reason":"stop"' not in call(fake, "openai", stream=True).text
    fake.fail_next("no_end")
    left = list(bedrock.converse_stream(modelId=NOVA, messages=CONVERSE_HELLO)["stream"])
    assert "contentBlockStop" in left[-1]


def test_cut_into_bytes_and_inside_characters(fake: FakeProviderClient) -> None:
    fake.fail_next("one_byte")
    chunks = chunks_of(fake, {"stream": True})
    assert {len(chunk) for chunk in chunks} == {1}
    assert b"".join(chunks).endswith(b"data: [DONE]\n\n")
    fake.fail_next("split_utf8")
    chunks = chunks_of(fake, {"stream": True})
    told = events(b"".join(chunks).decode())
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in told) == "naïve — 你好 🚀"
    assert sum(chunk[-1] >= 0xC0 for chunk in chunks) == 5


def test_content_type_huge_slow_and_empty(fake: FakeProviderClient) -> None:
    fake.fail_next("content_type")
    answer = ask(fake)
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.json()["choices"]
    fake.fail_next("huge", bytes=3_000_000)
    assert len(ask(fake).content) > 3_000_000
    fake.fail_next("slow", bytes=100, seconds=0.01)
    began = time.monotonic()
    told = ask(fake)
    assert time.monotonic() - began >= 0.01 * (len(told.content) // 100)
    assert told.json()["choices"]
    fake.fail_next("empty")
    assert (ask(fake).status_code, ask(fake).content[:1]) == (200, b"{")
    assert fake.requests()[-2]["fault"] == "empty"


def test_delays_and_clients_that_leave(fake: FakeProviderClient) -> None:
    fake.control(first_byte_delay=0.05, chunk_delay=0.02, chunks=5)
    began = time.monotonic()
    ask(fake, stream=True)
    assert time.monotonic() - began >= 0.05 + 6 * 0.02
    fake.control(chunk_delay=30)
    with stream_of(fake, stream=True) as answer:
        # Kept, because the answer is closed with its iterator.
        data = answer.iter_raw()
        next(data)
        assert fake.counts()["open"] == 1
    wait_for("the fake has seen the client leave", lambda: fake.counts()["aborted"] == 1, 5)
    assert (fake.counts()["open"], fake.requests()[-1]["aborted"]) == (0, True)


def test_credentials_text_and_counts_can_be_set(fake: FakeProviderClient) -> None:
    fake.control(keys={"openai": "other"}, text="As you like it", cached_tokens=100)
    assert ask(fake).status_code == 401
    fake.control(keys={"openai": fake.keys["openai"]})
    told = ask(fake).json()
    assert told["choices"][0]["message"]["content"] == "As you like it"
    assert (told["usage"]["prompt_tokens"], told["usage"]["prompt_tokens_details"]["cached_tokens"]) == (119, 100)
    usage = call(fake, "anthropic").json()["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == (0, 19)
    for message in ({"chunkz": 1}, {"next": [{"kind": "none such"}]}, {"next": [{"kind": "empty", "x": 1}]}, [1]):
        assert fake.http.post("/_control", json=message).status_code == 400


def test_examples_satisfy_their_schemas() -> None:
    nested = {
        "type": "object",
        "properties": {
            "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
            "many": {"type": "array", "minItems": 2, "items": {"enum": ["a", "b"]}},
            "whole": {"type": "integer", "minimum": 11, "multipleOf": 5},
            "part": {"type": "number", "exclusiveMinimum": 0, "maximum": 0.5},
            "text": {"type": ["string", "null"], "minLength": 6},
        },
    }
    inner = {"many": ["a", "a"], "whole": 15, "part": 0.5, "text": "textxx"}
    made = example(nested)
    assert {name: made[name] for name in inner} == inner
    assert {name: made["next"][name] for name in inner} == inner
    google = {"when": {"type": "STRING", "format": "date"}, "yes": {"type": "BOOLEAN"}}
    assert example({"type": "OBJECT", "properties": google}) == {"when": "2024-02-29", "yes": True}


def test_instant_answers(fake: FakeProviderClient, gpt: openai.OpenAI) -> None:
    fake.control(instant=True)
    assert gpt.chat.completions.create(model="m", messages=HELLO).choices[0].finish_reason == "stop"
    chunks = list(gpt.chat.completions.create(model="m", messages=HELLO, stream=True))
    assert sum(bool(chunk.choices and chunk.choices[0].delta.content) for chunk in chunks) == 50
    assert fake.counts()["requests"] == 2
    assert fake.requests() == []
