"""Requests to providers that speak OpenAI's form, and what is read of their answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from moorage.api.errors import BadRequest
from moorage.api.external_models import ExternalTask, Provider
from moorage.api.surfaces import Surface
from moorage.external.exchange import (
    AccessToken,
    Call,
    HttpRequest,
    ProviderApi,
    Target,
    UnreadableAnswer,
    Usage,
)
from moorage.external.openai_format import OpenAIFormatApi, choices_of, supports_native, usage_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
API: ProviderApi = OpenAIFormatApi()
CHAT, COMPLETIONS, EMBEDDINGS = ExternalTask.CHAT, ExternalTask.COMPLETIONS, ExternalTask.EMBEDDINGS
AZURE = {
    "openai_api_base": "https://mine.openai.azure.com/",
    "openai_api_version": "2024-10-21",
    "openai_deployment_name": "my deployment",
}
ENTRA = {"openai_api_type": "azuread", "microsoft_entra_tenant_id": "tenant/1", "microsoft_entra_client_id": "client"}

OPENAI = Target(Provider.OPENAI, "gpt-4o", CHAT, {}, {"openai_api_key": "sk-1"})
AZURE_KEY = Target(Provider.OPENAI, "gpt-4o", CHAT, {**AZURE, "openai_api_type": "azure"}, {"openai_api_key": "sk-2"})
AZURE_AD = Target(Provider.OPENAI, "gpt-4o", CHAT, {**AZURE, **ENTRA}, {"microsoft_entra_client_secret": "s3"})
DATABRICKS = Target(
    Provider.DATABRICKS_MODEL_SERVING,
    "their endpoint",
    CHAT,
    {"databricks_workspace_url": "https://x.cloud.databricks.com/"},
    {"databricks_api_token": "dapi4"},
)
AI21 = Target(Provider.AI21LABS, "jamba-large", CHAT, {}, {"ai21labs_api_key": "key-5"})
CUSTOM = Target(Provider.CUSTOM, "m", CHAT, {"custom_provider_url": "https://h/v1"}, {"bearer_token": "b6"})
CUSTOM_KEY = Target(
    Provider.CUSTOM,
    "m",
    CHAT,
    {"custom_provider_url": "https://h/v1", "api_key_header": "X-Api-Key"},
    {"api_key_value": "c7"},
)

BODY: dict[str, Any] = {"model": "my-endpoint", "messages": [{"role": "user", "content": "你好"}], "temperature": 0.5}


def asked(
    target: Target, body: Mapping[str, Any] = BODY, *, task: ExternalTask = CHAT, stream: bool = False
) -> HttpRequest:
    before = json.dumps(body)
    token = AccessToken("t8") if target is AZURE_AD else None
    request = API.request(target, Call(task, body, stream, "id", 1), token, NOW)
    assert json.dumps(body) == before, "the body of the call was changed"
    return request


def sent(target: Target, body: Mapping[str, Any] = BODY, **how: Any) -> Any:
    return json.loads(asked(target, body, **how).body)


def with_options(target: Target, **options: str) -> Target:
    return Target(target.provider, target.model, target.task, {**target.options, **options}, target.credentials)


@pytest.mark.parametrize(
    ("target", "url", "credential"),
    [
        (OPENAI, "https://api.openai.com/v1/chat/completions", {"authorization": "Bearer sk-1"}),
        (
            with_options(OPENAI, openai_api_base="http://localhost:8000/v1/", openai_organization="org"),
            "http://localhost:8000/v1/chat/completions",
            {"authorization": "Bearer sk-1", "openai-organization": "org"},
        ),
        (
            AZURE_KEY,
            "https://mine.openai.azure.com/openai/deployments/my%20deployment/chat/completions?api-version=2024-10-21",
            {"api-key": "sk-2"},
        ),
        (
            AZURE_AD,
            "https://mine.openai.azure.com/openai/deployments/my%20deployment/chat/completions?api-version=2024-10-21",
            {"authorization": "Bearer t8"},
        ),
        (
            DATABRICKS,
            "https://x.cloud.databricks.com/serving-endpoints/their%20endpoint/invocations",
            {"authorization": "Bearer dapi4"},
        ),
        (AI21, "https://api.ai21.com/studio/v1/chat/completions", {"authorization": "Bearer key-5"}),
        (
            with_options(AI21, ai21labs_api_base="http://localhost:1/x/"),
            "http://localhost:1/x/chat/completions",
            {"authorization": "Bearer key-5"},
        ),
        (CUSTOM, "https://h/v1/chat/completions", {"authorization": "Bearer b6"}),
        (CUSTOM_KEY, "https://h/v1/chat/completions", {"x-api-key": "c7"}),
    ],
)
def test_where_a_request_goes_and_what_lets_it_in(target: Target, url: str, credential: dict[str, str]) -> None:
    request = asked(target)
    assert request.url == url
    assert request.headers == {"content-type": "application/json", **credential}


@pytest.mark.parametrize(
    ("given", "task", "url"),
    [
        ("https://h/v1/chat/completions", CHAT, "https://h/v1/chat/completions"),
        ("https://h/v1/chat/completions/", CHAT, "https://h/v1/chat/completions/"),
        ("https://h/v1/", CHAT, "https://h/v1/chat/completions"),
        ("https://h", CHAT, "https://h/chat/completions"),
        ("https://h/v1/completions", COMPLETIONS, "https://h/v1/completions"),
        ("https://h/v1/chat/completions", COMPLETIONS, "https://h/v1/completions"),
        ("https://h/v1/completions", CHAT, "https://h/v1/chat/completions"),
        ("https://h/v1/embeddings", EMBEDDINGS, "https://h/v1/embeddings"),
        ("https://h/v1/chat/completions", EMBEDDINGS, "https://h/v1/embeddings"),
        ("https://h/my-completions", CHAT, "https://h/my-completions/chat/completions"),
    ],
)
def test_a_custom_url_is_that_of_the_operation_or_its_base(given: str, task: ExternalTask, url: str) -> None:
    assert asked(with_options(CUSTOM, custom_provider_url=given), task=task).url == url


@pytest.mark.parametrize(
    ("task", "path"), [(CHAT, "chat/completions"), (COMPLETIONS, "completions"), (EMBEDDINGS, "embeddings")]
)
def test_each_task_has_its_path(task: ExternalTask, path: str) -> None:
    assert asked(OPENAI, task=task).url == f"https://api.openai.com/v1/{path}"
    deployment = "https://mine.openai.azure.com/openai/deployments/my%20deployment"
    assert asked(AZURE_KEY, task=task).url == f"{deployment}/{path}?api-version=2024-10-21"


@pytest.mark.parametrize("target", [OPENAI, AZURE_KEY, AZURE_AD, DATABRICKS, AI21, CUSTOM])
def test_nothing_but_the_model_is_changed(target: Target) -> None:
    body = {**BODY, "max_tokens": 5, "n": 2, "strange": {"kept": [1, None]}, "stream": False, "stop": None}
    assert sent(target, body) == {**body, "model": target.model}
    assert list(sent(target, body)) == list(body)


@pytest.mark.parametrize(
    ("target", "given", "options"),
    [
        (OPENAI, {}, {"include_usage": True}),
        (OPENAI, {"stream_options": None}, {"include_usage": True}),
        (OPENAI, {"stream_options": {"include_usage": False}}, {"include_usage": False}),
        (
            OPENAI,
            {"stream_options": {"include_obfuscation": False}},
            {"include_obfuscation": False, "include_usage": True},
        ),
        (OPENAI, {"stream_options": "strange"}, "strange"),
        (CUSTOM, {}, {"include_usage": True}),
        (AZURE_KEY, {}, {"include_usage": True}),
        (with_options(AZURE_KEY, openai_api_version="preview"), {}, {"include_usage": True}),
        (with_options(AZURE_KEY, openai_api_version="2024-09-01-preview"), {}, {"include_usage": True}),
        (with_options(AZURE_KEY, openai_api_version="2024-06-01"), {}, None),
        (with_options(AZURE_KEY, openai_api_version="2023-05-15"), {"stream_options": {"a": 1}}, None),
        (DATABRICKS, {}, None),
        (AI21, {"stream_options": {"include_usage": True}}, None),
    ],
)
def test_usage_is_asked_for_in_streams(target: Target, given: dict[str, Any], options: Any) -> None:
    document = sent(target, {**BODY, **given}, stream=True)
    assert document["stream"] is True
    assert document.get("stream_options") == options


def test_an_answer_in_one_piece_can_be_asked_for_where_the_client_wants_a_stream() -> None:
    document = sent(OPENAI, {**BODY, "stream": True, "stream_options": {"include_usage": True}})
    assert document == {**BODY, "model": "gpt-4o"}


@pytest.mark.parametrize(
    ("provider", "model", "field"),
    [
        *[
            (provider, model, "max_completion_tokens")
            for provider in (OPENAI, AZURE_KEY)
            for model in (
                "o1",
                "o1-mini",
                "o3",
                "o4-mini",
                "gpt-5",
                "gpt-5-mini",
                "gpt-6-astra",
                "ft:o4-mini:mine::1",
            )
        ],
        (OPENAI, "gpt-4o", "max_tokens"),
        (OPENAI, "gpt-4.1", "max_tokens"),
        (OPENAI, "omni", "max_tokens"),
        (CUSTOM, "o1", "max_tokens"),
        (DATABRICKS, "gpt-5", "max_tokens"),
    ],
)
def test_reasoning_models_get_the_newer_limit(provider: Target, model: str, field: str) -> None:
    target = Target(provider.provider, model, CHAT, provider.options, provider.credentials)
    document = sent(target, {**BODY, "max_tokens": 5})
    assert {name: document[name] for name in document if name.startswith("max_")} == {field: 5}


def test_the_newer_limit_goes_first_where_both_are_given() -> None:
    target = Target(Provider.OPENAI, "o3", CHAT, {}, OPENAI.credentials)
    assert sent(target, {**BODY, "max_tokens": 5, "max_completion_tokens": 7})["max_completion_tokens"] == 7


def test_ai21_has_chat_alone() -> None:
    for task in (COMPLETIONS, EMBEDDINGS):
        with pytest.raises(BadRequest, match="chat completions alone"):
            asked(AI21, task=task)


def test_only_entra_id_needs_an_access_token() -> None:
    for target in (OPENAI, AZURE_KEY, DATABRICKS, AI21, CUSTOM):
        assert API.token_request(target, NOW) is None
    request = API.token_request(AZURE_AD, NOW)
    assert request is not None
    assert request.url == "https://login.microsoftonline.com/tenant%2F1/oauth2/v2.0/token"
    assert request.form == {
        "grant_type": "client_credentials",
        "client_id": "client",
        "client_secret": "s3",
        "scope": "https://cognitiveservices.azure.com/.default",
    }
    elsewhere = API.token_request(with_options(AZURE_AD, microsoft_entra_authority="http://localhost:1/"), NOW)
    assert elsewhere is not None
    assert elsewhere.url == "http://localhost:1/tenant%2F1/oauth2/v2.0/token"
    with pytest.raises(ValueError, match="token"):
        API.request(AZURE_AD, Call(CHAT, BODY, False, "id", 1), None, NOW)


def test_nothing_secret_shows_in_a_request_that_is_printed() -> None:
    for target in (OPENAI, AZURE_KEY, AZURE_AD, DATABRICKS, AI21, CUSTOM, CUSTOM_KEY):
        shown = repr(asked(target)) + repr(target) + repr(API.token_request(target, NOW))
        assert not any(value in shown for value in [*target.credentials.values(), "t8"])


RESPONSES_BODY = {"model": "my-endpoint", "input": "hi", "tools": [{"type": "web_search"}], "background": False}


@pytest.mark.parametrize(
    ("target", "url", "model"),
    [
        (OPENAI, "https://api.openai.com/v1/responses", "gpt-4o"),
        (AZURE_KEY, "https://mine.openai.azure.com/openai/v1/responses", "my deployment"),
        (AZURE_AD, "https://mine.openai.azure.com/openai/v1/responses", "my deployment"),
    ],
)
def test_responses_go_on_as_they_are_where_the_provider_has_them(target: Target, url: str, model: str) -> None:
    token = AccessToken("t8") if target is AZURE_AD else None
    request = OpenAIFormatApi().responses_request(target, RESPONSES_BODY, True, token)
    assert request.url == url
    assert request.headers == asked(target).headers
    assert json.loads(request.body) == {**RESPONSES_BODY, "model": model, "stream": True}
    plain = OpenAIFormatApi().responses_request(target, {**RESPONSES_BODY, "stream": True}, False, token)
    assert json.loads(plain.body) == {**RESPONSES_BODY, "model": model}


@pytest.mark.parametrize(
    ("field", "value"),
    [("background", True), ("store", True), ("conversation", "conv_1"), ("service_tier", "flex")],
)
def test_responses_refuse_what_is_not_offered_also_natively(field: str, value: Any) -> None:
    with pytest.raises(BadRequest, match=f"'{field}'"):
        OpenAIFormatApi().responses_request(OPENAI, {**RESPONSES_BODY, field: value}, False, None)


def test_what_ai21_does_not_say_is_said_for_it() -> None:
    """OpenAI's client takes no notice of chunks that do not name their kind."""
    call = Call(CHAT, BODY, False, "id", 1)
    choices = [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}]
    event = f"data: {json.dumps({'id': 'c', 'choices': choices})}\n\n"
    [chunk] = API.stream(AI21, call).feed(event.encode())
    beside = {"created": call.created, "model": "jamba-large"}
    assert chunk == {"id": "c", "choices": choices, "object": "chat.completion.chunk", **beside}
    answer = API.answer(AI21, call, b'{"id": "c", "choices": [], "model": "jamba-large-1.7"}').body
    assert answer == {"id": "c", "choices": [], "object": "chat.completion", **beside, "model": "jamba-large-1.7"}


CHAT_SURFACE, RESPONSES = Surface.CHAT, Surface.RESPONSES


@pytest.mark.parametrize(
    ("target", "task", "native"),
    [
        (OPENAI, CHAT, {CHAT_SURFACE, RESPONSES}),
        (with_options(OPENAI, openai_api_base="https://eu.api.openai.com/v1"), CHAT, {CHAT_SURFACE, RESPONSES}),
        (with_options(OPENAI, openai_api_base="https://llm.example.com/v1"), CHAT, {CHAT_SURFACE}),
        (with_options(OPENAI, openai_api_base="https://api.openai.com.example.com"), CHAT, {CHAT_SURFACE}),
        (OPENAI, COMPLETIONS, {Surface.COMPLETIONS}),
        (OPENAI, EMBEDDINGS, {Surface.EMBEDDINGS}),
        (AZURE_KEY, CHAT, {CHAT_SURFACE, RESPONSES}),
        (AZURE_AD, EMBEDDINGS, {Surface.EMBEDDINGS}),
        (CUSTOM, CHAT, {CHAT_SURFACE}),
        (CUSTOM, COMPLETIONS, {Surface.COMPLETIONS}),
        (DATABRICKS, CHAT, {CHAT_SURFACE}),
        (DATABRICKS, EMBEDDINGS, {Surface.EMBEDDINGS}),
        (AI21, CHAT, set()),
        (AI21, COMPLETIONS, set()),
        (AI21, EMBEDDINGS, set()),
    ],
)
def test_which_forms_a_provider_takes_itself(target: Target, task: ExternalTask, native: set[Surface]) -> None:
    target = Target(target.provider, target.model, task, target.options, target.credentials)
    assert {surface for surface in Surface if supports_native(target, surface)} == native


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        (b'{"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}', Usage(3, 4)),
        (b'{"data": [], "usage": {"prompt_tokens": 3, "total_tokens": 3}}', Usage(3, 0)),
        (b'{"output": [], "error": null, "usage": {"input_tokens": 3, "output_tokens": 4}}', Usage(3, 4)),
        (b'{"choices": [{"message": {"content": "\\"usage\\": {}"}}]}', None),
        (b'{"usage": null}', None),
    ],
)
def test_usage_of_a_whole_answer(body: bytes, usage: Usage | None) -> None:
    assert usage_of(body) == usage
    answer = API.answer(OPENAI, Call(CHAT, BODY, False, "id", 1), body)
    assert answer.usage == usage
    assert answer.body == json.loads(body)


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"", "not JSON"),
        (b"<html>", "not JSON"),
        (b'{"choices": [', "not JSON"),
        (b'{"choices": "\xff"}', "not JSON"),
        (b"[]", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b'{"error": {"message": "upstream is gone", "code": 502}}', "upstream is gone"),
    ],
)
def test_an_answer_that_is_none_is_noticed(body: bytes, what: str) -> None:
    with pytest.raises(UnreadableAnswer, match=what):
        usage_of(body)
    with pytest.raises(UnreadableAnswer, match=what):
        API.answer(OPENAI, Call(CHAT, BODY, False, "id", 1), body)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"error": {"message": "bad key", "type": "x"}}', "bad key"),
        (b'{"error": "plain"}', "plain"),
        (b'{"error_code": "BAD_REQUEST", "message": "no such field"}', "no such field"),
        (b'{"statusCode": 401, "message": "no access"}', "no access"),
        (b'{"detail": "unprocessable"}', "unprocessable"),
        (b'[{"error": {"message": "in a list"}}]', "in a list"),
        (b'{"detail": [{"loc": ["n"]}]}', '{"detail": [{"loc": ["n"]}]}'),
        (b"  <html>gone</html>\n", "<html>gone</html>"),
        (b"\xff", "\ufffd"),
        (b"", ""),
        (b"x" * 9000, "x" * 4000),
    ],
)
def test_the_words_of_an_error(body: bytes, text: str) -> None:
    assert API.error_text(body) == text


def test_how_many_choices_are_asked_for() -> None:
    assert [choices_of({"n": n}) for n in (None, 1, 3, 0, "2", True)] == [1, 1, 3, 1, 1, 1]
    chunks = API.stream(OPENAI, Call(CHAT, {**BODY, "n": 2}, True, "id", 1))
    chunks.feed(b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\n')
    chunks.end()
    assert not chunks.finished
