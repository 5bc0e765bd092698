"""The gateway's line to the guardrail process: many checks on one connection, made anew when the process was.

Nothing here imports a detector. What cannot be checked in time is refused: see `GuardrailsUnavailable`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from moorage.guardrails import frames
from moorage.guardrails.failures import Cause
from moorage.guardrails.verdict import Direction, Finding, GuardrailsUnavailable, TextTooLong, Verdict

if TYPE_CHECKING:
    from moorage.api.ai_gateway import GuardrailParameters

_RETRY_SECONDS = 0.05
_ATTEMPTS = 2  # a check whose connection was lost is asked once more, of the process that came after


class Checkable(Protocol):
    """A text with its role (`user`, `assistant`, `system`, `tool`) and the group that it belongs to."""

    @property
    def text(self) -> str: ...

    @property
    def role(self) -> str: ...

    @property
    def group(self) -> int: ...


class _Lost(Exception):
    """The connection ended before the answer."""


class GuardrailClient:
    """Asks the process that listens at `socket_path`. `seconds` is how long a check may take, waiting included."""

    def __init__(self, socket_path: str | Path, seconds: float = 10.0) -> None:
        self._path = str(socket_path)
        self._seconds = seconds
        self._connection: _Connection | None = None
        self._connecting = asyncio.Lock()
        self._number = 0

    async def check(
        self, direction: Direction, parameters: GuardrailParameters, texts: Sequence[Checkable]
    ) -> Verdict:
        """What is found in these texts.

        Raises:
            GuardrailsUnavailable: the process is not there, has too much to do, or did not answer in time.
            TextTooLong: there is more text than is checked.
        """
        plain = [[one.text, one.role, one.group] for one in texts]
        findings: list[Finding] = []
        if plain and checks_anything(parameters):
            findings = await self._findings("check", direction, parameters, plain)
        behavior = parameters.pii.behavior if parameters.pii is not None else "NONE"
        return Verdict(
            direction=direction,
            texts=tuple(one.text for one in texts),
            groups=tuple(one.group for one in texts),
            findings=tuple(findings) or (Finding(),) * len(plain),
            blocks_pii=behavior == "BLOCK",
        )

    async def warm(self, direction: Direction, parameters: GuardrailParameters) -> None:
        """Have loaded what these parameters need, so that no request waits for it. Raises as `check`."""
        if checks_anything(parameters):
            await self._findings("warm", direction, parameters, [])

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    async def _findings(
        self, kind: str, direction: Direction, parameters: GuardrailParameters, texts: list[list[Any]]
    ) -> list[Finding]:
        frame = {
            "kind": kind,
            "direction": direction,
            "parameters": parameters.model_dump(mode="json", exclude_none=True),
            "seconds": self._seconds,
            "texts": texts,
        }
        try:
            async with asyncio.timeout(self._seconds):
                for _ in range(_ATTEMPTS):
                    try:
                        answer = await self._ask(frame)
                        break
                    except _Lost:
                        continue
                else:
                    raise GuardrailsUnavailable("The guardrails stopped while they checked the text.")
        except TimeoutError:
            raise GuardrailsUnavailable(
                f"The guardrails did not answer within {self._seconds:g} seconds; nothing passes unchecked."
            ) from None
        if "problem" in answer:
            if answer.get("cause") == Cause.TOO_LONG:
                raise TextTooLong(str(answer["problem"]))
            raise GuardrailsUnavailable(str(answer["problem"]))
        try:
            findings = [frames.finding_of_json(one) for one in answer["findings"]]
        except (frames.FrameError, KeyError, TypeError) as error:
            raise GuardrailsUnavailable(f"The guardrails' answer cannot be read: {error}") from error
        if len(findings) != len(texts):
            raise GuardrailsUnavailable("The guardrails' answer is not about the texts that were sent.")
        return findings

    async def _ask(self, frame: dict[str, Any]) -> dict[str, Any]:
        """
        Raises:
            _Lost: the connection ended before the answer.
        """
        connection = await self._connected()
        self._number += 1
        number = self._number
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        connection.waiting[number] = answer
        connection.send({"id": number, **frame})
        try:
            return await answer
        except asyncio.CancelledError:
            connection.send({"id": number, "kind": "cancel"})
            raise
        finally:
            connection.waiting.pop(number, None)

    async def _connected(self) -> _Connection:
        """The connection; while the process is being started again, the next attempt comes soon."""
        async with self._connecting:
            while self._connection is None or self._connection.lost:
                try:
                    loop = asyncio.get_running_loop()
                    _, self._connection = await loop.create_unix_connection(_Connection, self._path)
                except OSError:
                    await asyncio.sleep(_RETRY_SECONDS)
            return self._connection


class _Connection(asyncio.Protocol):
    """An open connection with the answers that are awaited on it."""

    def __init__(self) -> None:
        self.waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.lost = False
        self._decoder = frames.Decoder()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a Transport, under uvloop in all but its bases

    def send(self, frame: dict[str, Any]) -> None:
        if self._transport is not None and not self.lost:
            self._transport.write(frames.encode(frame))

    def data_received(self, data: bytes) -> None:
        try:
            for answer in self._decoder.feed(data):
                future = self.waiting.get(answer["id"])
                if future is not None and not future.done():
                    future.set_result(answer)
        except frames.FrameError:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        for future in self.waiting.values():
            if not future.done():
                future.set_exception(_Lost())

    def close(self) -> None:
        self.lost = True
        if self._transport is not None:
            self._transport.abort()


def checks_anything(parameters: GuardrailParameters | None) -> bool:
    """Whether there is anything to look for on this side."""
    return parameters is not None and bool(
        parameters.safety
        or parameters.invalid_keywords
        or parameters.valid_topics
        or (parameters.pii is not None and parameters.pii.behavior != "NONE")
    )
