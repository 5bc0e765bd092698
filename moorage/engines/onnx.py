"""The engine for embedding models on the ONNX runtime: OpenAI's embeddings API on uvicorn."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn

from moorage.engines import embedding_requests
from moorage.engines.batching import Batches
from moorage.engines.config import EMBEDDINGS, EngineConfig
from moorage.engines.embedding_model import EmbeddingModel, Pooling, Tokens, Vectors
from moorage.engines.embedding_requests import BadEmbeddingsRequest, EmbeddingsRequest
from moorage.engines.process import EngineError
from moorage.engines.sockets import first_name
from moorage.replica.process import log

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_LARGEST_BODY = 32 * 1024 * 1024
_TOKENIZED_AT_ONCE = 256  # texts
_JSON = "application/json"
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class _ClientGone(Exception):
    """Nobody waits for the answer."""


class OnnxEngine:
    """`process.Engine`. The event loop has a thread of its own, and so has the model."""

    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        self._api: EmbeddingsApi | None = None
        self._thread: threading.Thread | None = None

    def load(self) -> None:
        """See `process.Engine`."""
        config = self._config
        if config.task != EMBEDDINGS:
            raise EngineError(f"the engine onnx is for {EMBEDDINGS}, not for {config.task}")
        try:
            pooling = Pooling(config.pooling or Pooling.MEAN)
        except ValueError:
            raise EngineError(f"there is no pooling {config.pooling!r}; there are {', '.join(Pooling)}") from None
        tokenizer = config.tokenizer or config.weights.with_name("tokenizer.json")
        model = EmbeddingModel(
            config.weights, tokenizer, context=config.context, threads=config.threads, pooling=pooling
        )
        self._api = EmbeddingsApi(model, config.served_name)
        self._serve(self._api)

    def working(self) -> bool:
        """Whether a request has come that has no answer yet."""
        return self._api is not None and self._api.processing > 0

    def ended(self) -> str:
        """See `process.Engine`."""
        if self._thread is not None and not self._thread.is_alive():
            return "the server of the engine ended by itself"
        return ""

    def close(self) -> None:
        """See `process.Engine`. The threads are gone with the process."""

    def _serve(self, api: EmbeddingsApi) -> None:
        name = first_name(self._config)
        (self._config.folder / name).unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(name)
        listener.listen(1024)
        server = uvicorn.Server(
            uvicorn.Config(
                api, lifespan="off", log_config=None, access_log=False, loop="uvloop", http="httptools", ws="none"
            )
        )
        self._thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listener]}, name="moorage-http", daemon=True
        )
        self._thread.start()
        # The kernel keeps who connects before uvicorn takes over.


class EmbeddingsApi:
    """The ASGI application."""

    def __init__(self, model: EmbeddingModel, name: str) -> None:
        self._model = model
        self._name = name
        self._batches = Batches(model.embed)
        self.processing = 0
        self._requests = 0
        self._failed = 0
        self._texts = 0
        self._tokens = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers one request."""
        assert scope["type"] == "http"
        method, path = scope["method"], scope["path"]
        if path == "/v1/embeddings":
            if method == "POST":
                await self._embeddings(receive, send)
            else:
                await _send(send, 405, embedding_requests.error("Only POST is allowed here.", 405))
        elif method != "GET":
            await _send(send, 404, embedding_requests.error(f"This model gives embeddings; there is no {path}.", 404))
        elif path == "/health":
            await _send(send, 200, b'{"status":"ok"}')
        elif path == "/metrics":
            await _send(send, 200, self.metrics().encode(), _PROMETHEUS)
        else:
            await _send(send, 404, embedding_requests.error(f"There is no {path}.", 404))

    def metrics(self) -> str:
        """In Prometheus' text format."""
        rows = [
            ("requests_processing", "gauge", "Requests without an answer yet", self.processing),
            ("requests_deferred", "gauge", "Those of them with texts that wait for the model", self._batches.waiting),
            ("requests_total", "counter", "Requests that were answered", self._requests),
            ("requests_failed_total", "counter", "Those of them with an error", self._failed),
            ("texts_total", "counter", "Texts that were embedded", self._texts),
            ("prompt_tokens_total", "counter", "Tokens of these texts", self._tokens),
        ]
        return "".join(
            f"# HELP onnx:{name} {words}\n# TYPE onnx:{name} {kind}\nonnx:{name} {value}\n"
            for name, kind, words, value in rows
        )

    async def _embeddings(self, receive: Receive, send: Send) -> None:
        self.processing += 1
        try:
            status, body = await self._answer(receive)
            self._requests += 1
            self._failed += status != 200
            await _send(send, status, body)
        except _ClientGone:
            return
        finally:
            self.processing -= 1

    async def _answer(self, receive: Receive) -> tuple[int, bytes]:
        try:
            request = embedding_requests.read_request(await _body(receive), self._model.dimensions)
            rows = await self._tokenized(request)
            vectors = await _unless_gone(self._batches.embed(rows), receive)
        except BadEmbeddingsRequest as error:
            return 400, embedding_requests.error(str(error), 400, error.param)
        except _TooLarge:
            words = f"The request is larger than {_LARGEST_BODY >> 20} MiB."
            return 413, embedding_requests.error(words, 413)
        except _ClientGone:
            raise
        except Exception as error:  # noqa: BLE001  the runtime raises what it likes; the server stays
            log("ERROR", f"a request for embeddings failed: {type(error).__name__}: {error}")
            return 500, embedding_requests.error("The model failed on this request.", 500)
        tokens = embedding_requests.count(rows)
        self._texts += len(rows)
        self._tokens += tokens
        return 200, await asyncio.to_thread(embedding_requests.answer, request, vectors, tokens, self._name)

    async def _tokenized(self, request: EmbeddingsRequest) -> list[Tokens]:
        """
        Raises:
            BadEmbeddingsRequest: a text is longer than the context.
        """
        context = self._model.context
        for index, text in enumerate(request.texts):
            if self._model.too_long(text):
                raise embedding_requests.over_the_context(request.place(index), None, context)
        rows: list[Tokens] = []
        for at in range(0, len(request.texts), _TOKENIZED_AT_ONCE):
            rows += await asyncio.to_thread(self._model.tokenize, request.texts[at : at + _TOKENIZED_AT_ONCE])
        for index, row in enumerate(rows):
            if len(row) > context:
                raise embedding_requests.over_the_context(request.place(index), len(row), context)
        return rows


class _TooLarge(Exception):
    """A body is larger than the server takes."""


async def _body(receive: Receive) -> bytes:
    parts = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientGone
        part = message.get("body", b"")
        size += len(part)
        if size > _LARGEST_BODY:
            raise _TooLarge
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


async def _unless_gone(work: Awaitable[Vectors], receive: Receive) -> Vectors:
    """What `work` gives; it is given up when the client goes away.

    Raises:
        _ClientGone: it did.
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(receive())
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise _ClientGone
    finally:
        task.cancel()
        gone.cancel()


async def _send(send: Send, status: int, body: bytes, content_type: str = _JSON) -> None:
    headers = [(b"content-type", content_type.encode()), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
