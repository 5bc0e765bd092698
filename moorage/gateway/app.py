"""The gateway's ASGI application: invocations to replicas, everything else to the control plane or MLflow."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

import orjson

from moorage.api.errors import (
    ApiError,
    BadRequest,
    DeadlineExceeded,
    EndpointNotFound,
    InternalError,
    PermissionDenied,
    RequestLimitExceeded,
    TemporarilyUnavailable,
)
from moorage.api.routing import Availability, Principal, ReplicaFault
from moorage.gateway.cookies import require_own_page, session_authorization
from moorage.gateway.limit_rules import LimitRules
from moorage.gateway.limiting import RateLimiter
from moorage.gateway.meters import Meters
from moorage.gateway.proxy import Upstreams
from moorage.gateway.routing import Endpoint, RoutingTable, Served, missing_right
from moorage.gateway.tracing import InvocationTracer, readable_traceparent
from moorage.gateway.transport import ReplicaAnswer, ReplicaGone, ReplicaLink, ReplicaTimeout
from moorage.replica import frames
from moorage.settings import Settings

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]

_logger = logging.getLogger(__name__)

_JSON: Header = (b"content-type", b"application/json")
_INVOCATIONS = re.compile(r"(?:/\d+)?/serving-endpoints/([^/]+)(?:/served-models/([^/]+))?/invocations/?")
_INVOCATIONS_END = ("/invocations", "/invocations/")
_PRINTABLE_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_OPEN_PATHS = {"/.well-known/databricks-config", "/login", "/api/2.0/moorage/session"}
_OPEN_PREFIXES = ("/oidc/",)
_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
_SWEEP_SECONDS = 0.25


class _Request:
    """The headers of one invocation that matter, read in one pass."""

    __slots__ = (
        "authorization",
        "by_cookie",
        "content_encoding",
        "content_length",
        "content_type",
        "id",
        "traceparent",
    )

    def __init__(self, headers: list[Header]) -> None:
        self.traceparent = b""
        self.authorization: bytes | None = None
        self.content_type = b""
        self.content_length: int | None = None
        self.content_encoding = b""
        self.id = b""
        for name, value in headers:
            if name == b"authorization":
                self.authorization = value
            elif name == b"content-type":
                self.content_type = value
            elif name == b"content-length":
                self.content_length = int(value) if value.isdigit() else None
            elif name == b"content-encoding":
                self.content_encoding = value
            elif name == b"x-request-id" and _PRINTABLE_ID.fullmatch(value):
                self.id = value
            elif name == b"traceparent":
                self.traceparent = readable_traceparent(value)
        if not self.id:
            self.id = os.urandom(16).hex().encode()
        self.by_cookie = False
        if self.authorization is None:
            self.authorization = session_authorization(headers)
            self.by_cookie = self.authorization is not None


class Reports(Protocol):
    """What a gateway tells the control plane at once."""

    def report(self, endpoint: str, replica_id: str, fault: ReplicaFault) -> None:
        """A replica needs a look."""
        ...

    def report_load(self) -> None:
        """A request waits for a replica."""
        ...


class Gateway:
    """One worker's application."""

    def __init__(
        self,
        settings: Settings,
        table: RoutingTable,
        meters: Meters,
        upstreams: Upstreams,
        reports: Reports,
        limiter: RateLimiter,
        tracer: InvocationTracer | None = None,
    ) -> None:
        self._settings = settings
        self._table = table
        self._upstreams = upstreams
        self._reports = reports
        self._limiter = limiter
        self._tracer = tracer
        self._unrouted = meters.meter("", "", "")
        self._queued_bytes = 0
        self._limit_words = f"{settings.max_request_bytes} bytes ({settings.max_request_bytes >> 20} MB)"

    def end_streams(self) -> None:
        """End the event streams that would go on for ever; the server stops."""
        self._upstreams.end_streams()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        request = _Request(scope["headers"])
        try:
            await self._dispatch(scope, request, receive, send)
        except ApiError as error:
            await _send_error(send, request, error)
        except Exception:
            _logger.exception("request %s failed", request.id.decode())
            await _send_error(send, request, InternalError("The server failed; its log has the request id."))

    async def _dispatch(self, scope: Scope, request: _Request, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if request.by_cookie and scope["method"] not in _SAFE_METHODS:
            require_own_page(scope["headers"])
        if scope["method"] == "POST" and path.endswith(_INVOCATIONS_END):
            match = _INVOCATIONS.fullmatch(path)
            if match is not None:
                await self._invoke(match[1], match[2], request, receive, send)
                return
        if path == "/health":
            status, document = await self._upstreams.health(self._table.loaded)
            await _send(send, status, orjson.dumps(document), [(b"x-request-id", request.id)])
            return
        caller: Principal | None = None
        try:
            caller = self._table.principal(request.authorization)
            if caller.only_endpoint is not None:
                raise PermissionDenied("This token opens nothing but queries to its serving endpoint.")
        except ApiError:
            if path not in _OPEN_PATHS and not path.startswith(_OPEN_PREFIXES):
                raise
            caller = None
        await self._upstreams.forward(scope, receive, send, caller, request.id)

    async def _invoke(
        self, name: str, served_name: str | None, request: _Request, receive: Receive, send: Send
    ) -> None:
        """Answer an invocation; whatever becomes of it is counted once, by the meter that it got to."""
        began = time.monotonic()
        meter, served = self._unrouted, None
        span = None
        if self._tracer is not None:
            span = self._tracer.begin(name, request.traceparent, request.id)
            request.traceparent = span.traceparent
        try:
            principal = self._table.principal(request.authorization)
            endpoint = self._endpoint(name)
            meter = endpoint.meter
            flags = _flags(endpoint, principal)
            if endpoint.limits is not None:
                await self._admit(endpoint.limits, principal)
            served = endpoint.draw() if served_name is None else endpoint.named(served_name)
            meter = served.meter
            sent, answer = await self._answer(name, served, flags, request, receive)
        except Exception as error:
            status = error.status if isinstance(error, ApiError) else 500
            meter.refused(status, time.monotonic() - began)
            if span is not None:
                span.end(status, served.name if served is not None else "")
            raise
        status, batch, queue_us, predict_us = answer.head
        meter.answered(status, time.monotonic() - began, sent - began, queue_us, predict_us, batch)
        if span is not None:
            span.end(status, served.name, batch, queue_us, predict_us)
        await _send(send, status, answer.body, [(b"x-request-id", request.id), served.header])

    async def _admit(self, limits: LimitRules, principal: Principal) -> None:
        if self._limiter.needs_await:
            await self._limiter.admit(limits, principal)
        else:
            self._limiter.admit_now(limits, principal)

    def _endpoint(self, name: str) -> Endpoint:
        endpoint = self._table.endpoints.get(name)
        if endpoint is None:
            raise EndpointNotFound(
                f"The given endpoint does not exist, please retry after checking the specified model and version"
                f" deployment exists: '{name}'."
            )
        return endpoint

    async def _answer(
        self, name: str, served: Served, flags: int, request: _Request, receive: Receive
    ) -> tuple[float, ReplicaAnswer]:
        """The monotonic time at which the request was sent to its replica, and the answer."""
        if request.content_encoding not in (b"", b"identity"):
            raise BadRequest("A Content-Encoding is not supported here: send the body uncompressed.")
        body = await self._read_body(request, receive)
        settings = self._settings
        if served.queued >= settings.max_queued_requests:
            raise RequestLimitExceeded(
                "Too many concurrent requests. Consider increasing the provisioned concurrency of the served entity."
            )
        if self._queued_bytes + len(body) > settings.max_queued_bytes:
            raise RequestLimitExceeded("Too many bytes wait in requests of this server. Try again.")
        served.queued += 1
        served.requests += 1
        self._queued_bytes += len(body)
        try:
            return await self._ask(name, served, flags, request, body)
        finally:
            served.queued -= 1
            self._queued_bytes -= len(body)

    async def _read_body(self, request: _Request, receive: Receive) -> bytes:
        limit = self._settings.max_request_bytes
        if request.content_length is not None and request.content_length > limit:
            length = request.content_length
            raise BadRequest(f"The request body has {length} bytes; the limit is {self._limit_words}.")
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadRequest("The client left before it had sent its body.")
        if not message.get("more_body", False):
            body: bytes = message.get("body", b"")
            if len(body) > limit:
                raise BadRequest(f"The request body is over the limit of {self._limit_words}.")
            return body
        parts = [message.get("body", b"")]
        size = len(parts[0])
        try:
            async with asyncio.timeout(self._settings.request_body_timeout_seconds):
                while message.get("more_body", False):
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise BadRequest("The client left before it had sent its body.")
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > limit:
                        raise BadRequest(f"The request body is over the limit of {self._limit_words}.")
        except TimeoutError:
            seconds = self._settings.request_body_timeout_seconds
            raise BadRequest(f"The request body did not arrive within {seconds:.0f} s.") from None
        return b"".join(parts)

    async def _ask(
        self, name: str, served: Served, flags: int, request: _Request, body: bytes
    ) -> tuple[float, ReplicaAnswer]:
        """The answer of one replica; of another one when the first died without any."""
        deadline = time.monotonic() + self._settings.request_timeout_seconds
        failed: ReplicaLink | None = None
        for attempt in (1, 2):
            link = served.pick(failed) or await self._wait_for_replica(name, served, failed, deadline)
            try:
                sent = time.monotonic()
                return sent, await link.request(
                    flags, deadline - sent, request.content_type, request.id, body, request.traceparent
                )
            except ReplicaTimeout:
                self._reports.report(name, link.replica_id, ReplicaFault.TIMED_OUT)
                seconds = self._settings.request_timeout_seconds
                raise DeadlineExceeded(f"The model did not answer within {seconds:.0f} s.") from None
            except ReplicaGone as gone:
                _logger.warning("request %s: replica %s: %s", request.id.decode(), link.replica_id, gone)
                self._reports.report(name, link.replica_id, ReplicaFault.UNREACHABLE)
                failed = link
                if attempt == 2:
                    break
        # Not a 503: clients send those again for minutes, and this request may be what ends the processes.
        raise InternalError("The model process ended while it answered this request, twice.")

    async def _wait_for_replica(
        self, name: str, served: Served, failed: ReplicaLink | None, deadline: float
    ) -> ReplicaLink:
        """A replica that comes up, or comes back, within the time that one takes to start."""
        self._reports.report_load()
        until = min(deadline, time.monotonic() + self._settings.replica_wait_seconds)
        while (remaining := until - time.monotonic()) > 0:
            await self._table.change(remaining)
            endpoint = self._table.endpoints.get(name)
            if endpoint is None or endpoint.route.availability is not Availability.SERVING:
                break
            current = endpoint.served.get(served.name)
            link = current.pick(failed) if current is not None else None
            if link is not None:
                return link
        raise TemporarilyUnavailable(f"No replica of '{served.name}' is up at the moment.", retry_after_seconds=5)


async def sweep_for_ever(table: RoutingTable, limiter: RateLimiter) -> None:
    """Fail late requests, let go of links and of windows that have ended, a few times a second."""
    while True:
        await asyncio.sleep(_SWEEP_SECONDS)
        table.sweep(time.monotonic())
        limiter.sweep()


def _flags(endpoint: Endpoint, principal: Principal) -> int:
    """What the replica may tell this caller.

    Raises:
        PermissionDenied: the caller may not query the endpoint.
        BadRequest: the endpoint takes no queries now.
    """
    route = endpoint.route
    if principal.only_endpoint is not None and principal.only_endpoint != route.id:
        raise missing_right(principal, "CAN_QUERY", route.name)
    manages = principal.admin or _is_among(principal, route.managers)
    if not manages and not _is_among(principal, route.queriers):
        raise missing_right(principal, "CAN_QUERY", route.name)
    if route.availability is not Availability.SERVING:
        raise BadRequest(_unavailable(endpoint))
    return frames.FLAG_STACK_TRACE if manages else 0


def _is_among(principal: Principal, ids: frozenset[str]) -> bool:
    return principal.id in ids or not principal.groups.isdisjoint(ids)


def _unavailable(endpoint: Endpoint) -> str:
    route = endpoint.route
    if route.availability is Availability.STOPPED:
        return f"Endpoint '{route.name}' is stopped. Start it first."
    return f"Endpoint '{route.name}' is not ready. {route.message}".rstrip()


async def _send(send: Send, status: int, body: bytes, headers: list[Header]) -> None:
    headers.append(_JSON)
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _send_error(send: Send, request: _Request, error: ApiError) -> None:
    headers: list[Header] = [(k.lower().encode(), v.encode()) for k, v in error.headers.items()]
    headers.append((b"x-request-id", request.id))
    await _send(send, error.status, orjson.dumps(error.body()), headers)
