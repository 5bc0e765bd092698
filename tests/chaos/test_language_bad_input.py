"""Bad input on every route of language models: a 4xx in the shape of its route, and the provider is left alone.

One real gateway worker serves from a snapshot, with the fake provider behind it and no control plane.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import pytest
from fake_provider.running import FakeProviderClient, running_fake_provider
from lone_gateway import TOKEN, LoneGateway, Workplace, external_route
from providers_of_tests import WAYS

from moorage.api.external_models import ExternalTask, Provider
from moorage.api.routing import Principal
from moorage.api.sessions import SESSION_COOKIE
from moorage.telemetry.request_log import decode
from moorage.telemetry.spool import read_segment

MIB = 1024 * 1024
LIMIT = MIB
BODY_SECONDS = 1.5
MESSAGES = [{"role": "user", "content": "hello"}]
TASKS = {"talk": ExternalTask.CHAT, "complete": ExternalTask.COMPLETIONS, "embed": ExternalTask.EMBEDDINGS}
STRANGER = Principal(id="7", user_name="eve@example.com")
QUERIER = Principal(id="8", user_name="ann@example.com")
VIEWER = Principal(id="9", user_name="vic@example.com")  # gateways know managers and queriers; a viewer is neither
PRINCIPALS = {
    "stranger": STRANGER,
    "viewer": VIEWER,
    "querier": QUERIER,
    "expired": QUERIER.model_copy(update={"expiry_time": 1}),
    "of another endpoint": QUERIER.model_copy(update={"only_endpoint": "elsewhere"}),
    "of this endpoint": QUERIER.model_copy(update={"only_endpoint": "talk"}),
}


class Route(NamedTuple):
    """A route with a body that is legal there."""

    path: str
    body: dict[str, Any]
    kind: str
    endpoint: str = "talk"


ROUTES = {
    "invocations": Route("/serving-endpoints/talk/invocations", {"messages": MESSAGES}, "plain"),
    "served model": Route("/serving-endpoints/talk/served-models/only/invocations", {"messages": MESSAGES}, "plain"),
    "claude": Route("/serving-endpoints/claude/invocations", {"messages": MESSAGES}, "plain", "claude"),
    "workspace": Route("/42/serving-endpoints/talk/invocations", {"messages": MESSAGES}, "plain"),
    "realtime": Route("/realtime-inference/talk/invocations", {"messages": MESSAGES}, "plain"),
    "chat": Route("/serving-endpoints/chat/completions", {"model": "talk", "messages": MESSAGES}, "openai"),
    "completions": Route(
        "/serving-endpoints/completions", {"model": "complete", "prompt": "hello"}, "openai", "complete"
    ),
    "embeddings": Route("/serving-endpoints/embeddings", {"model": "embed", "input": "hello"}, "openai", "embed"),
    "responses": Route("/serving-endpoints/responses", {"model": "talk", "input": "hello"}, "openai"),
    "messages": Route(
        "/serving-endpoints/anthropic/v1/messages",
        {"model": "talk", "messages": MESSAGES, "max_tokens": 10},
        "anthropic",
    ),
    "messages of claude": Route(
        "/serving-endpoints/anthropic/v1/messages",
        {"model": "claude", "messages": MESSAGES, "max_tokens": 10},
        "anthropic",
        "claude",
    ),
}
every_route = pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES)


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeProviderClient]:
    with running_fake_provider() as running:
        yield running


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the gateway says on its standard error."""
    return tmp_path_factory.mktemp("errors") / "stderr"


@pytest.fixture(scope="module")
def gateway(
    fake: FakeProviderClient, endless: EndlessProvider, errors: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LoneGateway]:
    place = Workplace(tmp_path_factory.mktemp("gateway") / "data")

    def route(name: str, way: str, task: ExternalTask) -> Any:
        one = WAYS[way]
        served = place.served(name, "only", one.provider, one.at(fake.url), one.credentials, model=one.model)
        return external_route(name, task, [served], usage=True, queriers=frozenset({QUERIER.id}))

    routes = [route(name, "openai", task) for name, task in TASKS.items()]
    routes += [route("claude", "anthropic", ExternalTask.CHAT), route("hidden", "openai", ExternalTask.CHAT)]
    routes[-1] = routes[-1].model_copy(update={"queriers": frozenset()})
    talker = place.served(
        "endless", "only", Provider.OPENAI, {"openai_api_base": endless.url}, {"openai_api_key": "key"}
    )
    routes.append(external_route("endless", ExternalTask.CHAT, [talker], usage=True))
    with place.running(
        routes,
        PRINCIPALS,
        errors=errors,
        max_language_request_bytes=LIMIT,
        request_body_timeout_seconds=BODY_SECONDS,
        request_timeout_seconds=20,
    ) as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_breaks(gateway: LoneGateway, fake: FakeProviderClient, errors: Path) -> Iterator[None]:
    fake.reset()
    before = errors.stat().st_size
    yield
    assert gateway.process.poll() is None
    said = errors.read_bytes()[before:].decode()
    assert "Traceback" not in said, said[-3000:]


def send(gateway: LoneGateway, route: Route, body: object, **headers: str) -> httpx.Response:
    """`body` is bytes, an iterator of pieces, or what becomes JSON."""
    content = body if isinstance(body, bytes | Iterator) else json.dumps(body).encode()
    return gateway.http.post(
        route.path,
        content=content,
        headers={"content-type": "application/json", **headers},  # type: ignore[arg-type]
    )


def refusal(route: Route, answer: httpx.Response, status: int | None = None) -> str:
    """The message of a refusal that has the shape of its route."""
    assert 400 <= answer.status_code < 500, f"{answer.status_code} {answer.text[:500]}"
    assert status in (None, answer.status_code), answer.text[:500]
    assert answer.headers["content-type"] == "application/json"
    assert len(answer.content) < 4096
    document = answer.json()
    assert re.fullmatch(r"[A-Z_]+", document["error_code"])
    message = document["message"]
    assert message
    assert isinstance(message, str)
    if route.kind == "plain":
        assert document.keys() == {"error_code", "message"}
    elif route.kind == "openai":
        assert document.keys() == {"error_code", "message", "error"}
        assert document["error"].keys() == {"message", "type", "param", "code"}
        assert document["error"]["message"] == message
    else:
        assert document["type"] == "error"
        assert document["error"].keys() >= {"type", "message"}
    assert answer.headers["x-request-id"]
    return str(message)


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def with_field(route: Route, field: str, value: bytes) -> bytes:
    """The legal body with one more field, whose JSON is written as it is."""
    return json.dumps(route.body).encode()[:-1] + b', "%s": %s}' % (field.encode(), value)


@every_route
def test_the_legal_body_is_legal(gateway: LoneGateway, fake: FakeProviderClient, route: Route) -> None:
    answer = send(gateway, route, route.body)
    assert answer.status_code == 200, answer.text
    assert len(fake.requests()) == 1


NOT_JSON = {
    "empty": b"", "blank": b"  \r\n", "half": b'{"messages": [', "null": b"null", "number": b"17", "text": b'"text"',
    "array": b"[]", "array of objects": b'[{"model": "talk"}]', "csv": b"a,b\n1,2\n",
    "form": b"model=talk&messages=x", "two documents": b'{"model": "talk"}{"model": "talk"}',
    "gzip": zlib.compress(b"{}" * 1000), "nul": b"\x00" * 100,
    "utf-16": '{"model": "talk"}'.encode("utf-16"), "byte order mark": b"\xef\xbb\xbf{}", "deep": nested(10_000),
    "deep objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "single quotes": b"{'model': 'talk'}",
    "comment": b'{"model": "talk" /* x */}', "xml": b"<request/>",
}  # fmt: skip


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON)
@every_route
def test_a_body_that_is_no_json_object(
    gateway: LoneGateway, fake: FakeProviderClient, route: Route, body: bytes
) -> None:
    assert "JSON" in refusal(route, send(gateway, route, body), 400)
    for content_type in ("", "text/csv", "application/octet-stream", "\xff", "application/json; charset=utf-16"):
        answer = gateway.http.post(
            route.path, content=body, headers=[(b"content-type", content_type.encode("latin-1"))]
        )
        refusal(route, answer, 400)
    assert fake.requests() == []


BROKEN_VALUES = {
    "nan": b"NaN", "infinity": b"Infinity", "minus infinity": b"-Infinity", "too large a number": b"1e999",
    "a number of 5,000 digits": b"9" * 5000, "invalid utf-8": b'"\xff\xfe"', "encoded surrogate": b'"\xed\xa0\x80"',
    "lone surrogate": b'"\\ud800"', "reversed surrogates": b'"\\udc00\\ud800"', "nul": b'"\x00"', "newline": b'"\n"',
    "leading zero": b"01", "deep": nested(10_000), "nested 1,000 levels": nested(1000),
    "nested 300 levels": nested(300), "hexadecimal": b"0x10", "bad escape": b'"\\x41"',
}  # fmt: skip


@pytest.mark.parametrize("value", BROKEN_VALUES.values(), ids=BROKEN_VALUES)
@every_route
def test_a_value_that_json_does_not_have(
    gateway: LoneGateway, fake: FakeProviderClient, route: Route, value: bytes
) -> None:
    refusal(route, send(gateway, route, with_field(route, "user", value)), 400)
    assert fake.requests() == []


def test_json_in_a_text_may_not_be_nested_without_end(gateway: LoneGateway, fake: FakeProviderClient) -> None:
    """Arguments of calls are texts that some providers take as JSON."""
    for levels in (260, 900, 5000):
        arguments = '{"a":' + nested(levels).decode() + "}"
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
        turns = [
            *MESSAGES,
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": ""},
        ]
        route = ROUTES["claude"]
        refusal(route, send(gateway, route, {"messages": turns}), 400)
    assert fake.requests() == []


LEGAL_IF_ODD = {
    "huge integer": b"123456789012345678901234567890", "negative": b"-1", "escaped nul": b'"\\u0000"',
    "astral": b'"\\ud83d\\ude00"', "exponent": b"1e-300",
}  # fmt: skip


@pytest.mark.parametrize("value", LEGAL_IF_ODD.values(), ids=LEGAL_IF_ODD)
@every_route
def test_odd_but_legal_values_break_nothing(gateway: LoneGateway, route: Route, value: bytes) -> None:
    for field in ("seed", "metadata_of_mine", "client_request_id"):
        answer = send(gateway, route, with_field(route, field, value))
        if answer.status_code != 200:
            refusal(route, answer)


@every_route
def test_the_last_of_equal_keys_counts(gateway: LoneGateway, fake: FakeProviderClient, route: Route) -> None:
    needed = next(name for name in ("messages", "prompt", "input") if name in route.body)
    twice = b'{"%s": 17, %s' % (needed.encode(), json.dumps(route.body).encode()[1:])
    assert send(gateway, route, twice).status_code == 200
    (request,) = fake.requests()
    assert json.dumps(request["body"]).count("hello") == 1


WRONG_VALUES: list[Any] = [17, -1, 1.5, True, "x", "", [], [[]], [None], [{}], {}, {"type": []}, [{"type": {}}]]
FIELDS = (
    "messages", "prompt", "input", "max_tokens", "max_completion_tokens", "max_output_tokens", "temperature", "top_p",
    "top_k", "n", "stop", "stop_sequences", "stream", "stream_options", "tools", "tool_choice", "parallel_tool_calls",
    "response_format", "logprobs", "top_logprobs", "reasoning_effort", "reasoning", "thinking", "text", "system",
    "instructions", "seed", "user", "metadata", "encoding_format", "dimensions", "include", "output_config",
    "client_request_id", "usage_context", "extra_params", "databricks_options", "store", "background",
)  # fmt: skip


@pytest.mark.parametrize("field", FIELDS)
def test_wrong_types_of_known_fields(gateway: LoneGateway, field: str) -> None:
    """The gateway refuses them, or the provider does; whatever passes is answered."""
    for route in ROUTES.values():
        for value in WRONG_VALUES:
            answer = send(gateway, route, {**route.body, field: value})
            if answer.status_code != 200:
                refusal(route, answer)


@pytest.mark.parametrize(
    "model", [None, "", 1, [], {}, ["talk"], "nosuch", "talk/../hidden", "x" * 100_000, "\u0000"]
)
def test_models_that_are_no_endpoint(gateway: LoneGateway, fake: FakeProviderClient, model: Any) -> None:
    for route in ROUTES.values():
        if "model" in route.body:
            refusal(route, send(gateway, route, {**route.body, "model": model}))
    assert fake.requests() == []


def test_an_endpoint_is_not_queried_in_the_form_of_another_task(
    gateway: LoneGateway, fake: FakeProviderClient
) -> None:
    for route in ROUTES.values():
        for name, task in TASKS.items():
            own = TASKS.get(route.endpoint, ExternalTask.CHAT)
            if "model" in route.body and task is not own:
                assert task in refusal(route, send(gateway, route, {**route.body, "model": name}), 400)
    assert fake.requests() == []


# Sizes and encodings.


@every_route
def test_bodies_over_the_limit(gateway: LoneGateway, fake: FakeProviderClient, route: Route) -> None:
    inside = with_field(route, "pad", b'"' + b"x" * (LIMIT - 200) + b'"')
    assert len(inside) <= LIMIT
    assert send(gateway, route, inside).status_code < 500
    fake.reset()
    over = with_field(route, "pad", b'"' + b"x" * LIMIT + b'"')
    assert f"{LIMIT} bytes" in refusal(route, send(gateway, route, over), 400)
    pieces = (over[at : at + 65536] for at in range(0, len(over), 65536))
    assert f"{LIMIT} bytes" in refusal(route, send(gateway, route, pieces), 400)
    assert fake.requests() == []


@every_route
def test_chunked_bodies_are_bodies(gateway: LoneGateway, route: Route) -> None:
    body = json.dumps(route.body).encode()
    assert send(gateway, route, iter([body[:5], body[5:20], b"", body[20:]])).status_code == 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "identity, gzip", "x"])
def test_compressed_bodies_are_refused_unread(gateway: LoneGateway, fake: FakeProviderClient, encoding: str) -> None:
    bomb = zlib.compress(b"0" * (64 * MIB), 1)
    for route in ROUTES.values():
        answer = send(gateway, route, bomb, **{"content-encoding": encoding})
        assert "Content-Encoding" in refusal(route, answer, 400)
    assert fake.requests() == []


def resident(gateway: LoneGateway) -> int:
    status = Path(f"/proc/{gateway.process.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) * 1024


def test_memory_is_bounded_under_bad_input(gateway: LoneGateway) -> None:
    bodies = [
        *NOT_JSON.values(),
        b"[" * LIMIT,
        b'{"a":' * (LIMIT // 5),
        b'{"messages": "' + b"x" * (LIMIT - 20) + b'"}',
    ]
    bodies.append(b'{"model": "talk", "messages": [' + b"{}," * (LIMIT // 3 - 20) + b"{}]}")
    for body in bodies:
        send(gateway, ROUTES["chat"], body)
    before = resident(gateway)
    for _ in range(15):
        for body in bodies:
            send(gateway, ROUTES["chat"], body)
    assert resident(gateway) - before < 40 * MIB


# Slow clients.


def connection(gateway: LoneGateway) -> socket.socket:
    parts = urlsplit(gateway.url)
    return socket.create_connection((parts.hostname, parts.port), timeout=20)


def head(route: Route, length: int, *lines: str, method: str = "POST", path: str = "") -> bytes:
    told = [f"authorization: Bearer {TOKEN}", "content-type: application/json", f"content-length: {length}", *lines]
    return "\r\n".join([f"{method} {path or route.path} HTTP/1.1", "host: x", *told, "", ""]).encode("latin-1")


def status_of(raw: socket.socket) -> int:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = raw.recv(65536)
        if not piece:
            break
        data += piece
    return int(data.split(b" ", 2)[1]) if data else 0


def test_a_body_that_trickles_in_is_given_up(gateway: LoneGateway, fake: FakeProviderClient) -> None:
    for route in (ROUTES["chat"], ROUTES["invocations"]):
        with connection(gateway) as raw:
            raw.sendall(head(route, 100))
            began = time.monotonic()
            raw.settimeout(0.3)
            status = 0
            while not status:
                assert time.monotonic() - began < BODY_SECONDS + 5
                raw.sendall(b" ")
                try:
                    status = status_of(raw)
                except TimeoutError:
                    assert send(gateway, route, route.body).status_code == 200, "others are not affected"
            assert status == 400
    assert fake.requests()


class EndlessProvider:
    """Says words in OpenAI's form for as long as anybody takes them; counts the bytes and who listens."""

    def __init__(self) -> None:
        self.sent = 0
        self.open = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                raw, _ = self._listener.accept()
                threading.Thread(target=self._talk, args=(raw,), daemon=True).start()

    def _talk(self, raw: socket.socket) -> None:
        chunk = {"choices": [{"index": 0, "delta": {"content": "word " * 2000}}]}
        event = b"data: " + json.dumps(chunk).encode() + b"\n\n"
        piece = b"%x\r\n%s\r\n" % (len(event), event)
        self.open += 1
        try:
            raw.recv(65536)
            raw.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            while True:
                raw.sendall(piece)
                self.sent += len(piece)
        except OSError:
            raw.close()
        finally:
            self.open -= 1


@pytest.fixture(scope="module")
def endless() -> Iterator[EndlessProvider]:
    provider = EndlessProvider()
    yield provider
    provider.close()


def wait_for(what: str, happened: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def test_a_client_that_reads_nothing_holds_its_provider_back(gateway: LoneGateway, endless: EndlessProvider) -> None:
    """What is not read is not fetched either: buffers are bounded, and all is let go of when the client goes."""
    route = Route("/serving-endpoints/endless/invocations", {"messages": MESSAGES, "stream": True}, "plain")
    body = json.dumps(route.body).encode()
    before = resident(gateway)
    stalled = []
    for _ in range(10):
        raw = connection(gateway)
        raw.sendall(head(route, len(body)) + body)
        stalled.append(raw)
    wait_for("all are asked", lambda: endless.open == len(stalled))
    seen = [-1]

    def at_rest() -> bool:
        same = endless.sent == seen[0]
        seen[0] = endless.sent
        time.sleep(0.4)
        return same

    wait_for("the provider is held back", at_rest, 60)
    assert resident(gateway) - before < 40 * MIB, endless.sent
    began = time.monotonic()
    assert send(gateway, ROUTES["chat"], ROUTES["chat"].body).status_code == 200
    assert time.monotonic() - began < 2, "others are not affected"
    for raw in stalled:
        raw.close()
    wait_for("the provider is left", lambda: not endless.open)


def test_a_stream_without_end_is_kept_nowhere(gateway: LoneGateway, endless: EndlessProvider) -> None:
    """The record of a request holds a bounded part of its answer, however long that is."""
    route = Route("/serving-endpoints/endless/invocations", {"messages": MESSAGES, "stream": True}, "plain")
    sizes = []
    with gateway.http.stream("POST", route.path, json=route.body) as answer:
        taken = 0
        for piece in answer.iter_raw():
            taken += len(piece)
            if taken > 20 * MIB * (len(sizes) + 1):
                sizes.append(resident(gateway))
            if len(sizes) == 4:
                break
    assert max(sizes) - sizes[0] < 15 * MIB, sizes
    wait_for("the provider is left", lambda: not endless.open)


# Heads and paths.


def raw_answer(gateway: LoneGateway, request: bytes) -> bytes:
    with connection(gateway) as raw:
        raw.sendall(request)
        data = b""
        while piece := raw.recv(65536):
            data += piece
        return data


def test_heads_cannot_be_made_to_say_more(gateway: LoneGateway, fake: FakeProviderClient) -> None:
    route = ROUTES["chat"]
    body = json.dumps(route.body).encode()
    for line in (
        "x-request-id: a\r b", "x-request-id: " + "x" * 4000, "x-request-id: caf\xe9", "x-request-id: a\tb",
        "traceparent: 00-" + "\xff" * 32 + "-" + "0" * 16 + "-01", "x-moorage-explain: \xff",
        "x-moorage-principal: admin", "content-encoding: identity",
    ):  # fmt: skip
        with connection(gateway) as raw:
            raw.sendall(head(route, len(body), line) + body)
            data = raw.recv(65536)
        assert data.split(b" ", 2)[1] in (b"200", b"400"), line
        assert data.split(b"\r\n\r\n")[0].lower().count(b"x-request-id") <= 1
    for request in fake.requests():
        assert not any(name.startswith(("x-moorage", "x-request", "traceparent")) for name in request["headers"])
        assert TOKEN not in json.dumps(request), "the client's token is nobody else's"


@pytest.mark.parametrize(
    "lines",
    [
        ("transfer-encoding: chunked",),
        ("content-length: 5",),
        ("transfer-encoding: chunked, identity",),
        ("content-length: +5",),
        ("content-length : 5",),
        ("content-length: " + "9" * 5000,),
    ],
)
def test_bodies_of_two_lengths_are_refused(
    gateway: LoneGateway, fake: FakeProviderClient, lines: tuple[str, ...]
) -> None:
    route = ROUTES["chat"]
    body = json.dumps(route.body).encode()
    answer = raw_answer(gateway, head(route, len(body), *lines) + body)
    assert answer.split(b" ", 2)[1:2] in ([], [b"400"]), answer[:200]
    assert fake.requests() == []


@pytest.mark.parametrize(
    "path",
    [
        "/serving-endpoints//invocations", "/serving-endpoints/../serving-endpoints/talk/invocations",
        "/serving-endpoints/talk%2Finvocations/invocations", "/serving-endpoints/./talk/invocations",
        "/serving-endpoints/talk/../hidden/invocations", "/serving-endpoints/%2e%2e/invocations",
        "//serving-endpoints/talk/invocations", "/serving-endpoints/talk/invocations//",
        "/serving-endpoints/talk/served-models//invocations", "/serving-endpoints/talk/x/invocations",
        "/serving-endpoints/talk%00/invocations", "/serving-endpoints/talk;a=b/invocations",
        "/x/serving-endpoints/talk/invocations",
        "/serving-endpoints/TALK/invocations", "/Serving-Endpoints/talk/invocations",
        "/serving-endpoints/chat//completions", "/serving-endpoints/chat/completions/x",
        "/serving-endpoints/v1/chat/completions",
    ],
)  # fmt: skip
def test_paths_that_only_look_like_a_query(gateway: LoneGateway, fake: FakeProviderClient, path: str) -> None:
    route = ROUTES["chat"]
    body = json.dumps(route.body).encode()
    answer = raw_answer(gateway, head(route, len(body), "connection: close", path=path) + body)
    # What is no query goes to the control plane, of which there is none here.
    assert answer.split(b" ", 2)[1] in (b"404", b"503"), answer[:300]
    assert fake.requests() == []


@every_route
def test_a_slash_or_a_query_at_the_end_changes_nothing(gateway: LoneGateway, route: Route) -> None:
    for end in ("/", "?a=b", "/?a=b"):
        assert gateway.http.post(route.path + end, json=route.body).status_code == 200, end


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"])
def test_other_methods_are_no_queries(gateway: LoneGateway, fake: FakeProviderClient, method: str) -> None:
    for route in ROUTES.values():
        answer = gateway.http.request(method, route.path, json=route.body)
        assert answer.status_code == 503, "it goes to the control plane, of which there is none here"
        assert gateway.http.request(method, route.path, headers={"authorization": ""}).status_code == 401
    assert fake.requests() == []


# Who may.


def bearer(who: str) -> dict[str, str]:
    return {"authorization": f"Bearer {who}"}


REFUSED = {
    "no credential": ({}, 401, "UNAUTHENTICATED"),
    "empty": ({"authorization": ""}, 401, "UNAUTHENTICATED"),
    "of another kind": ({"authorization": f"Digest {TOKEN}"}, 401, "UNAUTHENTICATED"),
    "unknown": (bearer("nosuch"), 403, "PERMISSION_DENIED"),
    "expired": (bearer("expired"), 403, "PERMISSION_DENIED"),
    "of another endpoint": (bearer("of another endpoint"), 403, "PERMISSION_DENIED"),
    "stranger": (bearer("stranger"), 403, "PERMISSION_DENIED"),
    "viewer": (bearer("viewer"), 403, "PERMISSION_DENIED"),
}


@pytest.mark.parametrize("who", REFUSED)
@every_route
def test_who_may_not_query(gateway: LoneGateway, fake: FakeProviderClient, route: Route, who: str) -> None:
    headers, status, code = REFUSED[who]
    with httpx.Client(base_url=gateway.url) as http:
        for body in (route.body, {**route.body, "stream": True}):
            answer = http.post(route.path, json=body, headers=headers)
            refusal(route, answer, status)
            assert answer.json()["error_code"] == code
            assert ("www-authenticate" in answer.headers) is (status == 401)
    assert fake.requests() == []


@every_route
def test_who_may_query(gateway: LoneGateway, route: Route) -> None:
    with httpx.Client(base_url=gateway.url) as http:
        assert http.post(route.path, json=route.body, headers=bearer("querier")).status_code == 200
        own = http.post(route.path, json=route.body, headers=bearer("of this endpoint"))
        assert own.status_code == (200 if route.endpoint == "talk" else 403)


def test_the_list_of_models_has_what_one_may_query(gateway: LoneGateway) -> None:
    path = "/serving-endpoints/models"
    seen = {
        "querier": ["claude", "complete", "embed", "talk"],
        "of this endpoint": ["talk"],
        "of another endpoint": [],
        "stranger": [],
        "viewer": [],
        TOKEN: ["claude", "complete", "embed", "endless", "hidden", "talk"],
    }
    with httpx.Client(base_url=gateway.url) as http:
        for who, names in seen.items():
            answer = http.get(path, headers=bearer(who))
            assert [one["id"] for one in answer.json()["data"]] == names, who
            for name in seen[TOKEN]:
                one = http.get(f"{path}/{name}", headers=bearer(who))
                assert one.status_code == (200 if name in names else 403)
                assert (one.json().get("id") == name) is (name in names)
        for who in ("no credential", "unknown", "expired"):
            headers, status, _ = REFUSED[who]
            assert http.get(path, headers=headers).status_code == status
        assert http.get(f"{path}talk", headers=bearer(TOKEN)).status_code == 503, "not a route of its own"
        assert http.get(f"{path}/nosuch", headers=bearer(TOKEN)).status_code == 404


def test_anthropics_header_counts_where_no_other_credential_is(gateway: LoneGateway) -> None:
    with httpx.Client(base_url=gateway.url) as http:
        for name, route in ROUTES.items():
            alone = http.post(route.path, json=route.body, headers={"x-api-key": TOKEN})
            assert alone.status_code == (401 if route.kind == "plain" else 200), name
            both = http.post(route.path, json=route.body, headers={"x-api-key": TOKEN, **bearer("nosuch")})
            assert both.status_code == 403, name
            other = http.post(route.path, json=route.body, headers={"x-api-key": "nosuch", **bearer(TOKEN)})
            assert other.status_code == 200, name
        assert http.get("/serving-endpoints/models", headers={"x-api-key": TOKEN}).status_code == 401


@every_route
def test_a_cookie_counts_on_pages_of_this_server_alone(
    gateway: LoneGateway, fake: FakeProviderClient, route: Route
) -> None:
    cookie = {"cookie": f"{SESSION_COOKIE}={TOKEN}"}
    with httpx.Client(base_url=gateway.url) as http:
        for origin in (None, "null", "http://evil.example", gateway.url + ".evil.example", "http://localhost"):
            headers = {**cookie, **({"origin": origin} if origin else {})}
            refusal(route, http.post(route.path, json=route.body, headers=headers), 403)
            refusal(route, http.post(route.path, json=route.body, headers={**headers, "x-api-key": "nosuch"}), 403)
        assert fake.requests() == []
        assert http.post(route.path, json=route.body, headers={**cookie, "origin": gateway.url}).status_code == 200


def test_every_query_that_was_let_in_is_recorded_once(gateway: LoneGateway) -> None:
    """Refusals of what was let in are recorded too, whatever their body was."""
    ids = []
    for body in (
        *NOT_JSON.values(),
        *(with_field(ROUTES["invocations"], "user", one) for one in BROKEN_VALUES.values()),
    ):
        ids.append(send(gateway, ROUTES["invocations"], body).headers["x-request-id"])
    deadline = time.monotonic() + 15
    while True:
        found = [
            one
            for segment in gateway.data.spool.glob("*.segment")
            for record in read_segment(segment)[0]
            if (one := decode(record)).request_id in ids
        ]
        if len(found) >= len(ids) or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    assert sorted(one.request_id for one in found) == sorted(ids)
    assert {(one.status, one.requester) for one in found} == {(400, "admin@localhost")}
