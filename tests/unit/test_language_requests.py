"""Bodies of queries to language models: what is taken out, what is refused, and how much text there is."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from moorage.api.errors import BadRequest
from moorage.api.external_models import ExternalTask
from moorage.api.routing import Availability, EndpointRoute
from moorage.api.surfaces import Surface
from moorage.gateway.language_requests import (
    LanguageRequest,
    characters_of,
    client_request_id_in,
    endpoint_named_in,
    estimated_tokens,
    language_request,
    parse_object,
)

MESSAGES = [{"role": "user", "content": "hello"}]
ENOUGH: dict[Surface, dict[str, Any]] = {
    Surface.CHAT: {"messages": MESSAGES},
    Surface.COMPLETIONS: {"prompt": "hello"},
    Surface.EMBEDDINGS: {"input": ["hello"]},
    Surface.RESPONSES: {"input": "hello"},
    Surface.MESSAGES: {"messages": MESSAGES, "max_tokens": 5},
}


def asked(
    document: dict[str, Any], surface: Surface | None = None, task: ExternalTask | None = None
) -> LanguageRequest:
    task = task or (surface.task if surface is not None else ExternalTask.CHAT)
    route = EndpointRoute(name="talk", id="e1", availability=Availability.SERVING, served=(), task=task)
    return language_request(document, surface, route)


def refusal(document: dict[str, Any], surface: Surface | None = None, task: ExternalTask | None = None) -> str:
    with pytest.raises(BadRequest) as refused:
        asked(document, surface, task)
    assert refused.value.status == 400
    return refused.value.message


def nested(levels: int) -> Any:
    value: Any = "deep"
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "body",
    [
        b"", b" ", b"{", b'{"a":1', b"null", b"1", b'"text"', b"[]", b"[{}]", b"true", b"NaN", b'{"a":NaN}',
        b'{"a":Infinity}', b'{"a":-Infinity}', b'{"a":1e999}', b'{"a":01}', b"{'a':1}", b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}', b'{"a":"\\ud800"}', b'{"a":"\x00"}', b"\x00", b'\xef\xbb\xbf{"a":1}',
        '{"a":1}'.encode("utf-16"), b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}", b'{"a":' + b"9" * 400 + b"}",
        b'{"a":1}{"b":2}', b"a=1&b=2", b"\x1f\x8b\x08\x00",
    ],
)  # fmt: skip
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest) as refused:
        parse_object(body)
    assert "JSON" in refused.value.message
    assert len(refused.value.message) < 300


def test_the_last_of_equal_keys_counts() -> None:
    assert parse_object(b'{"model": "one", "model": "two"}') == {"model": "two"}


@pytest.mark.parametrize("model", [None, "", 1, [], ["talk"], {"name": "talk"}, True])
def test_a_body_that_names_no_endpoint_is_refused(model: Any) -> None:
    for document in ({"model": model}, {}):
        with pytest.raises(BadRequest, match="'model'"):
            endpoint_named_in(document)
    assert endpoint_named_in({"model": "talk"}) == "talk"


@pytest.mark.parametrize("surface", Surface)
def test_what_every_form_needs_is_named(surface: Surface) -> None:
    assert asked(ENOUGH[surface], surface).surface is surface
    (needed,) = ENOUGH[surface].keys() - {"max_tokens"}
    for document in ({}, {needed: None}):
        assert f"'{needed}'" in refusal(document, surface)


@pytest.mark.parametrize("messages", [[], "hello", {}, {"role": "user"}, 1, True])
def test_messages_must_be_a_filled_array(messages: Any) -> None:
    assert "'messages'" in refusal({"messages": messages}, Surface.CHAT)


@pytest.mark.parametrize("stream", [1, 0, "true", "", [], {}])
def test_stream_must_be_a_boolean(stream: Any) -> None:
    assert "'stream'" in refusal({**ENOUGH[Surface.CHAT], "stream": stream})


def test_stream_says_whether_it_is_one() -> None:
    given = ENOUGH[Surface.CHAT]
    assert [asked({**given, "stream": one}).stream for one in (True, False, None)] == [True, False, False]
    assert "'stream'" in refusal({**ENOUGH[Surface.EMBEDDINGS], "stream": True}, Surface.EMBEDDINGS)
    assert not asked({**ENOUGH[Surface.EMBEDDINGS], "stream": False}, Surface.EMBEDDINGS).stream


@pytest.mark.parametrize("task", ExternalTask)
@pytest.mark.parametrize("surface", Surface)
def test_an_endpoint_is_queried_in_the_forms_of_its_task(surface: Surface, task: ExternalTask) -> None:
    if surface.task is task:
        assert asked(ENOUGH[surface], surface, task).surface is surface
        return
    message = refusal(ENOUGH[surface], surface, task)
    assert "'talk'" in message
    assert task in message
    assert surface.task in message


def test_invocations_take_the_form_of_the_task() -> None:
    forms = {
        task: asked({"messages": MESSAGES, "prompt": "x", "input": "x"}, None, task).surface for task in ExternalTask
    }
    assert forms == {
        ExternalTask.CHAT: Surface.CHAT,
        ExternalTask.COMPLETIONS: Surface.COMPLETIONS,
        ExternalTask.EMBEDDINGS: Surface.EMBEDDINGS,
    }


def test_own_fields_are_taken_out_and_the_document_is_left_as_it_is() -> None:
    document = {
        **ENOUGH[Surface.CHAT],
        "temperature": 0.5,
        "unknown": {"a": 1},
        "client_request_id": "mine",
        "usage_context": {"team": "red"},
        "extra_params": {"top_k": "3"},
        "databricks_options": {"return_trace": True},
    }
    before = orjson.dumps(document)
    found = asked(document)
    assert orjson.dumps(document) == before
    assert found.body == {"messages": MESSAGES, "temperature": 0.5, "unknown": {"a": 1}, "top_k": 3}
    assert found.client_request_id == "mine"
    assert found.usage_context == {"team": "red"}


@pytest.mark.parametrize("value", [1, [], {}, True, "x" * 1025])
def test_a_client_request_id_is_a_short_text(value: Any) -> None:
    assert "'client_request_id'" in refusal({**ENOUGH[Surface.CHAT], "client_request_id": value})


def test_the_longest_client_request_id_is_kept() -> None:
    assert asked({**ENOUGH[Surface.CHAT], "client_request_id": "é" * 1024}).client_request_id == "é" * 1024
    assert asked({**ENOUGH[Surface.CHAT], "client_request_id": None}).client_request_id is None


@pytest.mark.parametrize(
    "value", ["x", 1, [], [["a", "b"]], True, {"a": 1}, {"a": None}, {"a": {"b": "c"}}, {"a": ["b"]}]
)
def test_a_usage_context_is_an_object_of_strings(value: Any) -> None:
    assert "'usage_context'" in refusal({**ENOUGH[Surface.CHAT], "usage_context": value})


def test_a_usage_context_has_at_most_ten_kibibytes_as_json() -> None:
    room = 10 * 1024 - len(orjson.dumps({"a": ""}))
    assert asked({**ENOUGH[Surface.CHAT], "usage_context": {"a": "x" * room}}).usage_context
    assert "10240 bytes" in refusal({**ENOUGH[Surface.CHAT], "usage_context": {"a": "x" * (room + 1)}})
    assert "10240 bytes" in refusal({**ENOUGH[Surface.CHAT], "usage_context": {"a": "é" * (room // 2 + 1)}})
    assert asked({**ENOUGH[Surface.CHAT], "usage_context": {}}).usage_context == {}


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("3", 3), ("0.5", 0.5), ("true", True), ('{"a": [1]}', {"a": [1]}), ("null", None), ('"text"', "text"),
        ("words", "words"), ("", ""), ("{", "{"), ("NaN", "NaN"), (7, 7), ([1], [1]),
    ],
)  # fmt: skip
def test_texts_of_extra_params_are_json_where_they_can_be(given: Any, meant: Any) -> None:
    body = asked({**ENOUGH[Surface.CHAT], "extra_params": {"p": given}}).body
    assert body["p"] == meant
    assert type(body["p"]) is type(meant)


def test_extra_params_go_before_the_fields_of_the_body() -> None:
    found = asked({**ENOUGH[Surface.CHAT], "temperature": 1, "extra_params": {"temperature": "0"}})
    assert found.body["temperature"] == 0


@pytest.mark.parametrize(
    "name", ["model", "stream", "client_request_id", "usage_context", "extra_params", "databricks_options"]
)
def test_extra_params_hold_nothing_that_is_decided_elsewhere(name: str) -> None:
    message = refusal({**ENOUGH[Surface.CHAT], "extra_params": {name: "true"}})
    assert "'extra_params'" in message
    assert f"'{name}'" in message


@pytest.mark.parametrize("value", ["{}", [], 1, True])
def test_extra_params_are_an_object(value: Any) -> None:
    assert "'extra_params'" in refusal({**ENOUGH[Surface.CHAT], "extra_params": value})


def test_extra_params_are_looked_at_like_the_rest() -> None:
    assert "'messages'" in refusal({**ENOUGH[Surface.CHAT], "extra_params": {"messages": "[]"}})
    assert "nested" in refusal({**ENOUGH[Surface.CHAT], "extra_params": {"p": "[" * 500 + "]" * 500}})


@pytest.mark.parametrize("surface", Surface)
@pytest.mark.parametrize("levels", [200, 300, 900])
def test_what_could_not_be_written_again_is_refused(surface: Surface, levels: int) -> None:
    (needed,) = ENOUGH[surface].keys() - {"max_tokens"}
    for field in (needed, "unknown"):
        document = {**ENOUGH[surface], field: nested(levels)}
        assert "nested" in refusal(document, surface)
        assert "nested" in refusal({**ENOUGH[surface], field: [{"a": one} for one in nested(levels)]}, surface)
    body = asked({**ENOUGH[surface], "unknown": nested(150)}, surface).body
    assert orjson.dumps({"body": body})


def test_characters_are_those_of_what_is_said() -> None:
    body = {
        "messages": [
            {"role": "user", "content": "12345"},
            {"role": "assistant", "content": [{"type": "text", "text": "678"}]},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
        ],
        "system": "90",
        "temperature": 1,
        "user": "nobody",
    }
    assert characters_of(body) == 10
    assert characters_of({"prompt": ["ab", "c"], "input": "d", "instructions": "e"}) == 5
    assert characters_of({"input": [[1, 2, 3]], "prompt": None}) == 0
    assert characters_of({"messages": nested(5000)}) == len("deep")


def test_tokens_are_estimated_from_characters() -> None:
    assert [estimated_tokens(one) for one in (0, 1, 3, 4, 7, 399)] == [0, 0, 1, 1, 2, 100]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"client_request_id": "mine"}', "mine"), (b'{"client_request_id": 1}', None),
        (b'["client_request_id"]', None), (b'"\\"client_request_id\\""', None),
        (b'{"client_request_id": "', None), (b"{}", None), (b"", None),
        (b'{"a": {"client_request_id": "x"}}', None), (b'{"client_request_id": "' + b"x" * 1025 + b'"}', None),
    ],
)  # fmt: skip
def test_the_id_of_a_body_of_any_form(body: bytes, found: str | None) -> None:
    assert client_request_id_in(body) == found
