"""Streaming pass-through to the control plane and to MLflow."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from moorage.api.errors import BadRequest, EndpointNotFound, PermissionDenied, TemporarilyUnavailable
from moorage.api.principal import encode_principal
from moorage.api.registry_access import LONGEST_ANSWER, LONGEST_REQUEST, RegistryDecision, RegistryRequest
from moorage.api.routing import CLIENT_HEADER, INTERNAL_HEADER, PRINCIPAL_HEADER, Principal
from moorage.datadir import DataDirectory
from moorage.gateway.registry_access import RegistryGate, gated_operation
from moorage.settings import Settings

_logger = logging.getLogger(__name__)

_MLFLOW_PATH = re.compile(r"/(?:api|ajax-api)/\d+\.\d+/mlflow(?:-artifacts)?(?:/|$)|/mlflow(?:/|$)")
_CONTROL_MLFLOW_PATH = re.compile(r"(?:/(?:api|ajax-api)/\d+\.\d+)?/mlflow/(?:databricks|unity-catalog)/")
_HOP_BY_HOP = {
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"te", b"trailer",
    b"transfer-encoding", b"upgrade", b"host", b"expect",
}  # fmt: skip
_TOKEN_PATH = "/oidc/v1/token"
_PRIVATE_PREFIX = b"x-moorage-"
_CREDENTIALS = {b"authorization", b"cookie", b"origin", b"referer"}
_OF_THE_BODY_SENT = {"content-length", "accept-encoding"}  # another body may go, and an answer is read here
_CHUNK_BYTES = 64 * 1024
_HEALTH_SECONDS = 2.0
_EVENT_STREAM = "text/event-stream"

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class _Upstream:
    """A server behind this one: reached over a Unix socket or at a URL."""

    def __init__(self, name: str, base: str, socket_path: str | None, strip_prefix: str = "") -> None:
        self.name = name
        self._base = base
        self._strip_prefix = strip_prefix
        self._socket_path = socket_path
        self._session: aiohttp.ClientSession | None = None

    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector: aiohttp.BaseConnector
            if self._socket_path is not None:
                connector = aiohttp.UnixConnector(path=self._socket_path, limit=0)
            else:
                connector = aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(
                connector=connector,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
                skip_auto_headers=("User-Agent", "Accept-Encoding", "Content-Type", "Accept"),
                read_bufsize=_CHUNK_BYTES,
            )
        return self._session

    def url(self, raw_path: str, query: str) -> URL:
        path = raw_path
        if self._strip_prefix and path.startswith(self._strip_prefix):
            path = path[len(self._strip_prefix) :] or "/"
        return URL(f"{self._base}{path}{'?' + query if query else ''}", encoded=True)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


class Upstreams:
    """The control plane and MLflow, as one gateway worker reaches them."""

    def __init__(self, settings: Settings, data: DataDirectory) -> None:
        self._limit = settings.max_request_bytes
        self._body_seconds = settings.request_body_timeout_seconds
        self._control = _Upstream("control plane", "http://localhost", str(data.control_socket))
        if settings.mlflow_uri is None:
            self._mlflow = _Upstream("MLflow server", "http://localhost", str(data.mlflow_socket))
        else:
            self._mlflow = _Upstream("MLflow server", settings.mlflow_uri, None, strip_prefix="/mlflow")
        token = os.environ.get("MLFLOW_TRACKING_TOKEN")
        self._mlflow_credentials = {"authorization": f"Bearer {token}"} if token and settings.mlflow_uri else {}
        self._external_mlflow = settings.mlflow_uri is not None
        self._registry = RegistryGate(self._control.session)
        self._stopping = asyncio.Event()

    def end_streams(self) -> None:
        """End every event stream, from now on too: they do not end by themselves, and the server stops."""
        self._stopping.set()

    async def close(self) -> None:
        """End the connections."""
        await self._control.close()
        await self._mlflow.close()

    def control_session(self) -> aiohttp.ClientSession:
        """The session on which this worker follows the control plane."""
        return self._control.session()

    async def health(self, routing_loaded: bool) -> tuple[int, dict[str, Any]]:
        """Status and document of `GET /health`: ready, or which part is not and why."""
        parts = {
            "gateway": "ok" if routing_loaded else "no routing snapshot yet",
            "control_plane": await self._probe(self._control, "/internal/health"),
            "mlflow": await self._probe(self._mlflow, "/health"),
        }
        ready = all(word == "ok" for word in parts.values())
        document = {"status": "ready" if ready else "not_ready", "components": parts}
        return (200 if ready else 503), document

    async def _probe(self, upstream: _Upstream, path: str) -> str:
        headers = {INTERNAL_HEADER: "1"} if upstream is self._control else self._mlflow_credentials
        timeout = aiohttp.ClientTimeout(total=_HEALTH_SECONDS)
        try:
            async with upstream.session().get(upstream.url(path, ""), headers=headers, timeout=timeout) as answer:
                return "ok" if answer.status == 200 else f"answers {answer.status}"
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return f"not reachable ({type(error).__name__})"

    async def forward(
        self,
        scope: MutableMapping[str, Any],
        receive: Receive,
        send: Send,
        caller: Principal | None,
        request_id: bytes,
    ) -> None:
        """Pass the request on and stream the answer back.

        Raises:
            TemporarilyUnavailable: the server behind does not answer.
            ApiError: the control plane lets it not pass to the model registry.
            EndpointNotFound: the path belongs to this server's own processes.
            PermissionDenied: a browser sent it from another site.
        """
        path: str = scope["path"]
        to_mlflow = bool(_MLFLOW_PATH.match(path)) and not _CONTROL_MLFLOW_PATH.match(path)
        upstream = self._mlflow if to_mlflow else self._control
        if path.startswith("/internal"):
            raise EndpointNotFound(f"No API found for '{scope['method']} {path}'")
        _refuse_other_sites(scope["headers"])
        headers = _passed_on(scope["headers"], to_mlflow, path == _TOKEN_PATH)
        headers.append(("x-request-id", request_id.decode()))
        if to_mlflow:
            headers += self._mlflow_credentials.items()
            if not self._external_mlflow:
                headers.append(("host", "localhost"))
        else:
            host = next((v.decode("latin-1") for k, v in scope["headers"] if k == b"host"), "localhost")
            headers.append(("host", host))
            headers.append((CLIENT_HEADER, (scope.get("client") or ("",))[0]))
            if caller is not None:
                headers.append((PRINCIPAL_HEADER, encode_principal(caller)))
        body = _Body(scope["headers"], receive, None if to_mlflow else self._limit)
        data: AsyncIterator[bytes] | bytes | None = body.stream()
        ticket: str | None = None
        operation = gated_operation(caller, scope["method"], path) if to_mlflow and caller is not None else None
        if caller is not None and operation is not None:
            body = _Body(scope["headers"], receive, LONGEST_REQUEST)
            data = await body.read(self._body_seconds)
            decision = await self._may_pass(scope, caller, operation, data)
            data, ticket = decision.body or data, decision.ticket
            headers = [(name, value) for name, value in headers if name not in _OF_THE_BODY_SENT]
        raw_path = (scope.get("raw_path") or path.encode()).decode("latin-1").partition("?")[0]
        url = upstream.url(raw_path, scope["query_string"].decode("latin-1"))
        started = False
        try:
            async with upstream.session().request(
                scope["method"], url, headers=headers, data=data, allow_redirects=False
            ) as answer:
                shown: bytes | None = None
                if ticket is not None and answer.status == 200:
                    shown = await self._registry.show(ticket, await _all_of(answer))
                out = [
                    (name.lower(), value)
                    for name, value in answer.raw_headers
                    if name.lower() not in _HOP_BY_HOP and name.lower() not in (b"server", b"date", b"x-request-id")
                ]
                if shown is not None:
                    out = [(name, value) for name, value in out if name != b"content-length"]
                    out.append((b"content-length", b"%d" % len(shown)))
                out.append((b"x-request-id", request_id))
                await send({"type": "http.response.start", "status": answer.status, "headers": out})
                started = True
                if shown is not None:
                    await send({"type": "http.response.body", "body": shown, "more_body": True})
                elif answer.content_type == _EVENT_STREAM and body.is_read:
                    await self._pass_events(answer, receive, send)
                else:
                    await _pass_chunks(answer, send)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            if body.refusal is not None:
                raise body.refusal from None
            _logger.warning("request %s: %s: %s", request_id.decode(), upstream.name, type(error).__name__)
            if started:
                raise
            raise TemporarilyUnavailable(f"The {upstream.name} does not answer at the moment.") from None

    async def _may_pass(
        self, scope: MutableMapping[str, Any], caller: Principal, operation: str, body: bytes
    ) -> RegistryDecision:
        if any(name == b"content-encoding" and value != b"identity" for name, value in scope["headers"]):
            raise BadRequest("A Content-Encoding is not supported here: send the body uncompressed.")
        query = scope["query_string"].decode("latin-1")
        return await self._registry.ask(
            RegistryRequest(principal=caller, method=scope["method"], operation=operation, query=query, body=body)
        )

    async def _pass_events(self, answer: aiohttp.ClientResponse, receive: Receive, send: Send) -> None:
        """Pass an event stream on until it ends, the client leaves, or the server stops.

        Where nothing happens nothing is sent, and a client that has left would not be noticed by sending.
        """
        passing = asyncio.create_task(_pass_chunks(answer, send))
        tasks = {passing, asyncio.create_task(_left(receive)), asyncio.create_task(self._stopping.wait())}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if not passing.cancelled() and (error := passing.exception()) is not None:
            if not isinstance(error, aiohttp.ClientError | OSError):
                raise error
            # The server behind ended: so does the stream, and the client follows again from where it was.
            _logger.info("an event stream broke off: %s", type(error).__name__)


async def _pass_chunks(answer: aiohttp.ClientResponse, send: Send) -> None:
    async for chunk in answer.content.iter_any():
        await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def _all_of(answer: aiohttp.ClientResponse) -> bytes:
    """
    Raises:
        BadRequest: it is longer than what the control plane looks through.
    """
    content = bytearray()
    async for chunk in answer.content.iter_any():
        content += chunk
        if len(content) > LONGEST_ANSWER:
            raise BadRequest(f"The answer is over {LONGEST_ANSWER} bytes: ask for less at a time with 'max_results'.")
    return bytes(content)


async def _left(receive: Receive) -> None:
    """Return when the client has gone. Its body was read before."""
    while (await receive())["type"] != "http.disconnect":
        pass


class _Body:
    """The request's body as a stream, or nothing when the request has none."""

    def __init__(
        self,
        headers: list[tuple[bytes, bytes]],
        receive: Receive,
        limit: int | None,
    ) -> None:
        self._receive = receive
        self._limit = limit
        names = {name: value for name, value in headers if name in (b"content-length", b"transfer-encoding")}
        self._present = names.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in names
        self.is_read = not self._present
        self.refusal: BadRequest | None = None

    def stream(self) -> AsyncIterator[bytes] | None:
        return self._chunks() if self._present else None

    async def read(self, seconds: float) -> bytes:
        """All of it.

        Raises:
            BadRequest: it is over the limit, or does not arrive within that many seconds.
        """
        if not self._present:
            return b""
        try:
            async with asyncio.timeout(seconds):
                return b"".join([chunk async for chunk in self._chunks()])
        except TimeoutError:
            raise BadRequest(f"The request body did not arrive within {seconds:.0f} s.") from None
        except ConnectionResetError:
            raise self.refusal or BadRequest("The client left before it had sent its body.") from None

    async def _chunks(self) -> AsyncIterator[bytes]:
        size, more = 0, True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ConnectionResetError("the client left")
            chunk = message.get("body", b"")
            size += len(chunk)
            if self._limit is not None and size > self._limit:
                self.refusal = BadRequest(f"The request body is over the limit of {self._limit} bytes.")
                raise ConnectionResetError("the body is over the limit")
            if chunk:
                yield chunk
            more = message.get("more_body", False)
        self.is_read = True


def _passed_on(
    headers: list[tuple[bytes, bytes]], to_mlflow: bool, for_a_token: bool
) -> list[tuple[str, str]]:
    # Where tokens are made the credential is an OAuth client's, which only the control plane knows.
    dropped = _HOP_BY_HOP | {b"x-request-id"} | (_CREDENTIALS if to_mlflow else {b"authorization"})
    if for_a_token:
        dropped = dropped - {b"authorization"}
    return [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in headers
        if name not in dropped and not name.startswith(_PRIVATE_PREFIX)
    ]


def _refuse_other_sites(headers: list[tuple[bytes, bytes]]) -> None:
    """A browser keeps Basic credentials and sends them from any page; only this server's own pages may use them."""
    found = {name: value.decode("latin-1") for name, value in headers if name in (b"origin", b"host")}
    origin = found.get(b"origin")
    if origin is not None and urlsplit(origin).netloc != found.get(b"host"):
        raise PermissionDenied(f"Requests from pages of '{origin}' are not accepted.")
