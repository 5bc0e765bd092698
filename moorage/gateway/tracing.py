"""Spans of invocations, exported by OpenTelemetry when its standard variables name a collector.

Source: W3C Trace Context; OpenTelemetry's environment variable specification and HTTP semantic conventions.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_ROUTE = "/serving-endpoints/{name}/invocations"


def readable_traceparent(value: bytes) -> bytes:
    """The header's value where it can be passed on as version 00, else nothing: an unreadable one starts no trace."""
    if len(value) > 55 and value[55:56] == b"-" and not value.startswith(b"00"):
        value = value[:55]  # a later version begins with the parts of this one
    return value if _TRACEPARENT.fullmatch(value) else b""


class InvocationSpan:
    """The span of one invocation. `traceparent` is what a replica continues."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, span: Span) -> None:
        self._span = span
        context = span.get_span_context()
        text = f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
        self.traceparent = text.encode()

    def end(self, status: int, served: str, batch: int = 0, queue_us: int = 0, predict_us: int = 0) -> None:
        """Close it with what is known of the answer; `batch` 0 is an answer that no model gave."""
        from opentelemetry.trace import StatusCode

        span = self._span
        span.set_attribute("http.response.status_code", status)
        if served:
            span.set_attribute("moorage.served_entity", served)
        if batch:
            span.set_attribute("moorage.batch_size", batch)
            span.set_attribute("moorage.replica_queue_ms", queue_us / 1000)
            span.set_attribute("moorage.prediction_ms", predict_us / 1000)
        if status >= 500:
            span.set_status(StatusCode.ERROR)
        span.end()


class InvocationTracer:
    """Begins spans and exports them in batches from a thread of its own."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer: Tracer = provider.get_tracer("moorage.gateway")

    def begin(self, endpoint: str, traceparent: bytes, request_id: bytes) -> InvocationSpan:
        """A server span, child of `traceparent` where that is not empty."""
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier = {"traceparent": traceparent.decode()} if traceparent else {}
        span = self._tracer.start_span(
            f"POST {_ROUTE}",
            context=TraceContextTextMapPropagator().extract(carrier),
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": "POST",
                "http.route": _ROUTE,
                "moorage.endpoint": endpoint,
                "moorage.request_id": request_id.decode(),
            },
            start_time=time.time_ns(),
        )
        return InvocationSpan(span)

    def close(self) -> None:
        """Export what is left; blocks for as long as the exporter's own time-out at most."""
        self._provider.shutdown()


def tracer_of_environment(environ: Mapping[str, str] | None = None) -> InvocationTracer | None:
    """The tracer that OpenTelemetry's standard variables configure, None when they name no collector.

    The exporter speaks OTLP over HTTP and reads its own variables: endpoint, headers, time-out, certificate; so do
    the sampler (`OTEL_TRACES_SAMPLER`) and the resource (`OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`).
    """
    environ = os.environ if environ is None else environ
    disabled = environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if disabled or environ.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp":
        return None
    if not any(environ.get(name) for name in _ENDPOINT_VARIABLES):
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # What the environment says comes last, so that it may give the service another name.
    resource = Resource.create({"service.name": "moorage"}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return InvocationTracer(provider)
