"""Requests to Amazon Bedrock, against the service's own model as botocore has it, and against boto3's client."""

from __future__ import annotations

import base64
import http.client
import json
from datetime import timedelta, timezone
from typing import Any
from urllib.parse import unquote, urlsplit

import botocore.auth
import pytest
from bedrock_examples import (
    ANSWER,
    ANSWER_SPEC,
    API,
    CLAUDE,
    CLOCK,
    CLOCK_SPEC,
    FORMAT,
    HELLO,
    KEYS,
    NEW_CLAUDE,
    NOW,
    PIXEL,
    SAID_HELLO,
    SCHEMA,
    WEATHER,
    WEATHER_SPEC,
    boto_client,
    chat,
    requested,
    target,
    tool_call,
    turns,
)
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from loopback import Sent, loopback

from moorage.api.errors import BadRequest
from moorage.api.external_models import ExternalTask, Provider
from moorage.external.exchange import Target

# What requests say.


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({}, {}),
        ({"max_tokens": 5}, {"inferenceConfig": {"maxTokens": 5}}),
        ({"max_tokens": 5, "max_completion_tokens": 9}, {"inferenceConfig": {"maxTokens": 9}}),
        ({"temperature": 0, "top_p": 0.5}, {"inferenceConfig": {"temperature": 0, "topP": 0.5}}),
        ({"stop": "\n"}, {"inferenceConfig": {"stopSequences": ["\n"]}}),
        ({"stop": ["a", "b"]}, {"inferenceConfig": {"stopSequences": ["a", "b"]}}),
        ({"stop": [], "temperature": None}, {}),
        ({"top_k": 3}, {"additionalModelRequestFields": {"top_k": 3}}),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 2000}},
            {"additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 2000}}},
        ),
        ({"n": 1, "logprobs": False, "presence_penalty": 0.0, "parallel_tool_calls": True, "logit_bias": {}}, {}),
        ({"user": "u", "seed": 3, "stream_options": {"include_usage": True}}, {}),
        ({"response_format": {"type": "text"}}, {}),
        ({"tools": []}, {}),
        ({"tools": [WEATHER, CLOCK]}, {"toolConfig": {"tools": [WEATHER_SPEC, CLOCK_SPEC]}}),
        ({"tools": [WEATHER], "tool_choice": "auto"}, {"toolConfig": {"tools": [WEATHER_SPEC]}}),
        ({"tools": [WEATHER], "tool_choice": "none"}, {}),
        (
            {"tools": [WEATHER], "tool_choice": "required"},
            {"toolConfig": {"tools": [WEATHER_SPEC], "toolChoice": {"any": {}}}},
        ),
        (
            {"tools": [WEATHER, CLOCK], "tool_choice": {"type": "function", "function": {"name": "clock"}}},
            {"toolConfig": {"tools": [WEATHER_SPEC, CLOCK_SPEC], "toolChoice": {"tool": {"name": "clock"}}}},
        ),
        (
            {"response_format": FORMAT},
            {"toolConfig": {"tools": [ANSWER_SPEC], "toolChoice": {"tool": {"name": "answer_in_json"}}}},
        ),
    ],
)
def test_fields_have_their_counterparts(given: dict[str, Any], made: dict[str, Any]) -> None:
    assert requested(**given) == {"messages": SAID_HELLO, **made}


def test_newer_models_take_the_schema_itself_beside_tools_and_thinking() -> None:
    thinking = {"type": "enabled", "budget_tokens": 2000}
    made = requested(model=NEW_CLAUDE, response_format=FORMAT, tools=[WEATHER], thinking=thinking)

    form = made["outputConfig"]["textFormat"]
    assert form["type"] == "json_schema"
    assert form["structure"]["jsonSchema"]["name"] == "place"
    assert json.loads(form["structure"]["jsonSchema"]["schema"]) == {**SCHEMA, "additionalProperties": False}
    assert made["toolConfig"] == {"tools": [WEATHER_SPEC]}
    assert made["additionalModelRequestFields"] == {"thinking": thinking}


@pytest.mark.parametrize(
    ("model", "effort", "fields"),
    [
        ("claude-sonnet-4-5", "low", {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
        (
            "anthropic.claude-opus-4-6-v1",
            "xhigh",
            {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "xhigh"}},
        ),
        ("anthropic.claude-opus-4-6-v1", "none", {"thinking": {"type": "disabled"}}),
    ],
)
def test_claude_thinks_as_hard_as_is_asked(model: str, effort: str, fields: dict[str, Any]) -> None:
    made = requested(model=model, reasoning_effort=effort, max_tokens=4000)
    assert made["additionalModelRequestFields"] == fields


def test_claude_that_is_asked_for_no_effort_is_asked_nothing() -> None:
    assert "additionalModelRequestFields" not in requested(model="claude-sonnet-4-5", reasoning_effort="none")


@pytest.mark.parametrize(
    ("vendor", "fields"),
    [("cohere", {"k": 3}), ("amazon", {"inferenceConfig": {"topK": 3}}), ("anthropic", {"top_k": 3})],
)
def test_top_k_has_each_vendors_name(vendor: str, fields: dict[str, Any]) -> None:
    assert requested(vendor, f"{vendor}.model", top_k=3)["additionalModelRequestFields"] == fields


def test_what_system_and_developer_say_goes_to_one_place() -> None:
    made = requested(
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hello"},
            {"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "kind."}]},
            {"role": "system", "content": " "},
        ],
        response_format={"type": "json_object"},
    )

    assert made["messages"] == SAID_HELLO
    assert [block["text"] for block in made["system"]][:2] == ["Be brief.", "Be kind."]
    assert "JSON object" in made["system"][2]["text"]
    assert len(made["system"]) == 3


@pytest.mark.parametrize(
    ("url", "form"),
    [
        (f"data:image/png;base64,{PIXEL}", "png"),
        (f"data:image/jpg;base64,{PIXEL}", "jpeg"),
        (f"data:image/JPEG;name=a;base64,{PIXEL}", "jpeg"),
        (f"data:image/gif;base64,{PIXEL}", "gif"),
        (f"data:image/webp;base64,{PIXEL}", "webp"),
    ],
)
def test_images_go_with_the_request(url: str, form: str) -> None:
    parts = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": url}}]

    assert turns({"role": "user", "content": parts}) == [
        {"role": "user", "content": [{"text": "What?"}, {"image": {"format": form, "source": {"bytes": PIXEL}}}]}
    ]


CALLED = [
    {"role": "user", "content": "Weather in Rome and Oslo?"},
    {
        "role": "assistant",
        "content": "I look.",
        "tool_calls": [tool_call("c1", "weather", '{"city":"Rome"}'), tool_call("c2", "clock", "")],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "12:00"}]},
    {"role": "user", "content": "And?"},
]
CALLED_TURNS = [
    {"role": "user", "content": [{"text": "Weather in Rome and Oslo?"}]},
    {
        "role": "assistant",
        "content": [
            {"text": "I look."},
            {"toolUse": {"toolUseId": "c1", "name": "weather", "input": {"city": "Rome"}}},
            {"toolUse": {"toolUseId": "c2", "name": "clock", "input": {}}},
        ],
    },
    {
        "role": "user",
        "content": [
            {"toolResult": {"toolUseId": "c1", "content": [{"text": "sunny"}]}},
            {"toolResult": {"toolUseId": "c2", "content": [{"text": "12:00"}]}},
            {"text": "And?"},
        ],
    },
]


def test_results_of_tools_become_one_turn_of_the_user() -> None:
    made = requested(messages=CALLED, tools=[WEATHER, CLOCK])

    assert made["messages"] == CALLED_TURNS
    assert made["toolConfig"] == {"tools": [WEATHER_SPEC, CLOCK_SPEC]}


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"tools": [WEATHER, CLOCK], "tool_choice": "none"}, ["weather", "clock"]),
        ({}, ["weather", "clock"]),
        ({"response_format": FORMAT}, ["answer_in_json", "weather", "clock"]),
    ],
)
def test_a_history_of_calls_takes_its_tools_along(given: dict[str, Any], names: list[str]) -> None:
    tools = requested(messages=CALLED, **given)["toolConfig"]["tools"]

    assert [tool["toolSpec"]["name"] for tool in tools] == names


def test_messages_in_a_row_become_one_turn_and_what_is_blank_is_left_out() -> None:
    assert turns(
        {"role": "user", "content": "a"},
        {"role": "user", "content": [{"type": "text", "text": "b"}, {"type": "text", "text": "\n"}]},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": "c"},
        {"role": "assistant", "content": "d"},
        {"role": "assistant", "content": None, "tool_calls": [tool_call("c1", "clock", "{}")]},
        {"role": "tool", "tool_call_id": "c1", "content": ""},
    ) == [
        {"role": "user", "content": [{"text": "a"}, {"text": "b"}, {"text": "c"}]},
        {
            "role": "assistant",
            "content": [{"text": "d"}, {"toolUse": {"toolUseId": "c1", "name": "clock", "input": {}}}],
        },
        {"role": "user", "content": [{"toolResult": {"toolUseId": "c1", "content": []}}]},
    ]


def test_reasoning_of_an_answer_is_given_back_when_it_is_signed() -> None:
    def reasoning(**said: str) -> dict[str, Any]:
        return {"type": "reasoning", "summary": [said]}

    content = [
        reasoning(type="summary_text", text="one "),
        reasoning(type="summary_text", text="two"),
        reasoning(type="summary_text", text="", signature="sig"),
        reasoning(type="summary_encrypted_text", data="b3BhcXVl"),
        reasoning(type="summary_text", text="three", signature="sig3"),
        reasoning(type="summary_text", text="not signed"),
        {"type": "text", "text": "Done."},
    ]

    assert turns(HELLO[0], {"role": "assistant", "content": content}, HELLO[0])[1]["content"] == [
        {"reasoningContent": {"reasoningText": {"text": "one two", "signature": "sig"}}},
        {"reasoningContent": {"redactedContent": "b3BhcXVl"}},
        {"reasoningContent": {"reasoningText": {"text": "three", "signature": "sig3"}}},
        {"text": "Done."},
    ]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"messages": None}, "'messages'"),
        ({"messages": []}, "'messages'"),
        ({"messages": ["Hello"]}, r"'messages\[0\]'"),
        ({"messages": [{"role": "robot", "content": "x"}]}, r"'messages\[0\].role'"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, r"'messages\[0\].role'"),
        ({"messages": [{"role": "system", "content": "x"}]}, "role 'user'"),
        ({"messages": [{"role": "user", "content": " "}]}, r"'messages\[0\].content' must not be empty"),
        ({"messages": [{"role": "user", "content": 3}]}, r"'messages\[0\].content'"),
        ({"messages": [{"role": "user", "content": [{"type": "file"}]}]}, r"'messages\[0\].content\[0\].type'"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, r"'messages\[0\].content\[0\].type'"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, r"'messages\[0\].content\[0\].text'"),
        ({"messages": [{"role": "tool", "content": "x"}]}, r"'messages\[0\].tool_call_id'"),
        ({"messages": [{"role": "assistant", "tool_calls": {}}]}, r"'messages\[0\].tool_calls'"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, r"'messages\[0\].tool_calls\[0\]'"),
        (
            {"messages": [HELLO[0], {"role": "assistant", "tool_calls": [tool_call("c", "f", "[1]")]}]},
            r"'messages\[1\].tool_calls\[0\].function.arguments' must be the text of a JSON object",
        ),
        (
            {"messages": [HELLO[0], {"role": "assistant", "tool_calls": [tool_call("c", "f", "{")]}]},
            r"'messages\[1\].tool_calls\[0\].function.arguments'",
        ),
        ({"n": 2}, "'n'"),
        ({"logprobs": True}, "'logprobs'"),
        ({"top_logprobs": 2}, "'top_logprobs'"),
        ({"frequency_penalty": 0.5}, "'frequency_penalty'"),
        ({"logit_bias": {"1": 2}}, "'logit_bias'"),
        ({"parallel_tool_calls": False}, "'parallel_tool_calls'"),
        ({"reasoning_effort": "much"}, "'reasoning_effort'"),
        ({"reasoning_effort": "low", "max_tokens": 1000}, "'max_tokens' must be above 1024"),
        ({"max_tokens": "5"}, "'max_tokens'"),
        ({"max_tokens": 1.5}, "'max_tokens'"),
        ({"temperature": True}, "'temperature'"),
        ({"stop": [1]}, "'stop'"),
        ({"thinking": True}, "'thinking'"),
        ({"tools": {}}, "'tools'"),
        ({"tools": [{"type": "custom", "custom": {}}]}, r"'tools\[0\]'"),
        ({"tools": [{"type": "function", "function": {}}]}, r"'tools\[0\].function.name'"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]}, "parameters'"),
        ({"tool_choice": "required"}, "'tool_choice'"),
        ({"tools": [WEATHER], "tool_choice": "always"}, "'tool_choice'"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "x"}}}, "'x', which is not"),
        ({"response_format": {"type": "xml"}}, "'response_format.type'"),
        ({"response_format": {"type": "json_schema"}}, "'response_format.json_schema.schema'"),
        ({"response_format": FORMAT, "tools": [WEATHER]}, "'response_format' .* 'tools'"),
        ({"response_format": FORMAT, "thinking": {"type": "enabled"}}, "'response_format' .* 'thinking'"),
        ({"response_format": FORMAT, "reasoning_effort": "low"}, "'response_format' .* 'reasoning_effort'"),
    ],
)
def test_what_bedrock_could_not_take_is_refused(given: dict[str, Any], named: str) -> None:
    with pytest.raises(BadRequest, match=named):
        requested(**given)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://example.com/a.png", "must be a data: URL"),
        (f"data:image/png,{PIXEL}", "must be a data: URL"),
        ("data:image/png;base64,a*b=", "not base64"),
        (f"data:image/tiff;base64,{PIXEL}", "media type 'image/tiff'"),
    ],
)
def test_images_from_elsewhere_are_refused(url: str, why: str) -> None:
    content = [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": url}}]

    with pytest.raises(BadRequest, match=rf"'messages\[0\].content\[1\].image_url.url' .*{why}"):
        requested(messages=[{"role": "user", "content": content}])


@pytest.mark.parametrize(
    ("vendor", "given", "named"),
    [
        ("cohere", {"response_format": FORMAT}, "'response_format' .* 'cohere'"),
        ("ai21labs", {"response_format": FORMAT}, "'response_format' .* 'ai21labs'"),
        ("ai21labs", {"top_k": 1}, "'top_k' .* 'ai21labs'"),
        ("amazon", {"thinking": {"type": "enabled"}}, "'thinking'"),
        ("cohere", {"reasoning_effort": "low"}, "'reasoning_effort' .* 'cohere'"),
    ],
)
def test_what_a_vendors_models_could_not_take_is_refused(vendor: str, given: dict[str, Any], named: str) -> None:
    with pytest.raises(BadRequest, match=named):
        requested(vendor, f"{vendor}.model", **given)


@pytest.mark.parametrize(
    ("vendor", "model", "id"),
    [
        ("anthropic", CLAUDE, CLAUDE),
        ("anthropic", "claude-3-5-sonnet-20240620-v1:0", CLAUDE),
        ("anthropic", NEW_CLAUDE, NEW_CLAUDE),
        ("amazon", "titan-text-express-v1", "amazon.titan-text-express-v1"),
        ("ai21labs", "jamba-1-5-mini-v1:0", "ai21.jamba-1-5-mini-v1:0"),
        ("cohere", "command-r-v1:0", "cohere.command-r-v1:0"),
        ("anthropic", "a1b2c3d4e5f6", "a1b2c3d4e5f6"),
        (
            "anthropic",
            "arn:aws:bedrock:us-east-1:1234:provisioned-model/xyz",
            "arn:aws:bedrock:us-east-1:1234:provisioned-model/xyz",
        ),
    ],
)
def test_models_are_found_with_and_without_their_vendor(vendor: str, model: str, id: str) -> None:
    path = urlsplit(API.request(target(vendor, model), chat(), None, NOW).url).path

    assert unquote(path) == f"/model/{id}/converse"
    assert path.count("/") == 3, "a slash in the name is no slash of the path"


def test_a_name_that_is_no_model_is_refused() -> None:
    with pytest.raises(BadRequest, match=r"'external_model.name' is 'a\?b'"):
        API.request(target(model="a?b"), chat(), None, NOW)


@pytest.mark.parametrize("keys", [{}, {"aws_access_key_id": "AKID"}])
def test_without_keys_the_two_fields_are_named(keys: dict[str, str]) -> None:
    options = {"aws_region": "eu-west-1", "bedrock_provider": "anthropic", "instance_profile_arn": "arn:aws:iam::1:x"}
    reached = Target(Provider.AMAZON_BEDROCK, CLAUDE, ExternalTask.CHAT, options, keys)

    with pytest.raises(BadRequest, match="'aws_access_key_id' and 'aws_secret_access_key'"):
        API.request(reached, chat(), None, NOW)


def test_the_region_has_its_own_host_and_a_base_goes_instead() -> None:
    assert API.request(target(), chat(stream=True), None, NOW).url.startswith(
        "https://bedrock-runtime.eu-west-1.amazonaws.com/model/"
    )
    based = API.request(target(bedrock_api_base="http://proxy:81/aws/"), chat(stream=True), None, NOW)
    assert based.url == f"http://proxy:81/aws/model/{CLAUDE.replace(':', '%3A')}/converse-stream"


# The signature.


def test_the_signature_is_botocores_at_that_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made = API.request(target(), chat(stream=True), None, NOW)
    unsigned = {name: value for name, value in made.headers.items() if name not in ("authorization", "x-amz-date")}
    theirs = AWSRequest("POST", made.url, headers=unsigned, data=made.body)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: NOW)
    keys = Credentials(KEYS["aws_access_key_id"], KEYS["aws_secret_access_key"])
    SigV4Auth(keys, "bedrock", "eu-west-1").add_auth(theirs)

    assert dict(made.headers) == {name.lower(): value for name, value in theirs.headers.items()}
    assert made.headers["x-amz-date"] == "20260304T050607Z"
    assert "/20260304/eu-west-1/bedrock/aws4_request" in made.headers["authorization"]
    assert KEYS["aws_secret_access_key"] not in repr(made.headers)


def test_the_time_of_the_signature_is_in_utc() -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=9)))

    assert API.request(target(), chat(), None, elsewhere) == API.request(target(), chat(), None, NOW)


def resigned(sent: Sent, url: str) -> str:
    """The authorization of a request as it arrived, worked out from the headers that it says are signed."""
    names = sent.headers["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
    signed = {name: sent.headers[name] for name in names}
    request = AWSRequest("POST", url + sent.path, headers=signed, data=sent.body)
    request.context["timestamp"] = sent.headers["x-amz-date"]
    auth = SigV4Auth(Credentials(KEYS["aws_access_key_id"], KEYS["aws_secret_access_key"]), "bedrock", "eu-west-1")
    return str(auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request))


@pytest.mark.parametrize("model", [CLAUDE, "arn:aws:bedrock:eu-west-1:123456789012:provisioned-model/xyz"])
def test_the_request_is_the_one_that_boto3_sends(model: str) -> None:
    with loopback(json.dumps(ANSWER).encode()) as server, boto_client(server) as client:
        client.converse(
            modelId=model,
            system=[{"text": "Be brief."}],
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"text": "Wetter in Zürich?"},
                        {"image": {"format": "png", "source": {"bytes": base64.b64decode(PIXEL)}}},
                    ],
                },
                *CALLED_TURNS[1:],
            ],
            inferenceConfig={"maxTokens": 5, "temperature": 0.5},
            toolConfig={"tools": [WEATHER_SPEC], "toolChoice": {"any": {}}},
            additionalModelRequestFields={"top_k": 3},
        )
        image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
        call = chat(
            messages=[
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "Wetter in Zürich?"}, image]},
                *CALLED[1:],
            ],
            max_tokens=5,
            temperature=0.5,
            top_k=3,
            tools=[WEATHER],
            tool_choice="required",
        )
        made = API.request(target(model=model, bedrock_api_base=server.url), call, None, NOW)
        connection = http.client.HTTPConnection(urlsplit(made.url).netloc, timeout=10)
        connection.request("POST", urlsplit(made.url).path, made.body, dict(made.headers))
        assert connection.getresponse().status == 200
        connection.close()
        theirs, ours = server.sent

        assert ours.path == theirs.path
        assert ours.json == theirs.json
        for sent in (theirs, ours):
            assert sent.headers["authorization"].endswith(f"Signature={resigned(sent, server.url)}")
            assert "host" in sent.headers["authorization"].split("SignedHeaders=")[1]


