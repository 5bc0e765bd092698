"""The gateway's ASGI application: invocations to replicas, everything else to the control plane or MLflow."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, TypeVar

import orjson

from moorage.api.errors import (
    ApiError,
    BadRequest,
    DeadlineExceeded,
    EndpointNotFound,
    InternalError,
    PermissionDenied,
    RequestLimitExceeded,
    ResourceDoesNotExist,
    TemporarilyUnavailable,
)
from moorage.api.pages import is_open as is_open_page
from moorage.api.routing import Availability, EndpointRoute, Principal, ReplicaFault, ServedRoute
from moorage.api.surfaces import SURFACE_PATHS, Surface
from moorage.external.exchanges import error_document
from moorage.gateway.cookies import require_own_page
from moorage.gateway.explanations import Attempt, explanation
from moorage.gateway.language_models import LanguageModels
from moorage.gateway.language_outcomes import Query
from moorage.gateway.language_requests import client_request_id_in, endpoint_named_in, parse_object
from moorage.gateway.limit_rules import LimitRules
from moorage.gateway.limiting import Admission, RateLimiter
from moorage.gateway.meters import Meters
from moorage.gateway.model_answers import AnswerForm, answer_form, asks_for_stream, body_for_model
from moorage.gateway.model_streams import ModelStream
from moorage.gateway.proxy import Upstreams
from moorage.gateway.requests import BodyLimit, Header, Receive, Request, Scope, Send, send_whole
from moorage.gateway.routing import Endpoint, RoutingTable, Served, missing_right
from moorage.gateway.tracing import InvocationSpan, InvocationTracer
from moorage.gateway.transport import ReplicaAnswer, ReplicaGone, ReplicaLink, ReplicaTimeout
from moorage.gateway.watching import ClientLeft, ClientWatch
from moorage.replica import frames
from moorage.settings import Settings
from moorage.telemetry.request_log import RequestLog, RequestRecord

_logger = logging.getLogger(__name__)

_INVOCATIONS = re.compile(
    r"(?:(?:/\d+)?/serving-endpoints|/realtime-inference)/([^/]+)(?:/served-models/([^/]+))?/invocations/?"
)
_STAGED_INVOCATIONS = re.compile(r"/model(?:-endpoint)?/([^/]+)/([^/]+)/invocations/?")
_MODELS_PATH = "/serving-endpoints/models"
_NOTHING_SERVED = ServedRoute(name="", traffic_percentage=0)
_INVOCATIONS_END = ("/invocations", "/invocations/")
_OPEN_PATHS = {"/.well-known/databricks-config", "/login", "/api/2.0/moorage/session"}
_OPEN_PREFIXES = ("/oidc/", "/api/2.0/fs/signed/")
_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
_SWEEP_SECONDS = 0.25
_LONGEST_SHOWN = 100  # of what a client gave as a name
_CLIENT_LEFT = 499  # as nginx says it; no client sees it


_Answer = TypeVar("_Answer")


class Reports(Protocol):
    """What a gateway tells the control plane at once."""

    def report(self, endpoint: str, replica_id: str, fault: ReplicaFault) -> None:
        """A replica needs a look."""
        ...

    def report_load(self) -> None:
        """A request waits for a replica."""
        ...


class _Asked(NamedTuple):
    """An invocation before anything of it was looked at; `body` is there where it names the endpoint.

    With an `alias`, a stage or a version, `name` is that of a registered model and not of an endpoint.
    """

    request: Request
    name: str
    served_name: str | None
    surface: Surface | None = None
    body: bytes | None = None
    document: dict[str, Any] | None = None
    alias: str | None = None


@dataclass(slots=True)
class _Streamed:
    """An invocation whose answer comes in pieces, and where it is counted, traced and logged: once.

    Times are monotonic; `sent` is 0 until a replica was asked.
    """

    asked: _Asked
    principal: Principal
    endpoint: Endpoint
    served: Served
    admission: Admission
    body: bytes
    began: float
    span: InvocationSpan | None
    log: RequestLog
    sent: float = 0.0
    entered: bool = False

    def head(self, status: int) -> frames.ResponseHead:
        """For an answer that no replica has ended."""
        predict_us = int((time.monotonic() - self.sent) * 1e6) if self.sent else 0
        return frames.ResponseHead(status, 1, 0, predict_us)

    def headers(self, head: frames.ResponseHead) -> list[Header]:
        found = [(b"x-request-id", self.asked.request.id), self.served.header]
        if self.asked.request.explain:
            seconds, before = time.monotonic() - self.began, self.sent - self.began
            answer = ReplicaAnswer(head, b"")
            found.append(
                _explanation(self.asked, self.endpoint, self.served, self.admission, answer, seconds, before)
            )
        return found

    def enter(self, head: frames.ResponseHead, answer: bytes, *, streamed: bool, partial: bool) -> None:
        if self.entered:
            return
        self.entered = True
        status, batch, queue_us, predict_us = head
        seconds, meter = time.monotonic() - self.began, self.served.meter
        if self.sent:
            meter.answered(status, seconds, self.sent - self.began, queue_us, predict_us, batch)
        else:
            meter.refused(status, seconds)
        if self.span is not None:
            self.span.end(status, self.served.name, batch if self.sent else 0, queue_us, predict_us)
        if self.endpoint.logs:
            record = _record(
                self.asked, self.principal, self.endpoint, self.served, self.body, status, answer, seconds
            )
            self.log.write(replace(record, streamed=streamed, partial=partial))


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
        language_models: LanguageModels,
        log: RequestLog,
        tracer: InvocationTracer | None = None,
    ) -> None:
        self._settings = settings
        self._table = table
        self._upstreams = upstreams
        self._reports = reports
        self._limiter = limiter
        self._tracer = tracer
        self._language_models = language_models
        self._log = log
        self._unrouted = meters.meter("", "", "")
        self._queued_bytes = 0
        seconds = settings.request_body_timeout_seconds
        self._model_limit = BodyLimit(settings.max_request_bytes, seconds)
        self._language_limit = BodyLimit(settings.max_language_request_bytes, seconds)

    def end_streams(self) -> None:
        """End the event streams that would go on for ever; the server stops."""
        self._upstreams.end_streams()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        request = Request(scope["headers"])
        surface = SURFACE_PATHS.get(scope["path"].rstrip("/")) if scope["method"] == "POST" else None
        try:
            await self._dispatch(scope, request, surface, receive, send)
        except ApiError as error:
            await _send_error(send, request, surface, error)
        except Exception:
            _logger.exception("request %s failed", request.id.decode())
            failure = InternalError("The server failed; its log has the request id.")
            await _send_error(send, request, surface, failure)

    async def _dispatch(
        self, scope: Scope, request: Request, surface: Surface | None, receive: Receive, send: Send
    ) -> None:
        path = scope["path"]
        if request.by_cookie and scope["method"] not in _SAFE_METHODS:
            require_own_page(scope["headers"])
        if scope["method"] == "POST":
            if path.endswith(_INVOCATIONS_END):
                match = _INVOCATIONS.fullmatch(path)
                if match is not None:
                    await self._invoke(_Asked(request, match[1], match[2]), receive, send)
                    return
                match = _STAGED_INVOCATIONS.fullmatch(path)
                if match is not None:
                    await self._invoke(_Asked(request, match[1], None, alias=match[2]), receive, send)
                    return
            elif surface is not None:
                await self._invoke_named_in_body(request, surface, receive, send)
                return
        if path == "/health":
            status, document = await self._upstreams.health(self._table.loaded)
            await send_whole(send, status, orjson.dumps(document), [(b"x-request-id", request.id)])
            return
        if scope["method"] == "GET" and (path == _MODELS_PATH or path.startswith(f"{_MODELS_PATH}/")):
            await self._list_models(path, request, send)
            return
        caller: Principal | None = None
        try:
            caller = self._table.principal(request.authorization)
            if caller.only_endpoint is not None:
                raise PermissionDenied("This token opens nothing but queries to its serving endpoint.")
        except ApiError:
            if path not in _OPEN_PATHS and not path.startswith(_OPEN_PREFIXES) and not is_open_page(path):
                raise
            caller = None
        await self._upstreams.forward(scope, receive, send, caller, request.id)

    async def _list_models(self, path: str, request: Request, send: Send) -> None:
        """The endpoints that the caller may query, as OpenAI lists models; or one of them."""
        principal = self._table.principal(request.authorization)
        name = path.removeprefix(_MODELS_PATH).strip("/")
        if not name:
            found = [
                _as_model(endpoint)
                for _, endpoint in sorted(self._table.endpoints.items())
                if _may_query(endpoint.route, principal)
            ]
            document: dict[str, Any] = {"object": "list", "data": found}
        else:
            endpoint = self._endpoint(name)
            if not _may_query(endpoint.route, principal):
                raise missing_right(principal, "CAN_QUERY", name)
            document = _as_model(endpoint)
        await send_whole(send, 200, orjson.dumps(document), [(b"x-request-id", request.id)])

    async def _invoke_named_in_body(self, request: Request, surface: Surface, receive: Receive, send: Send) -> None:
        """Answer a query whose endpoint is the model that its body names."""
        began = time.monotonic()
        if request.authorization is None and request.api_key is not None:
            request.authorization = b"Bearer " + request.api_key  # Anthropic's client says it so
        try:
            self._table.principal(request.authorization)  # before the body is read
            body = await self._language_limit.read(request, receive)
            document = parse_object(body)
            name = endpoint_named_in(document)
        except ApiError as error:
            self._unrouted.refused(error.status, time.monotonic() - began)
            raise
        await self._invoke(_Asked(request, name, None, surface, body, document), receive, send)

    async def _invoke(self, asked: _Asked, receive: Receive, send: Send) -> None:
        """Answer an invocation; whatever becomes of it is counted once, by the meter that it got to."""
        began = time.monotonic()
        request, name = asked.request, asked.name
        meter, served = self._unrouted, None
        span = None
        if self._tracer is not None:
            span = self._tracer.begin(name, request.traceparent, request.id)
            request.traceparent = span.traceparent
        admission: Admission = ()
        try:
            principal = self._table.principal(request.authorization)
            endpoint = self._endpoint(name) if asked.alias is None else self._staged(name)
            meter, name = endpoint.meter, endpoint.route.name
            flags = _flags(endpoint, principal, asked.alias)
            if endpoint.limits is not None:
                admission = await self._admit(endpoint.limits, principal)
        except Exception as error:
            status = error.status if isinstance(error, ApiError) else 500
            meter.refused(status, time.monotonic() - began)
            if span is not None:
                span.end(status, "")
            raise
        if endpoint.route.task is not None:
            query = Query(request, principal, endpoint, asked.surface, asked.served_name, admission, began, span)
            query.body, query.document = asked.body or b"", asked.document
            await self._language_models.serve(query, receive, send)
            return
        body = asked.body
        log = endpoint.logs
        form: AnswerForm | None = None
        try:
            served = _chosen(endpoint, asked)
            meter = served.meter
            if body is None:
                body = passed = await self._model_limit.read(request, receive)
                served = self._still(served, name, asked)
                meter = served.meter
            else:
                assert asked.surface is not None
                assert asked.document is not None
                form = answer_form(asked.surface, name, request.id.decode())
                passed = body_for_model(asked.surface, asked.document)
            streamed = asks_for_stream(passed)
            if not streamed:
                sent, answer = await self._answer(served, flags, asked, endpoint, passed)
        except Exception as error:
            status = error.status if isinstance(error, ApiError) else 500
            seconds = time.monotonic() - began
            meter.refused(status, seconds)
            if span is not None:
                span.end(status, served.name if served is not None else "")
            if log:
                words = orjson.dumps(error.body()) if isinstance(error, ApiError) else b""
                self._log.write(_record(asked, principal, endpoint, served, body or b"", status, words, seconds))
            raise
        if streamed:
            told = _Streamed(asked, principal, endpoint, served, admission, body, began, span, self._log)
            await self._stream(told, flags, passed, form or AnswerForm(), receive, send)
            return
        status, batch, queue_us, predict_us = answer.head
        if form is not None:
            answer = answer._replace(body=form.whole(status, answer.body))
        seconds = time.monotonic() - began
        meter.answered(status, seconds, sent - began, queue_us, predict_us, batch)
        if span is not None:
            span.end(status, served.name, batch, queue_us, predict_us)
        if log:
            self._log.write(_record(asked, principal, endpoint, served, body, status, answer.body, seconds))
        headers = [(b"x-request-id", request.id), served.header]
        if request.explain:
            headers.append(_explanation(asked, endpoint, served, admission, answer, seconds, sent - began))
        await send_whole(send, status, answer.body, headers)

    async def _stream(
        self, told: _Streamed, flags: int, body: bytes, form: AnswerForm, receive: Receive, send: Send
    ) -> None:
        """Answer in pieces. Whatever becomes of it is counted once, and a client that leaves ends it."""
        endpoint, served, settings = told.endpoint, told.served, self._settings
        name = endpoint.route.name
        most_kept = settings.payload_max_bytes if endpoint.logs else None
        relay = ModelStream(form, told, send, idle_seconds=settings.stream_idle_seconds, most_kept=most_kept)
        try:
            self._take_in(served, body)
            try:
                async with ClientWatch(receive) as watch:
                    told.sent, stream = await self._ask(served, flags, told.asked, name, body, ReplicaLink.stream)
                    try:
                        await relay.pass_on(stream, told.sent, lambda one, why: self._reports.report(name, one, why))
                        watch.stop()
                    finally:
                        stream.close()
            finally:
                self._let_go(served, body)
        except ClientLeft:
            relay.enter(told.head(_CLIENT_LEFT), partial=True)
        except ApiError as error:
            told.enter(told.head(error.status), orjson.dumps(error.body()), streamed=False, partial=False)
            raise
        finally:
            relay.enter(told.head(500), partial=True)  # where nothing was entered: it failed, or the server stops

    async def _admit(self, limits: LimitRules, principal: Principal) -> Admission:
        if self._limiter.needs_await:
            return await self._limiter.admit(limits, principal)
        return self._limiter.admit_now(limits, principal)

    def _endpoint(self, name: str) -> Endpoint:
        endpoint = self._table.endpoints.get(name)
        if endpoint is None:
            raise EndpointNotFound(
                f"The given endpoint does not exist, please retry after checking the specified model and version"
                f" deployment exists: '{name[:_LONGEST_SHOWN]}'."
            )
        return endpoint

    def _still(self, served: Served, name: str, asked: _Asked) -> Served:
        """What was chosen before the body came, unless it has gone in the meantime: then what is to answer now."""
        endpoint = self._endpoint(name)
        return served if endpoint.served.get(served.name) is served else _chosen(endpoint, asked)

    def _staged(self, model: str) -> Endpoint:
        endpoint = self._table.models.get(model)
        if endpoint is None:
            raise ResourceDoesNotExist(f"Registered model '{model[:_LONGEST_SHOWN]}' is not enabled for serving.")
        return endpoint

    async def _answer(
        self, served: Served, flags: int, asked: _Asked, endpoint: Endpoint, body: bytes
    ) -> tuple[float, ReplicaAnswer]:
        """The monotonic time at which the request was sent to its replica, and the answer."""
        self._take_in(served, body)
        try:
            return await self._ask(served, flags, asked, endpoint.route.name, body, ReplicaLink.request)
        finally:
            self._let_go(served, body)

    def _take_in(self, served: Served, body: bytes) -> None:
        """
        Raises:
            RequestLimitExceeded: too many requests wait already.
        """
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

    def _let_go(self, served: Served, body: bytes) -> None:
        served.queued -= 1
        self._queued_bytes -= len(body)

    async def _ask(
        self,
        served: Served,
        flags: int,
        asked: _Asked,
        name: str,
        body: bytes,
        call: Callable[[ReplicaLink, int, float, bytes, bytes, bytes, bytes], Awaitable[_Answer]],
    ) -> tuple[float, _Answer]:
        """The answer of one replica, by `call`; of another one when the first died without any."""
        request = asked.request
        deadline = time.monotonic() + self._settings.request_timeout_seconds
        failed: ReplicaLink | None = None
        for attempt in (1, 2):
            link = served.pick(failed) or await self._wait_for_replica(name, served, failed, deadline, asked.alias)
            try:
                sent = time.monotonic()
                return sent, await call(
                    link, flags, deadline - sent, request.content_type, request.id, body, request.traceparent
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
        self, name: str, served: Served, failed: ReplicaLink | None, deadline: float, alias: str | None
    ) -> ReplicaLink:
        """A replica that comes up, or comes back, within the time that one takes to start.

        It is one of the entity that answers for the alias by then, where there is one.
        """
        self._reports.report_load()
        until = min(deadline, time.monotonic() + self._settings.replica_wait_seconds)
        while (remaining := until - time.monotonic()) > 0:
            await self._table.change(remaining)
            endpoint = self._table.endpoints.get(name)
            if endpoint is None or endpoint.route.availability is not Availability.SERVING:
                break
            current = endpoint.served.get(served.name)
            if current is None and alias is not None:
                current = endpoint.answering(alias)
            link = current.pick(failed) if current is not None else None
            if link is not None:
                return link
        raise TemporarilyUnavailable(f"No replica of '{served.name}' is up at the moment.", retry_after_seconds=5)


def _chosen(endpoint: Endpoint, asked: _Asked) -> Served:
    """The served entity that is to answer.

    Raises:
        ResourceDoesNotExist, BadRequest: as `Endpoint.answering`, `named` and `draw`.
    """
    if asked.alias is not None:
        return endpoint.answering(asked.alias)
    return endpoint.draw() if asked.served_name is None else endpoint.named(asked.served_name)


async def sweep_for_ever(table: RoutingTable, limiter: RateLimiter, models: LanguageModels, log: RequestLog) -> None:
    """Fail late requests, let go of links, windows and connections that have ended, hand over what was logged.

    A few times a second.
    """
    while True:
        await asyncio.sleep(_SWEEP_SECONDS)
        table.sweep(time.monotonic())
        limiter.sweep()
        models.sweep(table)
        log.rotate()


def _flags(endpoint: Endpoint, principal: Principal, alias: str | None) -> int:
    """What the replica may tell this caller.

    Raises:
        PermissionDenied: the caller may not query the endpoint.
        ResourceDoesNotExist: it serves nothing under that alias.
        BadRequest: the endpoint takes no queries now.
    """
    route = endpoint.route
    if not _may_query(route, principal):
        raise missing_right(principal, "CAN_QUERY", route.name)
    if route.availability is not Availability.SERVING:
        if alias is not None:
            endpoint.answering(alias)  # it knows better what is wrong
        raise BadRequest(_unavailable(endpoint))
    return frames.FLAG_STACK_TRACE if _manages(route, principal) else 0


def _may_query(route: EndpointRoute, principal: Principal) -> bool:
    if principal.only_endpoint is not None and principal.only_endpoint != route.id:
        return False
    return _manages(route, principal) or _is_among(principal, route.queriers)


def _manages(route: EndpointRoute, principal: Principal) -> bool:
    return principal.admin or _is_among(principal, route.managers)


def _is_among(principal: Principal, ids: frozenset[str]) -> bool:
    return principal.id in ids or not principal.groups.isdisjoint(ids)


def _unavailable(endpoint: Endpoint) -> str:
    route = endpoint.route
    if route.availability is Availability.STOPPED:
        return f"Endpoint '{route.name}' is stopped. Start it first."
    return f"Endpoint '{route.name}' is not ready. {route.message}".rstrip()


def _as_model(endpoint: Endpoint) -> dict[str, Any]:
    return {"id": endpoint.route.name, "object": "model", "created": 0, "owned_by": "moorage"}


def _record(
    asked: _Asked,
    principal: Principal,
    endpoint: Endpoint,
    served: Served | None,
    body: bytes,
    status: int,
    answer: bytes,
    seconds: float,
) -> RequestRecord:
    """What the tables get of a request to a registered model."""
    route = endpoint.route
    of_served = served.route if served is not None else _NOTHING_SERVED
    return RequestRecord(
        request_id=asked.request.id.decode(),
        endpoint=route.name,
        endpoint_id=route.id,
        served_name=of_served.name,
        served_entity_id=of_served.id,
        entity=of_served.entity,
        version=of_served.version,
        config_version=route.config_version,
        requester=principal.user_name,
        status=status,
        request_time_ms=time.time_ns() // 1_000_000 - int(seconds * 1000),
        duration_ms=seconds * 1000,
        request=body,
        response=answer,
        client_request_id=client_request_id_in(body),
        tables=route.captures,
        usage=route.usage,
    )


def _explanation(
    asked: _Asked,
    endpoint: Endpoint,
    served: Served,
    admission: Admission,
    answer: ReplicaAnswer,
    seconds: float,
    before_sent: float,
) -> Header:
    route = endpoint.route
    if asked.alias is not None:
        why = f"answers for {asked.alias} of registered model '{asked.name}'"
    elif asked.served_name is not None:
        why = "named in the path"
    else:
        why = f"drawn by its traffic of {served.route.traffic_percentage} %"
    model_seconds = (answer.head.queue_us + answer.head.predict_us) / 1_000_000
    attempt = Attempt(served.name, why, answer.head.status, 1000 * (seconds - before_sent))
    own_ms = 1000 * (seconds - model_seconds)
    return explanation(route.name, route.config_version, [attempt], admission, own_ms)


async def _send_error(send: Send, request: Request, surface: Surface | None, error: ApiError) -> None:
    headers: list[Header] = [(k.lower().encode(), v.encode()) for k, v in error.headers.items()]
    headers.append((b"x-request-id", request.id))
    await send_whole(send, error.status, orjson.dumps(error_document(surface, error)), headers)
