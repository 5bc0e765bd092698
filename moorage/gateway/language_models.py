"""Queries to providers' models: an entity is asked, another where that fails, and the answer passed on as it comes.

Fallback and repetition end with the first byte of an answer that the client is given; from then on a failure ends the
stream with an error event. What came of a request is written down before its last byte goes out.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache

import orjson

from moorage.api.errors import ApiError, BadRequest, InternalError, RequestLimitExceeded
from moorage.external.exchange import AccessToken, Call, HttpRequest, StreamFailed, Target, UnreadableAnswer
from moorage.external.exchanges import Exchange, Relay, error_document
from moorage.external.failures import (
    ProviderError,
    answered_with,
    not_reached,
    speaker,
    status_for_client,
    too_late,
    unreadable,
)
from moorage.external.sse import EventTooLong
from moorage.external.ways import exchange_of
from moorage.gateway.access_tokens import AccessTokens
from moorage.gateway.engine_replicas import EngineReplicas, origin_of
from moorage.gateway.guarding import Guarding, StreamEvents, UnguardedEvents
from moorage.gateway.http_client import AnswerTooLong, CannotConnect, ConnectionLost, HttpClient, HttpResponse, Url
from moorage.gateway.http_client import parse_url as parse_any_url
from moorage.gateway.language_outcomes import Books, Outcome, Query, answer_headers
from moorage.gateway.language_requests import (
    LanguageRequest,
    language_request,
    parse_object,
)
from moorage.gateway.limiting import RateLimiter
from moorage.gateway.requests import JSON, BodyLimit, Header, Receive, Send
from moorage.gateway.routing import Endpoint, EngineLink, RoutingTable, Served
from moorage.gateway.watching import ClientLeft, ClientWatch
from moorage.guardrails.client import GuardrailClient
from moorage.settings import Settings
from moorage.telemetry.request_log import RequestLog

_logger = logging.getLogger(__name__)

_MOST_ENTITIES = 3  # that are asked for one request: the one that was drawn and two others
_LONGEST_ANSWER = 64 * 1024 * 1024
_LONGEST_ERROR = 256 * 1024
_DRAIN_SECONDS = 0.5
_NOT_TAKEN = (CannotConnect, ConnectionLost)  # no byte of an answer has come
_CLIENT_LEFT = 499  # as nginx says it; no client sees it
_EVENT_STREAM: tuple[Header, ...] = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
)

parse_url = lru_cache(maxsize=1024)(parse_any_url)


class LanguageModels:
    """Answers the queries of one gateway worker to providers' models."""

    def __init__(
        self,
        settings: Settings,
        http: HttpClient,
        limiter: RateLimiter,
        log: RequestLog,
        guardrails: GuardrailClient,
        engines: EngineReplicas,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._http = http
        self._tokens = AccessTokens(http)
        self._books = Books(limiter, log)
        self._guardrails = guardrails
        self._engines = engines
        self._warming: set[asyncio.Task[None]] = set()
        self._now = now
        self._body_limit = BodyLimit(settings.max_language_request_bytes, settings.request_body_timeout_seconds)

    def sweep(self, table: RoutingTable) -> None:
        """Let go of idle connections, and have loaded what new guardrails need. Never waits."""
        self._http.sweep()
        while table.guarded:
            endpoint = table.guarded.pop()
            guarding = self._guarding(endpoint)
            if guarding is not None:
                task = asyncio.create_task(guarding.warm())
                self._warming.add(task)
                task.add_done_callback(self._warming.discard)

    async def serve(self, query: Query, receive: Receive, send: Send) -> None:
        """Answer a query, whatever comes of it."""
        outcome = Outcome()
        try:
            if query.document is None:
                query.body = await self._body_limit.read(query.request, receive)
                query.document = parse_object(query.body)
            outcome.asked = asked = language_request(query.document, query.surface, query.endpoint.route)
            async with ClientWatch(receive) as outcome.watch:
                await self._answer(query, asked, outcome, send)
        except ClientLeft:
            outcome.partial = True
            self._books.enter(query, outcome, _CLIENT_LEFT)
        except ApiError as error:
            await self._refuse(query, outcome, error, send)
        except Exception:
            if outcome.streamed:
                raise  # the stream has no end then, which clients notice
            _logger.exception("request %s failed", query.request.id.decode())
            await self._refuse(query, outcome, InternalError("The server failed; its log has the request id."), send)
        finally:
            if not outcome.written:  # it failed in the middle of a stream, or the server stops
                outcome.partial = True
                self._books.enter(query, outcome, 500)

    async def _answer(self, query: Query, asked: LanguageRequest, outcome: Outcome, send: Send) -> None:
        """Ask one entity after the other until one answers.

        Raises:
            ApiError: none did; it is the last one's error.
        """
        endpoint = query.endpoint
        guarding = self._guarding(endpoint)
        if guarding is not None and guarding.input:
            outcome.guardrails.append("input")
            asked, refusal = await guarding.checked_request(asked)
            if asked is not outcome.asked:
                outcome.asked = asked
                query.body = orjson.dumps(asked.body)  # what is logged holds nothing that was masked
            if refusal is not None:
                raise refusal
        if query.served_name is not None:
            outcome.why = "named in the path"
            entities = [endpoint.named(query.served_name)]
        else:
            first = endpoint.draw()
            outcome.why = f"drawn by its traffic of {first.route.traffic_percentage} %"
            entities = endpoint.in_order(first, _MOST_ENTITIES)
        for number, served in enumerate(entities, 1):
            outcome.served = served
            last = number == len(entities)
            began = time.monotonic()
            try:
                await self._ask(query, asked, served, outcome, send, hold_until_content=not last)
                return
            except ProviderError as error:
                outcome.note_attempt(error.status, began, error.message)
                if last or outcome.streamed or not error.another_may_answer:
                    raise
                _logger.warning("request %s: %s: %s", query.request.id.decode(), served.name, error.message)
                outcome.why = f"fallback after {error.status}"
                outcome.usage, outcome.characters = None, 0

    def _guarding(self, endpoint: Endpoint) -> Guarding | None:
        if endpoint.route.guardrails is None:
            return None
        if endpoint.guarding is None:
            endpoint.guarding = Guarding(endpoint.route, self._guardrails)
        return endpoint.guarding

    async def _ask(
        self,
        query: Query,
        asked: LanguageRequest,
        served: Served,
        outcome: Outcome,
        send: Send,
        *,
        hold_until_content: bool,
    ) -> None:
        """
        Raises:
            ProviderError: the entity gave no answer, and the client was given no byte of one.
        """
        if served.target is None:
            raise ProviderError(503, f"Served entity '{served.name}' cannot be reached: {served.problem}")
        if served.queued >= self._settings.max_queued_requests:
            raise RequestLimitExceeded("Too many concurrent requests. Try again.")
        call = Call(
            task=asked.surface.task,
            body=asked.body,
            stream=asked.stream,
            id=query.request.id.decode(),
            created=query.began_ms // 1000,
        )
        guarding = self._guarding(query.endpoint)
        watched = guarding is not None and guarding.output and asked.stream
        exchange = exchange_of(asked.surface, served.target, call, by_chunks=watched)
        served.queued += 1
        served.requests += 1
        began = time.monotonic()
        link: EngineLink | None = None
        try:
            if served.route.engine is None:
                response = await self._send(exchange, served.target, asked, outcome)
            else:
                response, link = await self._send_to_engine(query, exchange, served, served.target, asked, outcome)
            try:
                if asked.stream:
                    await self._stream(
                        query, asked, served, exchange, response, began, outcome, send, hold_until_content
                    )
                else:
                    await self._whole(query, served, exchange, response, began, outcome, send)
            finally:
                response.close()
        finally:
            served.queued -= 1
            if link is not None:
                link.outstanding -= 1

    async def _send_to_engine(
        self,
        query: Query,
        exchange: Exchange,
        served: Served,
        target: Target,
        asked: LanguageRequest,
        outcome: Outcome,
    ) -> tuple[HttpResponse, EngineLink]:
        """As `_send`, by one replica of the engine; by another one when the first is gone. It counts the request."""
        name = query.endpoint.route.name
        failed: EngineLink | None = None
        while True:
            link = await self._engines.pick(name, served, failed)
            link.outstanding += 1
            try:
                return await self._send(exchange, target, asked, outcome, link), link
            except BaseException as error:
                link.outstanding -= 1
                if not isinstance(error, ProviderError) or not isinstance(error.__cause__, _NOT_TAKEN):
                    raise
                self._engines.gone(name, link)
                if failed is not None:
                    raise
                failed = link

    async def _send(
        self,
        exchange: Exchange,
        target: Target,
        asked: LanguageRequest,
        outcome: Outcome,
        link: EngineLink | None = None,
    ) -> HttpResponse:
        """The provider's answer with status 200, of which the head has come; that of an engine's replica `link`."""
        began = time.monotonic()
        seconds = self._settings.request_timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                token = await self._tokens.token(exchange.api, target)
                request = _request_of(exchange, token, self._now())
                response = await self._post(request, target, link)
                if response.status != 200:
                    body = await response.read(_LONGEST_ERROR)
                    text = exchange.api.error_text(body)
                    if response.status == 401:
                        self._tokens.forget(target)
                    raise answered_with(target, response.status, text, response.headers, self._now())
        except TimeoutError:
            raise too_late(target, seconds) from None
        except AnswerTooLong as error:
            raise unreadable(target, str(error)) from None
        except (CannotConnect, ConnectionLost) as error:
            raise not_reached(target, str(error)) from error
        finally:
            outcome.provider_seconds += time.monotonic() - began
        return response

    async def _post(self, request: HttpRequest, target: Target, link: EngineLink | None) -> HttpResponse:
        try:
            url: Url = parse_url(request.url)
            if link is not None:
                url = url._replace(origin=origin_of(link))
            return await self._http.post(url, request.headers, request.body)
        except ValueError as error:
            raise ProviderError(503, f"{speaker(target)} cannot be asked: {error}.") from None

    async def _whole(
        self,
        query: Query,
        served: Served,
        exchange: Exchange,
        response: HttpResponse,
        began: float,
        outcome: Outcome,
        send: Send,
    ) -> None:
        assert served.target is not None
        waiting_since = time.monotonic()
        seconds = self._settings.request_timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                body = await response.read(_LONGEST_ANSWER)
        except TimeoutError:
            raise too_late(served.target, seconds) from None
        except ConnectionLost as error:
            raise not_reached(served.target, f"{error}, in the middle of its answer") from None
        except AnswerTooLong as error:
            raise unreadable(served.target, str(error)) from None
        finally:
            outcome.provider_seconds += time.monotonic() - waiting_since
        try:
            answer, outcome.usage = exchange.answer(body)
        except UnreadableAnswer as error:
            raise unreadable(served.target, str(error)) from None
        outcome.note_attempt(200, began, "")
        guarding = self._guarding(query.endpoint)
        if guarding is not None and guarding.output and outcome.asked is not None:
            outcome.guardrails.append("output")
            answer, refusal = await guarding.checked_answer(outcome.asked.surface, answer, outcome.usage)
            if refusal is not None:
                raise refusal
        outcome.sent.append(answer)
        headers = answer_headers(query, served, outcome)
        self._books.enter(query, outcome, 200)
        headers.append(JSON)
        headers.append((b"content-length", b"%d" % len(answer)))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def _stream(
        self,
        query: Query,
        asked: LanguageRequest,
        served: Served,
        exchange: Exchange,
        response: HttpResponse,
        began: float,
        outcome: Outcome,
        send: Send,
        hold_until_content: bool,
    ) -> None:
        """Pass events on as they come, from the first one on, or from the first with content of an answer on."""
        assert served.target is not None
        relay = exchange.relay()
        guarding = self._guarding(query.endpoint)
        passed = guarding.stream(relay) if guarding is not None else UnguardedEvents(relay)
        if guarding is not None and guarding.output:
            outcome.guardrails.append("output")
        held = b""
        try:
            while True:
                events, more = await self._events(served.target, relay, passed, response, outcome)
                if events and query.endpoint.logs:
                    outcome.keep(events, self._settings.payload_max_bytes)
                if not more:
                    break
                if outcome.streamed:
                    if events:
                        await self._give(events, send)
                    continue
                held += events
                if held and (relay.content_seen or not hold_until_content):
                    await self._begin_stream(query, served, outcome, began, send)
                    await self._give(held, send)
                    held = b""
        except ApiError as error:
            outcome.usage, outcome.characters = relay.usage, relay.characters
            if not outcome.streamed:
                outcome.sent.clear()
                outcome.sent_bytes = 0
                raise
            outcome.partial = True
            outcome.note_attempt(error.status, began, error.message)
            last = passed.unsent() + relay.error(error)
            outcome.sent.append(last)
            self._books.enter(query, outcome, error.status)
            await send({"type": "http.response.body", "body": last})
            return
        except BaseException:
            outcome.usage, outcome.characters = relay.usage, relay.characters
            raise
        outcome.usage, outcome.characters = relay.usage, relay.characters
        if not outcome.streamed:
            await self._begin_stream(query, served, outcome, began, send)
        self._books.enter(query, outcome, 200 if relay.failure is None else status_for_client(relay.failure.status))
        await send({"type": "http.response.body", "body": held + events})
        if outcome.watch is not None:
            outcome.watch.stop()
        await _drain(response)

    async def _give(self, events: bytes, send: Send) -> None:
        """
        Raises:
            ClientLeft: the client does not take them, and would hold a provider's connection for as long as it likes.
        """
        try:
            async with asyncio.timeout(self._settings.stream_idle_seconds):
                await send({"type": "http.response.body", "body": events, "more_body": True})
        except TimeoutError:
            raise ClientLeft() from None

    async def _events(
        self, target: Target, relay: Relay, passed: StreamEvents, response: HttpResponse, outcome: Outcome
    ) -> tuple[bytes, bool]:
        """The next events of the client, and whether there may be more.

        Raises:
            ProviderError: the stream failed, was cut off, cannot be read, or stands still.
            GuardrailTriggered: it must not go on.
            GuardrailsUnavailable: it could not be checked.
        """
        seconds = _DRAIN_SECONDS if relay.finished else self._settings.stream_idle_seconds
        began = time.monotonic()
        data = b""
        try:
            async with asyncio.timeout(seconds):
                data = await response.chunk()
        except TimeoutError:
            if not relay.finished:
                raise too_late(target, seconds) from None
        except ConnectionLost as error:
            if not relay.finished:
                raise not_reached(target, f"{error}, in the middle of its stream") from None
        finally:
            outcome.provider_seconds += time.monotonic() - began
        try:
            if data:
                return await passed.feed(data), not relay.ended
            events = await passed.end()
        except StreamFailed as failure:
            raise answered_with(target, failure.status, str(failure), {}, self._now()) from None
        except (UnreadableAnswer, EventTooLong) as error:
            raise unreadable(target, str(error)) from None
        if not relay.finished:
            raise not_reached(target, "its stream ended in the middle")
        return events, False

    async def _begin_stream(
        self, query: Query, served: Served, outcome: Outcome, began: float, send: Send
    ) -> None:
        outcome.streamed = True
        outcome.note_attempt(200, began, "")
        headers = answer_headers(query, served, outcome)
        headers.extend(_EVENT_STREAM)
        await send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _refuse(self, query: Query, outcome: Outcome, error: ApiError, send: Send) -> None:
        body = orjson.dumps(error_document(query.surface, error))
        outcome.sent[:] = [body]
        headers: list[Header] = [(name.lower().encode(), value.encode()) for name, value in error.headers.items()]
        headers += answer_headers(query, outcome.served, outcome)
        self._books.enter(query, outcome, error.status)
        headers.append(JSON)
        headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": error.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _request_of(exchange: Exchange, token: AccessToken | None, now: datetime) -> HttpRequest:
    """
    Raises:
        BadRequest: the provider could not take the body; the message names the field.
    """
    try:
        return exchange.request(token, now)
    except (orjson.JSONEncodeError, RecursionError) as error:
        # A text of the body may stand for JSON, such as the arguments of a call, which may be nested more deeply.
        if "ecursion" not in str(error):
            raise
        raise BadRequest("The request body has a text with JSON that is nested too deeply.") from None


async def _drain(response: HttpResponse) -> None:
    """Read what comes after the last event: nothing but the end. The connection can then be used again."""
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            while await response.chunk():
                pass
    except (TimeoutError, ConnectionLost):
        return  # it is closed then
