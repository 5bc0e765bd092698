"""The guardrail process: takes the texts of gateways on a Unix socket, and answers with what it finds."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from moorage.guardrails import frames
from moorage.guardrails.checks import CheckedText, Checker, Parameters
from moorage.guardrails.failures import Cause, CheckFailed
from moorage.guardrails.verdict import Direction

_logger = logging.getLogger(__name__)

MOST_AT_ONCE = 16
MOST_WAITING = 512
_READ_BYTES = 1 << 20
_LONGEST_SECONDS = 120.0
_BUSY = "The guardrails have too many texts to check."
_LATE = "The guardrails did not get through the text in time."
_FAILED = "A detector of the guardrails failed; their log says why."


class GuardrailServer:
    """Serves any number of gateways. Checks wait their turn, and the time that they wait counts."""

    def __init__(self, checker: Checker) -> None:
        self._checker = checker
        self._slots = asyncio.Semaphore(MOST_AT_ONCE)
        self._connections: set[_Connection] = set()
        self._served: set[asyncio.Task[Any]] = set()

    async def serve(self, path: Path, stop: asyncio.Event) -> None:
        """Listen until `stop` is set."""
        path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._serve_connection, path)
        _logger.info("guardrails listen at %s", path)
        try:
            await stop.wait()
        finally:
            server.close()
            for connection in list(self._connections):
                connection.close()
            await asyncio.gather(*self._served)

    async def answer(self, frame: dict[str, Any]) -> dict[str, Any]:
        """The answer to a check or a warm-up, without its id."""
        try:
            seconds = min(float(frame.get("seconds", _LONGEST_SECONDS)), _LONGEST_SECONDS)
            async with asyncio.timeout(seconds):
                return await self._answer(frame)
        except TimeoutError:
            return _problem(Cause.UNAVAILABLE, _LATE)
        except CheckFailed as failure:
            return _problem(failure.cause, str(failure))
        except (KeyError, TypeError, ValueError) as error:
            _logger.exception("a frame could not be understood, or a detector failed")
            return _problem(Cause.UNAVAILABLE, f"{_FAILED} ({type(error).__name__})")
        except Exception:
            _logger.exception("a check failed")
            return _problem(Cause.UNAVAILABLE, _FAILED)

    async def _answer(self, frame: dict[str, Any]) -> dict[str, Any]:
        direction = Direction(frame["direction"])
        parameters = Parameters.of_json(frame["parameters"])
        if frame["kind"] == "warm":
            await self._checker.warm(direction, parameters)
            return {"findings": []}
        texts = [CheckedText(*one) for one in frame["texts"]]
        async with self._slots:
            findings = await self._checker.check(direction, parameters, texts)
        return {"findings": [frames.finding_to_json(finding) for finding in findings]}

    @property
    def waiting(self) -> int:
        """How many checks there are, those under way included."""
        return sum(len(connection.tasks) for connection in self._connections)

    async def _serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(self, writer)
        self._connections.add(connection)
        task = asyncio.current_task()
        assert task is not None
        self._served.add(task)
        try:
            decoder = frames.Decoder()
            while data := await reader.read(_READ_BYTES):
                for frame in decoder.feed(data):
                    connection.take(frame)
        except frames.FrameError as error:
            _logger.warning("a connection is closed: %s", error)
        except OSError:
            _logger.debug("a gateway went away")
        finally:
            self._connections.discard(connection)
            self._served.discard(task)
            connection.close()


class _Connection:
    """One gateway's, with the checks that it waits for."""

    def __init__(self, server: GuardrailServer, writer: asyncio.StreamWriter) -> None:
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self._server = server
        self._writer = writer

    def take(self, frame: dict[str, Any]) -> None:
        number = frame["id"]
        if frame.get("kind") == "cancel":
            if (task := self.tasks.get(number)) is not None:
                task.cancel()
        elif self._server.waiting >= MOST_WAITING:
            self._write(number, _problem(Cause.UNAVAILABLE, _BUSY))
        else:
            task = asyncio.create_task(self._check(number, self._server.answer(frame)))
            self.tasks[number] = task
            task.add_done_callback(lambda _: self.tasks.pop(number, None))

    def close(self) -> None:
        for task in list(self.tasks.values()):
            task.cancel()
        self._writer.transport.abort()

    async def _check(self, number: int, check: Awaitable[dict[str, Any]]) -> None:
        self._write(number, await check)
        with contextlib.suppress(OSError):
            await self._writer.drain()

    def _write(self, number: int, answer: dict[str, Any]) -> None:
        if not self._writer.is_closing():
            self._writer.write(frames.encode({"id": number, **answer}))


def _problem(cause: Cause, message: str) -> dict[str, Any]:
    return {"problem": message, "cause": cause}
