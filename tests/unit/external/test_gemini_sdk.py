"""Google's own client, over HTTP, as the judge of bodies that we send and of answers that we read."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from google import genai
from google.genai import types
from google.oauth2.credentials import Credentials

from moorage.api.external_models import ExternalTask, Provider
from moorage.external.exchange import AccessToken, Call, Target
from moorage.external.google import PalmApi, VertexApi

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MODEL = "gemini-2.5-flash"
SCHEMA = {
    "type": "object",
    "properties": {"degrees": {"type": "number"}, "kind": {"$ref": "#/$defs/Kind"}},
    "required": ["degrees"],
    "additionalProperties": False,
    "$defs": {"Kind": {"type": "string", "enum": ["sun", "rain"]}},
}


@dataclass
class Google:
    """A server that answers every POST with `answer`, and keeps what was asked."""

    url: str = ""
    answer: bytes = b"{}"
    content_type: str = "application/json"
    asked: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)


@contextmanager
def serving() -> Iterator[Google]:
    google = Google()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            google.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(200)
            self.send_header("Content-Type", google.content_type)
            self.send_header("Content-Length", str(len(google.answer)))
            self.end_headers()
            self.wfile.write(google.answer)

        def log_message(self, *arguments: Any) -> None:
            """Nothing on the standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    google.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield google
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def google() -> Iterator[Google]:
    with serving() as one:
        yield one


@pytest.fixture(autouse=True)
def _nothing_asked(google: Google) -> None:
    google.asked.clear()
    google.content_type = "application/json"


def client_of(provider: Provider, google: Google) -> genai.Client:
    if provider is Provider.PALM:
        options = types.HttpOptions(base_url=google.url, api_version="v1beta", timeout=20_000)
        return genai.Client(api_key="key", vertexai=False, http_options=options)
    options = types.HttpOptions(base_url=google.url, api_version="v1", timeout=20_000)
    account = Credentials(token="token")  # type: ignore[no-untyped-call]
    return genai.Client(vertexai=True, project="p-1", location="us-east1", credentials=account, http_options=options)


def target_of(
    provider: Provider, google: Google, model: str = MODEL, task: ExternalTask = ExternalTask.CHAT
) -> Target:
    if provider is Provider.PALM:
        return Target(provider, model, task, {"palm_api_base": google.url}, {"palm_api_key": "key"})
    options = {"vertex_api_base": google.url, "project_id": "p-1", "region": "us-east1"}
    return Target(provider, model, task, options, {"private_key": "{}"})


def api_of(provider: Provider) -> PalmApi | VertexApi:
    return PalmApi() if provider is Provider.PALM else VertexApi()


def camel(value: Any) -> Any:
    """Google takes names in either form, and its client mixes them. What schemas hold is left alone."""
    if isinstance(value, list):
        return [camel(one) for one in value]
    if not isinstance(value, dict):
        return value
    found = {}
    for name, inner in value.items():
        name = re.sub("_([a-z])", lambda match: match[1].upper(), name)
        found[name] = inner if name.endswith("JsonSchema") or name in ("args", "response") else camel(inner)
    return found


def same_request(google: Google, provider: Provider, ours: Any) -> None:
    """That the one request of the client and ours are the same."""
    [(path, headers, body)] = google.asked
    assert ours.url == google.url + path
    body = camel(body)
    if "systemInstruction" in body:
        body["systemInstruction"].pop("role", None)  # of no meaning there
    assert json.loads(ours.body) == body
    name = "x-goog-api-key" if provider is Provider.PALM else "authorization"
    assert ours.headers == {"content-type": "application/json", name: headers[name]}


PROVIDERS = pytest.mark.parametrize("provider", [Provider.PALM, Provider.GOOGLE_CLOUD_VERTEX_AI])
BODY: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "Be brief"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
                {"type": "image_url", "image_url": {"url": "gs://b/cat.png"}},
            ],
        },
        {
            "role": "assistant",
            "content": "Looking",
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"place": "Köln"}'}},
                {
                    "id": "b",
                    "type": "function",
                    "function": {"name": "clock", "arguments": "{}"},
                    "extra_content": {"google": {"thought_signature": "c2ln"}},
                },
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": '{"degrees": 9}'},
        {"role": "tool", "tool_call_id": "b", "content": "noon"},
    ],
    "tools": [
        {"type": "function", "function": {"name": "weather", "description": "Weather", "parameters": SCHEMA}},
        {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}},
    ],
    "tool_choice": {"type": "function", "function": {"name": "weather"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "w", "schema": SCHEMA, "strict": True}},
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 40,
    "n": 2,
    "max_tokens": 100,
    "stop": ["END"],
    "seed": 7,
    "presence_penalty": 0.1,
    "frequency_penalty": 0.2,
    "logprobs": True,
    "top_logprobs": 3,
    "reasoning_effort": "low",
}


def conversation(provider: Provider) -> list[types.Content]:
    def id(text: str) -> str | None:
        return text if provider is Provider.PALM else None

    return [
        types.Content(
            role="user",
            parts=[
                types.Part(text="What is this?"),
                types.Part.from_bytes(data=b"\x89PNG", mime_type="image/png"),
                types.Part.from_uri(file_uri="gs://b/cat.png", mime_type="image/png"),
            ],
        ),
        types.Content(
            role="model",
            parts=[
                types.Part(text="Looking"),
                types.Part(function_call=types.FunctionCall(id=id("a"), name="weather", args={"place": "Köln"})),
                types.Part(
                    function_call=types.FunctionCall(id=id("b"), name="clock", args={}), thought_signature=b"sig"
                ),
            ],
        ),
        types.Content(
            role="user",
            parts=[
                types.Part(
                    function_response=types.FunctionResponse(id=id("a"), name="weather", response={"degrees": 9})
                ),
                types.Part(
                    function_response=types.FunctionResponse(id=id("b"), name="clock", response={"output": "noon"})
                ),
            ],
        ),
    ]


CONFIG = types.GenerateContentConfig(
    system_instruction="Be brief",
    tools=[
        types.Tool(
            function_declarations=[
                types.FunctionDeclaration(name="weather", description="Weather", parameters_json_schema=SCHEMA),
                types.FunctionDeclaration(name="clock", parameters_json_schema={"type": "object"}),
            ]
        )
    ],
    tool_config=types.ToolConfig(
        function_calling_config=types.FunctionCallingConfig(
            mode=types.FunctionCallingConfigMode.ANY, allowed_function_names=["weather"]
        )
    ),
    response_mime_type="application/json",
    response_json_schema=SCHEMA,
    temperature=0.5,
    top_p=0.9,
    top_k=40,
    candidate_count=2,
    max_output_tokens=100,
    stop_sequences=["END"],
    seed=7,
    presence_penalty=0.1,
    frequency_penalty=0.2,
    response_logprobs=True,
    logprobs=3,
    thinking_config=types.ThinkingConfig(thinking_budget=1024),
)
PIECES: list[dict[str, Any]] = [
    {
        "candidates": [
            {"content": {"role": "model", "parts": [{"text": "Plan", "thought": True}, {"text": "Grüß "}]}}
        ],
        "modelVersion": "gemini-2.5-flash-001",
        "responseId": "r-1",
    },
    {
        "candidates": [
            {
                "content": {
                    "role": "model",
                    "parts": [
                        {"text": "dich 🌍"},
                        {"functionCall": {"id": "x", "name": "weather", "args": {"place": "Köln"}}},
                    ],
                },
                "finishReason": "STOP",
                "logprobsResult": {
                    "chosenCandidates": [{"token": "Grüß", "tokenId": 5, "logProbability": -0.25}],
                    "topCandidates": [{"candidates": [{"token": "Grüß", "tokenId": 5, "logProbability": -0.25}]}],
                },
            }
        ],
        "usageMetadata": {
            "promptTokenCount": 11,
            "candidatesTokenCount": 5,
            "thoughtsTokenCount": 3,
            "totalTokenCount": 19,
        },
        "modelVersion": "gemini-2.5-flash-001",
        "responseId": "r-1",
    },
]
STREAM = b"".join(f"data: {json.dumps(piece, ensure_ascii=False)}\r\n\r\n".encode() for piece in PIECES)


def call_of(stream: bool, body: dict[str, Any] = BODY, task: ExternalTask = ExternalTask.CHAT) -> Call:
    return Call(task, body, stream, "chatcmpl-1", 1700000000)


@PROVIDERS
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_conversation_is_asked_as_googles_client_asks_it(google: Google, provider: Provider, stream: bool) -> None:
    google.answer = STREAM if stream else json.dumps(PIECES[1]).encode()
    google.content_type = "text/event-stream" if stream else "application/json"
    with client_of(provider, google) as client:
        if stream:
            list(client.models.generate_content_stream(model=MODEL, contents=conversation(provider), config=CONFIG))
        else:
            client.models.generate_content(model=MODEL, contents=conversation(provider), config=CONFIG)
    token = AccessToken("token")
    same_request(google, provider, api_of(provider).request(target_of(provider, google), call_of(stream), token, NOW))


@PROVIDERS
def test_levels_of_thinking_are_asked_for_as_googles_client_does(google: Google, provider: Provider) -> None:
    google.answer = json.dumps(PIECES[1]).encode()
    model = "gemini-3-flash-preview"
    config = types.GenerateContentConfig(
        thinking_config=types.ThinkingConfig(thinking_level=types.ThinkingLevel.MEDIUM)
    )
    with client_of(provider, google) as client:
        client.models.generate_content(model=model, contents="Hello", config=config)
    body = {"messages": [{"role": "user", "content": "Hello"}], "reasoning_effort": "medium"}
    request = api_of(provider).request(
        target_of(provider, google, model), call_of(False, body), AccessToken("token"), NOW
    )
    same_request(google, provider, request)


@PROVIDERS
def test_an_answer_says_what_googles_client_reads_in_it(google: Google, provider: Provider) -> None:
    google.answer = json.dumps(PIECES[1]).encode()
    with client_of(provider, google) as client:
        theirs = client.models.generate_content(model=MODEL, contents="Hello")
    ours = api_of(provider).answer(target_of(provider, google), call_of(False), google.answer).body
    [choice] = ours["choices"]
    [candidate] = theirs.candidates or []
    assert candidate.content is not None
    assert candidate.content.parts is not None
    assert choice["message"]["content"] == "".join(part.text or "" for part in candidate.content.parts) == "dich 🌍"
    [call] = choice["message"]["tool_calls"]
    [function_call] = theirs.function_calls or []
    assert call["id"] == function_call.id
    assert call["function"]["name"] == function_call.name
    assert json.loads(call["function"]["arguments"]) == function_call.args
    assert theirs.usage_metadata is not None
    assert ours["usage"]["prompt_tokens"] == theirs.usage_metadata.prompt_token_count
    assert ours["usage"]["total_tokens"] == theirs.usage_metadata.total_token_count
    reasoning = ours["usage"]["completion_tokens_details"]["reasoning_tokens"]
    assert reasoning == theirs.usage_metadata.thoughts_token_count
    assert (ours["id"], ours["model"]) == (theirs.response_id, theirs.model_version)
    assert candidate.logprobs_result is not None
    [chosen] = candidate.logprobs_result.chosen_candidates or []
    [token] = choice["logprobs"]["content"]
    assert (token["token"], token["logprob"]) == (chosen.token, chosen.log_probability)
    assert candidate.finish_reason is types.FinishReason.STOP


@PROVIDERS
def test_a_stream_says_what_googles_client_reads_in_it(google: Google, provider: Provider) -> None:
    google.answer, google.content_type = STREAM, "text/event-stream"
    with client_of(provider, google) as client:
        theirs = list(client.models.generate_content_stream(model=MODEL, contents="Hello"))
    stream = api_of(provider).stream(target_of(provider, google), call_of(True))
    chunks = stream.feed(STREAM) + stream.end()
    assert stream.finished
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    said = "".join(
        part.text
        for reply in theirs
        for candidate in reply.candidates or []
        for part in (candidate.content.parts if candidate.content else None) or []
        if part.text and not part.thought
    )
    assert "".join(delta.get("content", "") for delta in deltas) == said == "Grüß dich 🌍"
    calls = [call["id"] for delta in deltas for call in delta.get("tool_calls", [])]
    assert calls == [call.id for reply in theirs for call in reply.function_calls or []]
    assert theirs[-1].usage_metadata is not None
    assert chunks[-1]["usage"]["total_tokens"] == theirs[-1].usage_metadata.total_token_count


@PROVIDERS
def test_embeddings_are_asked_for_and_read_as_by_googles_client(google: Google, provider: Provider) -> None:
    vector = {"values": [0.5, -1.0], "statistics": {"token_count": 3, "truncated": False}}
    if provider is Provider.PALM:
        google.answer = json.dumps({"embeddings": [{"values": vector["values"]}] * 2}).encode()
    else:
        google.answer = json.dumps({"predictions": [{"embeddings": vector}] * 2}).encode()
    model, texts = "text-embedding-005", ["a", "ö"]
    contents: Any = [types.Content(parts=[types.Part(text=text)]) for text in texts]
    with client_of(provider, google) as client:
        theirs = client.models.embed_content(
            model=model, contents=contents, config=types.EmbedContentConfig(output_dimensionality=2)
        )
    api, target = api_of(provider), target_of(provider, google, model, ExternalTask.EMBEDDINGS)
    call = call_of(False, {"input": texts, "dimensions": 2}, ExternalTask.EMBEDDINGS)
    same_request(google, provider, api.request(target, call, AccessToken("token"), NOW))
    ours = api.answer(target, call, google.answer)
    assert [item["embedding"] for item in ours.body["data"]] == [one.values for one in theirs.embeddings or []]
    counted = [one.statistics.token_count for one in theirs.embeddings or [] if one.statistics is not None]
    assert (ours.usage.input_tokens if ours.usage else None) == (sum(map(int, filter(None, counted))) or None)
