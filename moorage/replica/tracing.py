"""Continues a caller's trace while the model works on its request."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator


@contextmanager
def continued(traceparent: str) -> Iterator[None]:
    """Spans that the model makes in this block belong to the trace of `traceparent`, a W3C header's value.

    Without one, or where the model's environment has no OpenTelemetry, it does nothing.
    """
    if not traceparent:
        yield
        return
    try:
        from opentelemetry import context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
    except ImportError:
        yield
        return
    token = context.attach(TraceContextTextMapPropagator().extract({"traceparent": traceparent}))
    try:
        yield
    finally:
        context.detach(token)
