"""Every fault of a provider, for answers in one piece and for streams: what the client, and what the record says.

One real gateway worker serves from a snapshot; behind it the fake provider does what it is told to.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fake_provider.running import FakeProviderClient, running_fake_provider
from lone_gateway import LoneGateway, Workplace, external_route
from providers_of_tests import WAYS, Way

from moorage.api.external_models import ExternalTask
from moorage.api.routing import ServedRoute
from moorage.telemetry.request_log import LoggedRequest, decode
from moorage.telemetry.spool import read_segment

MESSAGES = [{"role": "user", "content": "please tell me everything"}]
WORDS = "You said: please tell me everything"
DIALECTS = ("openai", "anthropic", "cohere", "bedrock", "palm")
TIMEOUT_SECONDS = 1.0


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeProviderClient]:
    with running_fake_provider() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(fake: FakeProviderClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneGateway]:
    place = Workplace(tmp_path_factory.mktemp("gateway") / "data")
    second = WAYS["openai"]

    def served(endpoint: str, entity: str, way: Way, model: str, traffic: int) -> ServedRoute:
        return place.served(
            endpoint, entity, way.provider, way.at(fake.url), way.credentials, model=model, traffic=traffic
        )

    routes = []
    for name, way in WAYS.items():
        routes.append(
            external_route(name, ExternalTask.CHAT, [served(name, "only", way, way.model, 100)], usage=True)
        )
        both = f"{name}-falls-back"
        entities = [served(both, "first", way, way.model, 100), served(both, "second", second, "the-second", 0)]
        routes.append(external_route(both, ExternalTask.CHAT, entities, usage=True, fallback=True))
    with place.running(
        routes, request_timeout_seconds=TIMEOUT_SECONDS, stream_idle_seconds=TIMEOUT_SECONDS
    ) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(fake: FakeProviderClient) -> None:
    fake.reset()


def ask(gateway: LoneGateway, endpoint: str, *, stream: bool = False, **headers: str) -> httpx.Response:
    return gateway.invoke(endpoint, {"messages": MESSAGES, "max_tokens": 100, "stream": stream}, **headers)


def events_of(answer: httpx.Response) -> list[Any]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    blocks = answer.text.split("\n\n")
    assert blocks.pop() == "", "the stream ends in the middle of an event"
    assert all(block.startswith("data: ") for block in blocks), blocks
    data = [block.removeprefix("data: ") for block in blocks]
    return [one if one == "[DONE]" else json.loads(one) for one in data]


def text_of(events: list[Any]) -> str:
    return "".join(
        choice["delta"].get("content") or ""
        for event in events
        if isinstance(event, dict)
        for choice in event.get("choices", ())
    )


def logged(gateway: LoneGateway, answer: httpx.Response) -> LoggedRequest:
    """The one record of that request. It is there before the answer has ended, unless the client left."""
    wanted = answer.headers["x-request-id"]
    deadline = time.monotonic() + 15
    while True:
        found = [
            one
            for segment in gateway.data.spool.glob("*.segment")
            for record in read_segment(segment)[0]
            if (one := decode(record)).request_id == wanted
        ]
        if found:
            assert len(found) == 1
            return found[0]
        assert time.monotonic() < deadline, "the request was not logged"
        time.sleep(0.02)


def refused(answer: httpx.Response, status: int, code: str) -> str:
    document = answer.json()
    assert (answer.status_code, document["error_code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/json"
    return str(document["message"])


BEFORE_ANY_CONTENT = [
    pytest.param({"kind": "status", "status": 429}, 429, "REQUEST_LIMIT_EXCEEDED", id="429"),
    pytest.param({"kind": "status", "status": 500}, 500, "INTERNAL_ERROR", id="500"),
    pytest.param({"kind": "status", "status": 502}, 503, "TEMPORARILY_UNAVAILABLE", id="502"),
    pytest.param({"kind": "status", "status": 503}, 503, "TEMPORARILY_UNAVAILABLE", id="503"),
    pytest.param({"kind": "status", "status": 504}, 504, "DEADLINE_EXCEEDED", id="504"),
    pytest.param({"kind": "status", "status": 529}, 503, "TEMPORARILY_UNAVAILABLE", id="529"),
    pytest.param({"kind": "timeout"}, 504, "DEADLINE_EXCEEDED", id="timeout"),
    pytest.param({"kind": "reset", "times": 2}, 503, "TEMPORARILY_UNAVAILABLE", id="reset"),
]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("fault", "status", "code"), BEFORE_ANY_CONTENT)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_fault_before_any_content_is_told_truthfully(
    gateway: LoneGateway,
    fake: FakeProviderClient,
    dialect: str,
    fault: dict[str, Any],
    status: int,
    code: str,
    stream: bool,
) -> None:
    fake.fail_next(**fault)
    answer = ask(gateway, dialect, stream=stream)
    message = refused(answer, status, code)
    assert str(WAYS[dialect].provider) in message
    if fault["kind"] == "status":
        assert "told to fail" in message
    if status in (429, 503):
        assert int(answer.headers["retry-after"]) >= 0
    record = logged(gateway, answer)
    assert (record.status, record.partial, record.output_tokens) == (status, False, None)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("fault", "status", "code"), BEFORE_ANY_CONTENT)
def test_another_entity_answers_where_the_first_one_fails(
    gateway: LoneGateway, fake: FakeProviderClient, fault: dict[str, Any], status: int, code: str, stream: bool
) -> None:
    fake.fail_next(**{"dialect": "anthropic", **fault})
    answer = ask(gateway, "anthropic-falls-back", stream=stream, **{"x-moorage-explain": "1"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["served-model-name"] == "second"
    told = json.loads(answer.headers["x-moorage-explanation"])
    assert [(one["served_entity"], one["status"]) for one in told["attempts"]] == [("first", status), ("second", 200)]
    assert told["attempts"][1]["why"] == f"fallback after {status}"
    record = logged(gateway, answer)
    assert (record.status, record.served_name, record.tokens_estimated) == (200, "second", False)


def test_the_wait_that_a_provider_asks_for_is_passed_on(gateway: LoneGateway, fake: FakeProviderClient) -> None:
    fake.fail_next("status", status=429, headers={"retry-after": "17"})
    assert ask(gateway, "openai").headers["retry-after"] == "17"
    fake.fail_next("status", status=529, headers={"retry-after-ms": "2500"})
    assert ask(gateway, "anthropic").headers["retry-after"] == "3"


def test_a_clients_mistake_is_not_sent_to_another_entity(gateway: LoneGateway, fake: FakeProviderClient) -> None:
    fake.fail_next("status", dialect="anthropic", status=400)
    answer = ask(gateway, "anthropic-falls-back")
    refused(answer, 400, "BAD_REQUEST")
    assert len(fake.requests()) == 1


def test_the_last_error_is_told_when_all_fail(gateway: LoneGateway, fake: FakeProviderClient) -> None:
    fake.control(
        next=[
            {"kind": "status", "dialect": "anthropic", "status": 500},
            {"kind": "status", "dialect": "openai", "status": 429, "headers": {"retry-after": "9"}},
        ]
    )
    answer = ask(gateway, "anthropic-falls-back")
    refused(answer, 429, "REQUEST_LIMIT_EXCEEDED")
    assert answer.headers["retry-after"] == "9"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_connection_that_died_without_a_byte_is_tried_once_more(
    gateway: LoneGateway, fake: FakeProviderClient, dialect: str
) -> None:
    fake.fail_next("reset")
    answer = ask(gateway, dialect)
    assert answer.status_code == 200, answer.text
    assert len(fake.requests()) == 2


@pytest.mark.parametrize(
    ("kind", "status"),
    [("reset_midway", 503), ("hang_up", 503), ("truncated", 500), ("malformed", 500), ("empty", 500)],
)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_broken_answer_is_no_answer(
    gateway: LoneGateway, fake: FakeProviderClient, dialect: str, kind: str, status: int
) -> None:
    fake.fail_next(kind)
    answer = ask(gateway, dialect)
    assert answer.status_code == status, answer.text
    assert logged(gateway, answer).status == status
    fake.fail_next(kind)
    assert ask(gateway, f"{dialect}-falls-back").headers["served-model-name"] == "second"


@pytest.mark.parametrize("kind", ["reset_midway", "hang_up", "truncated", "malformed", "error_event"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_fault_after_content_ends_the_stream_with_a_typed_error(
    gateway: LoneGateway, fake: FakeProviderClient, dialect: str, kind: str
) -> None:
    fake.control(chunks=10, chunk_delay=0.02)
    fake.fail_next(kind, after=6)
    answer = ask(gateway, f"{dialect}-falls-back", stream=True)
    *chunks, error = events_of(answer)
    assert WORDS.startswith(text_of(chunks))
    assert text_of(chunks), "content that had come was passed on"
    assert answer.headers["served-model-name"] == "first"
    assert {"error_code", "message", "error"} <= error.keys(), error
    assert {"message", "type", "code"} <= error["error"].keys()
    record = logged(gateway, answer)
    assert record.partial
    assert record.status >= 500
    assert record.output_tokens
    assert record.output_tokens > 0
    assert len(fake.requests()) == 1


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_stream_without_its_end_is_not_taken_for_whole(
    gateway: LoneGateway, fake: FakeProviderClient, dialect: str
) -> None:
    fake.control(chunks=10)
    fake.fail_next("no_end", drop=4)
    answer = ask(gateway, dialect, stream=True)
    *_, error = events_of(answer)
    assert "error_code" in error, error
    assert logged(gateway, answer).partial


def test_a_stream_that_lacks_only_its_mark_of_the_end_is_given_one(
    gateway: LoneGateway, fake: FakeProviderClient
) -> None:
    fake.fail_next("no_end", drop=1)
    events = events_of(ask(gateway, "openai", stream=True))
    assert events[-1] == "[DONE]"
    assert text_of(events) == WORDS


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("kind", ["one_byte", "split_utf8", "content_type", "slow"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_bytes_may_come_in_any_pieces(
    gateway: LoneGateway, fake: FakeProviderClient, dialect: str, kind: str, stream: bool
) -> None:
    fault = {"bytes": 64, "seconds": 0.001} if kind == "slow" else {}
    fake.fail_next(kind, **fault)
    answer = ask(gateway, dialect, stream=stream)
    if stream:
        events = events_of(answer)
        assert events[-1] == "[DONE]"
        said = text_of(events)
        usage = [event["usage"] for event in events[:-1] if event.get("usage")]
        assert usage
        assert usage[-1]["total_tokens"] > 0
    else:
        said = answer.json()["choices"][0]["message"]["content"]
    assert said.startswith("You said" if kind != "split_utf8" else "")
    if kind == "split_utf8":
        assert "你好" in said, said
        assert "\ufffd" not in said
    record = logged(gateway, answer)
    assert (record.status, record.partial, record.tokens_estimated) == (200, False, False)


def test_a_provider_that_stands_still_in_its_stream_is_left(gateway: LoneGateway, fake: FakeProviderClient) -> None:
    fake.control(chunk_delay=10)
    began = time.monotonic()
    answer = ask(gateway, "openai", stream=True)
    assert time.monotonic() - began < 8
    *_, error = events_of(answer)
    assert error["error_code"] == "DEADLINE_EXCEEDED"


def test_a_huge_answer_passes(gateway: LoneGateway, fake: FakeProviderClient) -> None:
    fake.fail_next("huge", bytes=300_000)
    answer = gateway.invoke("openai", {"messages": MESSAGES})
    assert answer.status_code == 200, answer.text[:500]
    assert len(answer.json()["choices"][0]["message"]["content"]) >= 300_000


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_client_that_leaves_frees_the_provider(
    gateway: LoneGateway, fake: FakeProviderClient, dialect: str
) -> None:
    fake.control(chunk_delay=0.2, chunks=200, text="word " * 400)
    with gateway.http.stream(
        "POST",
        f"/serving-endpoints/{dialect}/invocations",
        json={"messages": MESSAGES, "max_tokens": 1000, "stream": True},
    ) as answer:
        next(answer.iter_bytes())
    deadline = time.monotonic() + 10
    while not fake.counts()["aborted"]:
        assert time.monotonic() < deadline, fake.counts()
        time.sleep(0.1)
    record = logged(gateway, answer)
    assert (record.status, record.partial) == (499, True)


def test_a_client_that_leaves_before_the_answer_frees_the_provider(
    gateway: LoneGateway, fake: FakeProviderClient
) -> None:
    fake.control(first_byte_delay=0.9)
    with pytest.raises(httpx.ReadTimeout):
        gateway.http.post(
            "/serving-endpoints/openai/invocations", json={"messages": MESSAGES}, timeout=httpx.Timeout(0.4)
        )
    deadline = time.monotonic() + 10
    while not fake.counts()["aborted"]:
        assert time.monotonic() < deadline, fake.counts()
        time.sleep(0.1)
