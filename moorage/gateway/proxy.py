"""Streaming pass-through to the control plane and to MLflow."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import orjson
from yarl import URL

from moorage.api.errors import BadRequest, EndpointNotFound, PermissionDenied, TemporarilyUnavailable
from moorage.api.mlflow_credential import authorization
from moorage.api.principal import encode_principal
from moorage.api.registry_access import (
    LONGEST_ANSWER,
    LONGEST_REQUEST,
    REGISTERED_FILES,
    RegistryDecision,
    RegistryRequest,
)
from moorage.api.routing import CLIENT_HEADER, INTERNAL_HEADER, PRINCIPAL_HEADER, Principal
from moorage.datadir import DataDirectory
from moorage.gateway.artifact_uris import LONGEST_REQUEST as LONGEST_TRANSLATED
from moorage.gateway.artifact_uris import Answer as TranslatedAnswer
from moorage.gateway.artifact_uris import (
    creates_experiment,
    files_read,
    from_databricks_client,
    require_own_place,
    require_unregistered,
)
from moorage.gateway.artifact_uris import to_databricks as uris_for_databricks
from moorage.gateway.artifact_uris import to_mlflow as uris_for_mlflow
from moorage.gateway.registry_access import RegistryGate, gated_operation
from moorage.settings import Settings

_logger = logging.getLogger(__name__)

_MLFLOW_PATH = re.compile(r"/(?:api|ajax-api)/\d+\.\d+/mlflow(?:-artifacts)?(?:/|$)|/mlflow(?:/|$)")
# What Databricks has beside MLflow's own API, at paths below it. Clients try the newest and go back to an older one.
_CONTROL_MLFLOW_PATH = re.compile(
    r"(?:/(?:api|ajax-api)/\d+\.\d+)?/mlflow/(?:databricks|unity-catalog|comments|transition-requests|registry-webhooks)/"
    r"|/(?:api|ajax-api)/\d+\.\d+/mlflow/(?:registered-models/list|model-versions/(?:list-artifacts|get-signed-download-uri)"
    r"|artifacts/credentials-for-(?:read|write)|logged-models/[^/]+/artifacts/credentials-for-(?:download|upload)"
    r"|traces/[^/]+/credentials-for-data-(?:download|upload))/?$"
    r"|/(?:api|ajax-api)/[4-9]\.\d+/mlflow/"
)
_FILES = ("/api/2.0/fs/", "/ajax-api/2.0/fs/")
_HOP_BY_HOP = {
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"te", b"trailer",
    b"transfer-encoding", b"upgrade", b"host", b"expect",
}  # fmt: skip
_TOKEN_PATH = "/oidc/v1/token"
_PRIVATE_PREFIX = b"x-moorage-"
_CREDENTIALS = {b"authorization", b"cookie", b"origin", b"referer"}
_WORKSPACE_HEADER = b"x-databricks-org-id"
_MLFLOW_API = re.compile(r"/(?:ajax-)?api/\d+\.\d+/mlflow/")
_JSON = "application/json"
_CHUNK_BYTES = 64 * 1024
_HEALTH_SECONDS = 2.0
# Servers close connections that are idle for 2 s (Gunicorn) or 5 s (Uvicorn): a change sent at that moment is lost.
_IDLE_SECONDS = 1.0
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
                connector = aiohttp.UnixConnector(path=self._socket_path, limit=0, keepalive_timeout=_IDLE_SECONDS)
            else:
                connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_SECONDS)
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

    def __init__(self, settings: Settings, data: DataDirectory, workspace_id: str) -> None:
        self._workspace_id = workspace_id.encode()
        self._limit = settings.max_request_bytes
        self._body_seconds = settings.request_body_timeout_seconds
        self._control = _Upstream("control plane", "http://localhost", str(data.control_socket))
        if settings.mlflow_uri is None:
            self._mlflow = _Upstream("MLflow server", "http://localhost", str(data.mlflow_socket))
        else:
            self._mlflow = _Upstream("MLflow server", settings.mlflow_uri, None, strip_prefix="/mlflow")
        self._mlflow_credentials = authorization(os.environ) if settings.mlflow_uri else {}
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
        if path.startswith("/internal"):
            raise EndpointNotFound(f"No API found for '{scope['method']} {path}'")
        _refuse_other_sites(scope["headers"])
        to_mlflow = bool(_MLFLOW_PATH.match(path)) and not _CONTROL_MLFLOW_PATH.match(path)
        upstream = self._mlflow if to_mlflow else self._control
        headers = _passed_on(scope["headers"], to_mlflow, path == _TOKEN_PATH)
        headers.append(("x-request-id", request_id.decode()))
        if to_mlflow:
            require_unregistered(scope["method"], path)
            headers += self._mlflow_credentials.items()
            if not self._external_mlflow:
                headers.append(("host", "localhost"))
        else:
            host = next((v.decode("latin-1") for k, v in scope["headers"] if k == b"host"), "localhost")
            headers.append(("host", host))
            headers.append((CLIENT_HEADER, (scope.get("client") or ("",))[0]))
            if caller is not None:
                headers.append((PRINCIPAL_HEADER, encode_principal(caller)))
        passing = await self._passing(scope, receive, caller if to_mlflow else None)
        raw_path = (scope.get("raw_path") or path.encode()).decode("latin-1").partition("?")[0]
        url = upstream.url(raw_path, scope["query_string"].decode("latin-1"))
        started = False
        try:
            async with upstream.session().request(
                scope["method"], url, headers=passing.headers(headers), data=passing.data, allow_redirects=False
            ) as answer:
                shown: bytes | None = None
                if passing.ticket is not None and answer.status == 200:
                    shown = await self._registry.show(passing.ticket, await _all_of(answer))
                    shown = uris_for_databricks(shown) if passing.translated else shown
                out = [
                    (name.lower(), value)
                    for name, value in answer.raw_headers
                    if name.lower() not in _HOP_BY_HOP and name.lower() not in (b"server", b"date", b"x-request-id")
                ]
                translated = passing.translated and shown is None and answer.content_type == _JSON
                if shown is not None or translated:
                    out = [(name, value) for name, value in out if name != b"content-length"]
                if shown is not None:
                    out.append((b"content-length", b"%d" % len(shown)))
                if passing.translated:
                    out.append((_WORKSPACE_HEADER, self._workspace_id))
                out.append((b"x-request-id", request_id))
                await send({"type": "http.response.start", "status": answer.status, "headers": out})
                started = True
                if shown is not None:
                    await send({"type": "http.response.body", "body": shown, "more_body": True})
                elif translated:
                    await _pass_translated(answer, send)
                elif answer.content_type == _EVENT_STREAM and passing.body.is_read:
                    await self._pass_events(answer, receive, send)
                else:
                    await _pass_chunks(answer, send)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            if passing.body.refusal is not None:
                raise passing.body.refusal from None
            _logger.warning("request %s: %s: %s", request_id.decode(), upstream.name, type(error).__name__)
            if started:
                raise
            raise TemporarilyUnavailable(f"The {upstream.name} does not answer at the moment.") from None

    async def _passing(self, scope: MutableMapping[str, Any], receive: Receive, caller: Principal | None) -> _Passing:
        """What is sent on, and what is to be done with the answer; `caller` is who asks MLflow, None for others.

        Raises:
            ApiError: the control plane lets it not pass to the model registry, or its body does not come.
        """
        headers, path = scope["headers"], scope["path"]
        if caller is None:
            limit = None if path.startswith(_FILES) and scope["method"] == "PUT" else self._limit
            body = _Body(headers, receive, limit)
            return _Passing(body, body.stream())
        translated = from_databricks_client(headers, path)
        if not (caller.admin or caller.reads_every_model):
            files = files_read(scope["method"], path, scope["query_string"].decode("latin-1"))
            if files is not None:
                await self._registry.ask(
                    RegistryRequest(principal=caller, method="GET", operation=REGISTERED_FILES, query=files)
                )
        operation = gated_operation(caller, scope["method"], path)
        if operation is not None:
            body = _Body(headers, receive, LONGEST_REQUEST)
            data = await body.read(self._body_seconds)
            data = uris_for_mlflow(data, path) if translated else data
            data = data or _named_in_query(scope)
            decision = await self._may_pass(scope, caller, operation, data)
            return _Passing(body, decision.body or data, decision.ticket, translated)
        if creates_experiment(scope["method"], path):
            body = _Body(headers, receive, LONGEST_REQUEST)
            data = await body.read(self._body_seconds)
            require_own_place(data, admin=caller.admin)
            return _Passing(body, uris_for_mlflow(data, path) if translated else data, None, translated)
        body = _Body(headers, receive, None)
        if body.is_read and (named := _named_in_query(scope)):
            return _Passing(body, named, None, translated)
        if translated and body.is_at_most(LONGEST_TRANSLATED):
            return _Passing(body, uris_for_mlflow(await body.read(self._body_seconds), path), None, translated)
        return _Passing(body, body.stream(), None, translated)

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


async def _pass_translated(answer: aiohttp.ClientResponse, send: Send) -> None:
    """The JSON document in the form of Databricks clients."""
    document = TranslatedAnswer()
    async for chunk in answer.content.iter_any():
        await send({"type": "http.response.body", "body": document.feed(chunk), "more_body": True})
    await send({"type": "http.response.body", "body": document.end(), "more_body": True})


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
        self._length = names.get(b"content-length", b"")
        self._present = self._length not in (b"", b"0") or b"transfer-encoding" in names
        self.is_read = not self._present
        self.refusal: BadRequest | None = None

    def stream(self) -> AsyncIterator[bytes] | None:
        return self._chunks() if self._present else None

    def is_at_most(self, size: int) -> bool:
        """Whether there is one that says that it is no longer than that."""
        return self._present and self._length.isdigit() and int(self._length) <= size

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


@dataclass(frozen=True, slots=True)
class _Passing:
    """What of a request goes on. With a `ticket` its answer is shown to the control plane first.

    `translated` is of a Databricks client: its answer names artifacts in the form that such clients read.
    """

    body: _Body
    data: AsyncIterator[bytes] | bytes | None
    ticket: str | None = None
    translated: bool = False

    def headers(self, passed_on: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Without those that are not true of what is sent and asked for here."""
        dropped = {"content-length"} if isinstance(self.data, bytes) else set()
        if self.ticket is not None or self.translated:
            dropped.add("accept-encoding")
        return [(name, value) for name, value in passed_on if name not in dropped]


def _named_in_query(scope: MutableMapping[str, Any]) -> bytes:
    """The body for a DELETE that says in its query what to delete, as the SDK does: MLflow reads bodies only."""
    if scope["method"] != "DELETE" or not scope["query_string"] or not _MLFLOW_API.match(scope["path"]):
        return b""
    return orjson.dumps(dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)))


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
