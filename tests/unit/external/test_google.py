"""How Google's models are reached: paths, credentials, tokens, errors."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import anthropic
import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey
from test_gemini_sdk import Google, serving

from moorage.api.errors import BadRequest
from moorage.api.external_models import ExternalTask, Provider
from moorage.external.exchange import AccessToken, Call, Target
from moorage.external.google import PalmApi, VertexApi

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
KEY = RSAKey.generate_key(2048)
ACCOUNT = {
    "type": "service_account",
    "project_id": "p-1",
    "private_key_id": "kid-1",
    "private_key": KEY.as_pem(private=True).decode(),
    "client_email": "robot@p-1.iam.gserviceaccount.com",
    "token_uri": "https://oauth2.googleapis.com/token",
}
HELLO = {"messages": [{"role": "user", "content": "Hello"}]}
TOKEN = AccessToken("ya29.token")


def vertex(model: str = "gemini-2.5-flash", private_key: str = "", **options: str) -> Target:
    options = {"project_id": "p-1", "region": "us-central1", **options}
    credentials = {"private_key": private_key or json.dumps(ACCOUNT)}
    return Target(Provider.GOOGLE_CLOUD_VERTEX_AI, model, ExternalTask.CHAT, options, credentials)


def palm(model: str = "gemini-2.5-flash", **options: str) -> Target:
    return Target(Provider.PALM, model, ExternalTask.CHAT, options, {"palm_api_key": "key-1"})


def call(stream: bool = False, task: ExternalTask = ExternalTask.CHAT, body: dict[str, Any] = HELLO) -> Call:
    return Call(task, body, stream, "chatcmpl-1", 1700000000)


EMBED = call(task=ExternalTask.EMBEDDINGS, body={"input": "a"})


@pytest.mark.parametrize(
    ("target", "asked", "url"),
    [
        (palm(), call(), "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:generateContent"),
        (
            palm("models/gemini-2.5-flash", palm_api_base="http://proxy/google/"),
            call(stream=True),
            "http://proxy/google/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
        ),
        (
            palm("gemini-embedding-001", palm_api_base="http://proxy"),
            EMBED,
            "http://proxy/v1beta/models/gemini-embedding-001:batchEmbedContents",
        ),
    ],
)
def test_where_the_gemini_api_is_asked(target: Target, asked: Call, url: str) -> None:
    request = PalmApi().request(target, asked, None, NOW)
    assert request.url == url
    assert request.headers == {"content-type": "application/json", "x-goog-api-key": "key-1"}
    assert PalmApi().token_request(target, NOW) is None


ABOVE = "/v1/projects/p-1/locations/{}/publishers/{}/models/"


@pytest.mark.parametrize(
    ("target", "asked", "url"),
    [
        (
            vertex(),
            call(),
            "https://us-central1-aiplatform.googleapis.com"
            + ABOVE.format("us-central1", "google")
            + "gemini-2.5-flash:generateContent",
        ),
        (
            vertex(region="global"),
            call(stream=True),
            "https://aiplatform.googleapis.com"
            + ABOVE.format("global", "google")
            + "gemini-2.5-flash:streamGenerateContent?alt=sse",
        ),
        (
            vertex("text-embedding-005", region="eu"),
            EMBED,
            "https://aiplatform.eu.rep.googleapis.com" + ABOVE.format("eu", "google") + "text-embedding-005:predict",
        ),
        (
            vertex("claude-sonnet-4-5@20250929", vertex_api_base="http://proxy/"),
            call(stream=True),
            "http://proxy"
            + ABOVE.format("us-central1", "anthropic")
            + "claude-sonnet-4-5@20250929:streamRawPredict",
        ),
    ],
)
def test_where_vertex_ai_is_asked(target: Target, asked: Call, url: str) -> None:
    request = VertexApi().request(target, asked, TOKEN, NOW)
    assert request.url == url
    assert request.headers == {"content-type": "application/json", "authorization": "Bearer ya29.token"}
    assert "ya29" not in repr(request)


def test_a_request_to_vertex_ai_needs_a_token() -> None:
    with pytest.raises(ValueError, match="access token"):
        VertexApi().request(vertex(), call(), None, NOW)


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("region", {"region": "evil.example.com/"}),
        ("region", {"region": "us-central1#"}),
        ("region", {"region": ""}),
        ("project_id", {"project_id": "../.."}),
        ("project_id", {"project_id": "p/1"}),
    ],
)
def test_a_region_or_project_cannot_lead_elsewhere(field: str, options: dict[str, str]) -> None:
    with pytest.raises(BadRequest, match=f"google_cloud_vertex_ai_config.{field}"):
        VertexApi().request(vertex(**options), call(), TOKEN, NOW)


@pytest.mark.parametrize("api", [PalmApi(), VertexApi()])
@pytest.mark.parametrize(("model", "asked"), [("chat-bison", call()), ("textembedding-gecko@003", EMBED)])
def test_models_of_palm_are_refused(api: PalmApi | VertexApi, model: str, asked: Call) -> None:
    target = palm(model) if isinstance(api, PalmApi) else vertex(model)
    with pytest.raises(BadRequest, match=f"'{model}' was retired"):
        api.request(target, asked, TOKEN, NOW)


def test_text_that_is_no_unicode_is_refused() -> None:
    with pytest.raises(BadRequest, match="JSON has no form for"):
        PalmApi().request(palm(), call(body={"messages": [{"role": "user", "content": "\ud800"}]}), None, NOW)


def test_the_token_request_is_signed_with_the_accounts_key() -> None:
    request = VertexApi().token_request(vertex(), NOW)
    assert request is not None
    assert request.url == "https://oauth2.googleapis.com/token"
    assert request.form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    assert request.form.keys() == {"grant_type", "assertion"}
    public = RSAKey.import_key(KEY.as_pem(private=False))
    token = jwt.decode(request.form["assertion"], public, algorithms=["RS256"])
    assert token.header == {"alg": "RS256", "typ": "JWT", "kid": "kid-1"}
    issued = int(NOW.timestamp())
    assert token.claims == {
        "iss": "robot@p-1.iam.gserviceaccount.com",
        "scope": "https://www.googleapis.com/auth/cloud-platform",
        "aud": "https://oauth2.googleapis.com/token",
        "iat": issued,
        "exp": issued + 3600,
    }
    assert request.form["assertion"] not in repr(request)


def changed(**fields: Any) -> str:
    return json.dumps({name: value for name, value in {**ACCOUNT, **fields}.items() if value is not None})


@pytest.mark.parametrize(
    ("private_key", "words"),
    [
        ("SECRET-pem", "it is no JSON object"),
        ('["SECRET"]', "it is no JSON object"),
        (ACCOUNT["private_key"], "it is no JSON object"),
        (changed(type="authorized_user"), "its 'type' must be 'service_account'"),
        (changed(client_email=None), "its 'client_email' is missing"),
        (changed(token_uri=None), "its 'token_uri' is missing"),
        (changed(token_uri="file:///SECRET"), "its 'token_uri' must be an http or https URL"),
        (changed(token_uri="https://[SECRET"), "its 'token_uri' must be an http or https URL"),
        (changed(token_uri="https:///SECRET"), "its 'token_uri' must be an http or https URL"),
        (changed(private_key=None), "its 'private_key' is missing"),
        (changed(private_key=7), "its 'private_key' is missing"),
        (changed(private_key="SECRET"), "its 'private_key' must be an RSA private key as PEM"),
        (
            changed(private_key="-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----\n"),
            "its 'private_key' must be an RSA private key as PEM",
        ),
        (
            changed(private_key=KEY.as_pem(private=False).decode()),
            "its 'private_key' must be an RSA private key as PEM",
        ),
    ],
)
def test_what_is_no_key_is_named_and_never_repeated(private_key: str, words: str) -> None:
    with pytest.raises(BadRequest) as refused:
        VertexApi().token_request(vertex(private_key=private_key), NOW)
    assert "google_cloud_vertex_ai_config.private_key" in refused.value.message
    assert words in refused.value.message
    assert "SECRET" not in refused.value.message
    assert refused.value.__suppress_context__ or refused.value.__context__ is None, "a traceback would show it"


@pytest.mark.parametrize("api", [PalmApi(), VertexApi()])
@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"error": {"code": 400, "message": "Bad key.", "status": "INVALID_ARGUMENT"}}', "Bad key."),
        (b'[{"error": {"code": 429, "message": "Quota."}}]', "Quota."),
        (b'{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}', "Overloaded"),
        (b'{"error": "invalid_grant", "error_description": "Invalid JWT."}', "invalid_grant: Invalid JWT."),
        (b'{"error": "invalid_scope"}', "invalid_scope"),
        (b'{"error": {"code": 500}}', '{"error": {"code": 500}}'),
        (b"<html>\xff</html>", "<html>\ufffd</html>"),
        (b"[]", "[]"),
        (b"", ""),
    ],
)
def test_what_google_says_of_an_error(api: PalmApi | VertexApi, body: bytes, text: str) -> None:
    assert api.error_text(body) == text


CLAUDE = "claude-sonnet-4-5@20250929"
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "content": [{"type": "text", "text": "Hello to you"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 9, "output_tokens": 4},
}
SIZED = {**HELLO, "max_tokens": 64}


def asked_by_anthropic(google: Google) -> tuple[str, dict[str, Any]]:
    """What Anthropic's own client of Vertex AI sends."""
    google.answer = json.dumps(MESSAGE).encode()
    client = anthropic.AnthropicVertex(
        project_id="p-1", region="us-central1", access_token="t", base_url=f"{google.url}/v1", max_retries=0
    )
    with client:
        client.messages.create(model=CLAUDE, max_tokens=64, messages=[{"role": "user", "content": "Hello"}])
    [(path, _, body)] = google.asked
    return path, body


def test_claude_is_asked_as_anthropics_client_asks_it() -> None:
    with serving() as google:
        path, body = asked_by_anthropic(google)
        request = VertexApi().request(vertex(CLAUDE, vertex_api_base=google.url), call(body=SIZED), TOKEN, NOW)
        assert request.url == google.url + path
    ours = json.loads(request.body)
    assert ours.pop("stream") is False
    # The client sends the version of Anthropic's own API; this is the one that is documented for Vertex AI.
    assert ours.pop("anthropic_version") == "vertex-2023-10-16"
    assert body.pop("anthropic_version")
    [message] = ours["messages"]
    if isinstance(message["content"], list):  # a text and a list of one text are the same
        [part] = message["content"]
        message["content"] = part["text"]
    assert ours == body


@pytest.mark.parametrize("stream", [False, True])
def test_claude_is_told_whether_to_stream_in_path_and_body(stream: bool) -> None:
    request = VertexApi().request(vertex(CLAUDE), call(stream=stream, body=SIZED), TOKEN, NOW)
    assert json.loads(request.body)["stream"] is stream
    assert request.url.endswith(":streamRawPredict" if stream else ":rawPredict")


def test_claude_answers_are_read_as_anthropics() -> None:
    target = vertex(CLAUDE)
    answer = VertexApi().answer(target, call(body=SIZED), json.dumps(MESSAGE).encode())
    assert answer.body["choices"][0]["message"]["content"] == "Hello to you"
    assert type(VertexApi().stream(target, call(True))).__name__ == "AnthropicStream"
    assert type(VertexApi().stream(vertex(), call(True))).__name__ == "GeminiStream"
    with pytest.raises(BadRequest, match="no embeddings"):
        VertexApi().request(target, EMBED, TOKEN, NOW)
