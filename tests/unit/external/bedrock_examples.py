"""What the tests of Amazon Bedrock share: targets, calls, and boto3's own client."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import boto3
from botocore.client import Config
from fake_provider.bedrock_rules import check_converse
from loopback import Loopback

from moorage.api.external_models import ExternalTask, Provider
from moorage.external.bedrock import BedrockApi
from moorage.external.exchange import Call, Target

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
KEYS = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
CLAUDE = "anthropic.claude-3-5-sonnet-20240620-v1:0"
NEW_CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
PIXEL = base64.b64encode(b"\x89PNG").decode()
HELLO = [{"role": "user", "content": "Hello"}]
SAID_HELLO = [{"role": "user", "content": [{"text": "Hello"}]}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "The weather", "parameters": SCHEMA}}
CLOCK = {"type": "function", "function": {"name": "clock"}}
WEATHER_SPEC = {"toolSpec": {"name": "weather", "description": "The weather", "inputSchema": {"json": SCHEMA}}}
CLOCK_SPEC = {"toolSpec": {"name": "clock", "inputSchema": {"json": {"type": "object", "properties": {}}}}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}
ANSWER_SPEC = {
    "toolSpec": {
        "name": "answer_in_json",
        "description": "Gives the final answer, 'place'. Call it once, with the whole answer as its input.",
        "inputSchema": {"json": SCHEMA},
    }
}
API = BedrockApi()


def target(vendor: str = "anthropic", model: str = CLAUDE, **options: str) -> Target:
    told = {"aws_region": "eu-west-1", "bedrock_provider": vendor, **options}
    return Target(Provider.AMAZON_BEDROCK, model, ExternalTask.CHAT, told, KEYS)


def chat(*, stream: bool = False, **body: Any) -> Call:
    return Call(ExternalTask.CHAT, {"messages": HELLO, **body}, stream, "chatcmpl-1", 1_700_000_000)


def requested(vendor: str = "anthropic", model: str = CLAUDE, **body: Any) -> dict[str, Any]:
    call = chat(**body)
    before = copy.deepcopy(call.body)
    made = json.loads(API.request(target(vendor, model), call, None, NOW).body)
    assert call.body == before, "the body is never changed"
    check_converse(made, model)
    return dict(made)


def tool_call(id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def turns(*messages: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    return list(requested(messages=list(messages), **more)["messages"])


@contextmanager
def boto_client(server: Loopback) -> Iterator[Any]:
    client = boto3.client(
        "bedrock-runtime",
        region_name="eu-west-1",
        endpoint_url=server.url,
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=10, read_timeout=10),
        **KEYS,
    )
    try:
        yield client
    finally:
        client.close()


ANSWER = {
    "output": {"message": {"role": "assistant", "content": [{"text": "Hi"}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5},
    "metrics": {"latencyMs": 1},
}
