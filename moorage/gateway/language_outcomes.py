"""A query to a provider's model, what becomes of it, and how that is counted, charged, logged and explained."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from moorage.api.routing import Principal
from moorage.api.surfaces import Surface
from moorage.external.exchange import Usage
from moorage.gateway.explanations import Attempt, explanation
from moorage.gateway.language_requests import Document, LanguageRequest, characters_of, estimated_tokens
from moorage.gateway.limiting import Admission, RateLimiter
from moorage.gateway.requests import Header, Request
from moorage.gateway.routing import Endpoint, Served
from moorage.gateway.tracing import InvocationSpan
from moorage.gateway.watching import ClientWatch
from moorage.telemetry.request_log import RequestLog, RequestRecord


@dataclass(slots=True)
class Query:
    """A query that was let in. `document` is its body where that was needed to know the endpoint.

    `surface` is None on `/invocations`. `began` is monotonic, in seconds; `began_ms` milliseconds since the epoch.
    """

    request: Request
    principal: Principal
    endpoint: Endpoint
    surface: Surface | None
    served_name: str | None
    admission: Admission
    began: float
    span: InvocationSpan | None = None
    body: bytes = b""
    document: Document | None = None
    began_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)


@dataclass(slots=True)
class Outcome:
    """What has become of a query so far. Seconds spent on a provider are not the gateway's own."""

    asked: LanguageRequest | None = None
    served: Served | None = None
    why: str = ""
    attempts: list[Attempt] = field(default_factory=list)
    provider_seconds: float = 0.0
    usage: Usage | None = None
    characters: int = 0
    sent: list[bytes] = field(default_factory=list)
    sent_bytes: int = 0
    guardrails: list[str] = field(default_factory=list)
    streamed: bool = False
    partial: bool = False
    written: bool = False
    watch: ClientWatch | None = None

    def keep(self, events: bytes, most: int) -> None:
        """Keep a part of what is sent for the record, which has none of an answer of more than `most` bytes."""
        if self.sent_bytes <= most:
            self.sent.append(events)
            self.sent_bytes += len(events)

    def note_attempt(self, status: int, began: float, message: str) -> None:
        """An entity was asked since `began` (monotonic), and this came of it."""
        assert self.served is not None
        external = self.served.route.external
        provider = str(external.provider) if external is not None else None
        milliseconds = 1000 * (time.monotonic() - began)
        self.attempts.append(Attempt(self.served.name, self.why, status, milliseconds, provider, message))


class Books:
    """Where the outcomes of one gateway worker's queries are entered."""

    def __init__(self, limiter: RateLimiter, log: RequestLog) -> None:
        self._limiter = limiter
        self._log = log

    def enter(self, query: Query, outcome: Outcome, status: int) -> None:
        """Count, charge and log the query, once. Nothing here waits, and nothing here may fail the query."""
        if outcome.written:
            return
        outcome.written = True
        seconds = time.monotonic() - query.began
        served, endpoint = outcome.served, query.endpoint
        meter = served.meter if served is not None else endpoint.meter
        if outcome.attempts:
            provider_us = int(outcome.provider_seconds * 1_000_000)
            meter.answered(status, seconds, max(seconds - outcome.provider_seconds, 0.0), 0, provider_us, 1)
        else:
            meter.refused(status, seconds)
        if query.span is not None:
            query.span.end(status, served.name if served is not None else "")
        usage, estimated = _usage(query, outcome, status)
        if usage is not None and query.admission:
            self._limiter.charge_tokens(query.admission, usage.input_tokens + usage.output_tokens)
        if endpoint.logs:
            self._log.write(_record(query, outcome, status, seconds, usage, estimated=estimated))


def answer_headers(query: Query, served: Served | None, outcome: Outcome) -> list[Header]:
    """What every answer to a query says in its head."""
    headers: list[Header] = [(b"x-request-id", query.request.id)]
    if served is not None:
        headers.append(served.header)
    if query.request.explain:
        route = query.endpoint.route
        own_ms = 1000 * (time.monotonic() - query.began - outcome.provider_seconds)
        attempts, rails = outcome.attempts, outcome.guardrails
        headers.append(explanation(route.name, route.config_version, attempts, query.admission, own_ms, rails))
    return headers


def _usage(query: Query, outcome: Outcome, status: int) -> tuple[Usage | None, bool]:
    """The tokens, and whether they are an estimate; None where nothing was answered, or nobody asks."""
    asked, usage = outcome.asked, outcome.usage
    said = estimated_tokens(outcome.characters)
    if usage is None:
        answered = status == 200 or (outcome.partial and outcome.streamed)
        wanted = bool(query.admission) or query.endpoint.logs
        if not answered or asked is None or not wanted:
            return None, False
        return Usage(estimated_tokens(characters_of(asked.body)), said), True
    if outcome.partial and said > usage.output_tokens:
        # Providers count what they have written at the end, to which this stream did not come.
        return Usage(usage.input_tokens, said), True
    return usage, False


def _record(
    query: Query, outcome: Outcome, status: int, seconds: float, usage: Usage | None, *, estimated: bool
) -> RequestRecord:
    route, served, asked = query.endpoint.route, outcome.served, outcome.asked
    of_served = served.route if served is not None else None
    return RequestRecord(
        request_id=query.request.id.decode(),
        endpoint=route.name,
        endpoint_id=route.id,
        served_name=served.name if served is not None else "",
        served_entity_id=of_served.id if of_served else "",
        entity=of_served.entity if of_served else "",
        version=of_served.version if of_served else "",
        config_version=route.config_version,
        requester=query.principal.user_name,
        status=status,
        request_time_ms=query.began_ms,
        duration_ms=seconds * 1000,
        request=query.body,
        response=b"".join(outcome.sent),
        client_request_id=asked.client_request_id if asked is not None else None,
        streamed=outcome.streamed,
        input_tokens=usage.input_tokens if usage is not None else None,
        output_tokens=usage.output_tokens if usage is not None else None,
        tokens_estimated=estimated,
        partial=outcome.partial,
        usage_context=asked.usage_context if asked is not None else None,
        tables=route.captures,
        usage=route.usage,
        input_characters=characters_of(asked.body) if asked is not None else None,
        output_characters=outcome.characters or None,
    )
