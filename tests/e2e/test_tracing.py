"""A trace that begins at the client goes through the gateway to the model, and its spans to a collector."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from models import Registry
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from server import Server, running_server, wait_for

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
BODY = {"dataframe_records": [{"a": 1}]}
SECRET = "collector-key"


class Collector:
    """What an OpenTelemetry collector takes, over real HTTP."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.spans: list = []
        self.services: set[str] = set()
        self.keys: set[str] = set()


@contextmanager
def running_collector() -> Iterator[Collector]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            collector.keys.add(self.headers.get("x-key", ""))
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                said = {one.key: one.value.string_value for one in resource.resource.attributes}
                collector.services.add(said["service.name"])
                for scope in resource.scope_spans:
                    collector.spans += scope.spans
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Silent."""

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector = Collector(f"http://127.0.0.1:{httpd.server_port}")
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    try:
        yield collector
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with running_collector() as one:
        yield one


@pytest.fixture(scope="module")
def traced(collector: Collector) -> Iterator[Server]:
    """A server that exports to the collector and serves a model that says its trace."""
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_HEADERS": f"x-key={SECRET}",
        "OTEL_SERVICE_NAME": "my-moorage",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    with running_server(settings=settings) as server:
        server.create("traced", Registry(server).register("traced").name)
        server.ready("traced")
        yield server


def query(server: Server, **headers: str) -> tuple[str, str]:
    """Trace and span that the model was called in."""
    answer = server.query("traced", BODY, **headers)
    assert answer.status_code == 200, answer.text
    trace, span = answer.json()["predictions"][0].split()
    return trace, span


def test_model_works_in_the_callers_trace_and_the_span_between_is_exported(traced, collector):
    trace, span = query(traced, traceparent=f"00-{TRACE}-{PARENT}-01")
    assert trace == TRACE
    found = wait_for(
        "the span is exported", lambda: [one for one in collector.spans if one.span_id.hex() == span], 20
    )[0]
    assert (found.trace_id.hex(), found.parent_span_id.hex()) == (TRACE, PARENT)
    said = {one.key: one.value for one in found.attributes}
    assert said["moorage.endpoint"].string_value == "traced"
    assert said["http.response.status_code"].int_value == 200
    assert 0 < said["moorage.prediction_ms"].double_value < 60_000
    assert found.start_time_unix_nano < found.end_time_unix_nano
    assert collector.services == {"my-moorage"}
    assert collector.keys == {SECRET}


def test_request_that_is_refused_has_a_span_too(traced, collector):
    assert traced.query("nowhere", BODY, traceparent=f"00-{TRACE}-{PARENT}-01").status_code == 404

    def refused() -> bool:
        return any(
            one.key == "http.response.status_code" and one.value.int_value == 404
            for span in collector.spans
            for one in span.attributes
        )

    wait_for("the span is exported", refused, 20)


def test_trace_begins_here_when_the_caller_has_none(traced, collector):
    trace, span = query(traced)
    found = wait_for(
        "the span is exported", lambda: [one for one in collector.spans if one.span_id.hex() == span], 20
    )[0]
    assert found.trace_id.hex() == trace != TRACE
    assert found.parent_span_id == b""


def test_collectors_key_reaches_no_other_process(traced):
    """The gateways export; a model's process, the control plane and MLflow have no use for the key."""
    holders = [pid for pid in traced.processes() if SECRET in _environment_of(pid)]
    assert sorted(holders) == sorted({traced.process.pid, traced.part("moorage.gateway")})


def _environment_of(pid: int) -> str:
    with open(f"/proc/{pid}/environ", errors="replace") as file:
        return file.read()


def test_without_a_collector_the_trace_goes_through_unchanged(server, registered):
    server.create("traced", registered("traced").name)
    server.ready("traced")
    assert query(server, traceparent=f"00-{TRACE}-{PARENT}-01") == (TRACE, PARENT)
    assert query(server, traceparent="00-nonsense") == ("0" * 32, "0" * 16)
