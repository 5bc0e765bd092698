"""Traces: what is passed on, and what is exported."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from moorage.gateway.tracing import InvocationTracer, readable_traceparent, tracer_of_environment

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{PARENT}-01".encode()


@pytest.mark.parametrize(
    ("value", "passed_on"),
    [
        (GOOD, GOOD),
        (f"cc-{TRACE}-{PARENT}-01".encode(), f"cc-{TRACE}-{PARENT}-01".encode()),
        (f"cc-{TRACE}-{PARENT}-01-later".encode(), f"cc-{TRACE}-{PARENT}-01".encode()),
        (GOOD + b"-later", b""),
        (GOOD.upper(), b""),
        (f"ff-{TRACE}-{PARENT}-01".encode(), b""),
        (f"00-{'0' * 32}-{PARENT}-01".encode(), b""),
        (f"00-{TRACE}-{'0' * 16}-01".encode(), b""),
        (GOOD[:-1], b""),
        (b"", b""),
        (b"\xff" * 55, b""),
    ],
)
def test_only_a_valid_traceparent_is_passed_on(value, passed_on):
    assert readable_traceparent(value) == passed_on


@pytest.fixture
def exported():
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exported):
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exported))
    return InvocationTracer(provider)


def test_span_continues_the_callers_trace_and_the_replica_continues_the_span(tracer, exported):
    span = tracer.begin("e", GOOD, b"an-id")
    span.end(200, "m", batch=3, queue_us=1500, predict_us=2500)
    [done] = exported.get_finished_spans()
    assert f"{done.context.trace_id:032x}" == TRACE
    assert f"{done.parent.span_id:016x}" == PARENT
    assert span.traceparent == f"00-{TRACE}-{done.context.span_id:016x}-01".encode()
    assert dict(done.attributes) == {
        "http.request.method": "POST",
        "http.route": "/serving-endpoints/{name}/invocations",
        "http.response.status_code": 200,
        "moorage.endpoint": "e",
        "moorage.request_id": "an-id",
        "moorage.served_entity": "m",
        "moorage.batch_size": 3,
        "moorage.replica_queue_ms": 1.5,
        "moorage.prediction_ms": 2.5,
    }
    assert done.status.is_unset


def test_failed_request_without_a_parent_begins_a_trace(tracer, exported):
    span = tracer.begin("e", b"", b"an-id")
    span.end(503, "")
    [done] = exported.get_finished_spans()
    assert done.parent is None
    assert not done.status.is_ok
    assert readable_traceparent(span.traceparent) == span.traceparent


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_SERVICE_NAME": "mine"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "TRUE"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_nothing_is_traced_unless_a_collector_is_named(environ):
    assert tracer_of_environment(environ) is None
