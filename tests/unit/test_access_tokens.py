"""Access tokens of providers: fetched once for all who wait, kept until shortly before their end."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, cast
from urllib.parse import parse_qs

import orjson
import pytest

from moorage.api.external_models import ExternalTask, Provider
from moorage.external.exchange import ProviderApi, Target, TokenRequest
from moorage.external.failures import ProviderError
from moorage.gateway.access_tokens import AccessTokens
from moorage.gateway.http_client import AnswerTooLong, CannotConnect, ConnectionLost, HttpClient, Url

SECRET = "client-secret"


class Response:
    def __init__(self, body: bytes, status: int = 200, headers: Mapping[bytes, bytes] | None = None) -> None:
        self.status, self.headers = status, headers or {}
        self._body = body

    async def read(self, limit: int) -> bytes:
        if len(self._body) > limit:
            raise AnswerTooLong("too long")
        return self._body


class TokenService:
    """Stands for the HTTP client. It gives what `answers` holds, or a new token that lives for an hour."""

    def __init__(self) -> None:
        self.answers: deque[Response | Exception] = deque()
        self.asked: list[dict[str, list[str]]] = []
        self.open = asyncio.Event()
        self.open.set()

    async def post(self, url: Url, headers: Mapping[str, str], body: bytes) -> Response:
        assert url.origin.host == "tokens.example"
        assert headers["content-type"] == "application/x-www-form-urlencoded"
        self.asked.append(parse_qs(body.decode()))
        await self.open.wait()
        if not self.answers:
            return token(f"token-{len(self.asked)}")
        answer = self.answers.popleft()
        if isinstance(answer, Exception):
            raise answer
        return answer


class Api:
    """A provider that wants a token, or none."""

    url = "https://tokens.example/token"
    wants_one = True

    def token_request(self, target: Target, now: datetime) -> TokenRequest | None:
        form = {"grant_type": "client_credentials", "client_secret": SECRET, "odd": "a&b=c"}
        return TokenRequest(self.url, form) if self.wants_one else None


class Stage:
    def __init__(self) -> None:
        self.now = 1000.0
        self.service = TokenService()
        self.api = Api()
        self.tokens = AccessTokens(cast(HttpClient, self.service), lambda: self.now)
        self.target = target()

    async def get(self, of: Target | None = None) -> str:
        found = await self.tokens.token(cast(ProviderApi, self.api), of or self.target)
        assert found is not None
        return found.value


def target() -> Target:
    return Target(Provider.OPENAI, "m", ExternalTask.CHAT, {}, {"microsoft_entra_client_secret": SECRET})


def token(value: Any, **fields: Any) -> Response:
    return Response(orjson.dumps({"access_token": value, "expires_in": 3600, **fields}))


def run(body: Callable[[Stage], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(10):
            await body(Stage())
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(whole())


def test_many_wait_for_one_fetch() -> None:
    async def body(stage: Stage) -> None:
        stage.service.open.clear()
        waiting = [asyncio.create_task(stage.get()) for _ in range(50)]
        await asyncio.sleep(0)
        stage.service.open.set()
        assert set(await asyncio.gather(*waiting)) == {"token-1"}
        assert await stage.get() == "token-1"
        assert stage.service.asked == [
            {"grant_type": ["client_credentials"], "client_secret": [SECRET], "odd": ["a&b=c"]}
        ]

    run(body)


def test_each_target_has_its_own() -> None:
    async def body(stage: Stage) -> None:
        other = target()
        assert other == stage.target
        assert [await stage.get(), await stage.get(other), await stage.get()] == ["token-1", "token-2", "token-1"]

    run(body)


@pytest.mark.parametrize(
    ("told", "kept"),
    [(3600, 3480), (240, 120), (200, 100), (60, 30), ("600", 480), (None, 180), (0, 0), (-60, 0)],
)
def test_a_token_is_renewed_before_its_end(told: Any, kept: float) -> None:
    async def body(stage: Stage) -> None:
        fields = {} if told is None else {"expires_in": told}
        stage.service.answers.append(Response(orjson.dumps({"access_token": "first", **fields})))
        assert await stage.get() == "first"
        if kept:
            stage.now += kept - 0.1
            assert await stage.get() == "first"
            stage.now += 0.2
        assert await stage.get() == "token-2"

    run(body)


def test_a_token_that_was_refused_is_forgotten() -> None:
    async def body(stage: Stage) -> None:
        stage.tokens.forget(stage.target)
        assert await stage.get() == "token-1"
        stage.tokens.forget(stage.target)
        assert await stage.get() == "token-2"

    run(body)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (Response(b'{"error": "invalid_client", "said": "client-secret"}', 401), 401),
        (Response(b"busy", 429, {b"retry-after": b"7"}), 429),
        (Response(b"client-secret", 500), 500),
        (Response(b"", 302), 500),
        (Response(b"<html>client-secret"), 500),
        (Response(b"[]"), 500),
        (Response(b'"client-secret"'), 500),
        (Response(b"{}"), 500),
        (token("x", expires_in="client-secret"), 500),
        (token("x", expires_in=[]), 500),
        (Response(b"x" * 300_000), 503),
        (CannotConnect("refused"), 503),
        (ConnectionLost("reset", before_answer=True), 503),
        (TimeoutError(), 504),
    ],
)
def test_a_token_service_that_gives_none_is_the_providers_error(answer: Response | Exception, status: int) -> None:
    async def body(stage: Stage) -> None:
        stage.service.answers.append(answer)
        with pytest.raises(ProviderError) as failed:
            await stage.get()
        assert failed.value.status == status
        assert SECRET not in failed.value.message
        assert "'openai'" in failed.value.message
        assert await stage.get() == "token-2", "the next request asks again"

    run(body)


@pytest.mark.parametrize("given", [None, "", 5, [], "two\r\nlines", "é"])
def test_a_token_that_no_header_can_hold_is_none(given: Any) -> None:
    async def body(stage: Stage) -> None:
        stage.service.answers.append(token(given))
        with pytest.raises(ProviderError) as failed:
            await stage.get()
        assert failed.value.status == 500

    run(body)


def test_all_who_wait_are_told_of_a_failure() -> None:
    async def body(stage: Stage) -> None:
        stage.service.open.clear()
        stage.service.answers.append(CannotConnect("refused"))
        waiting = [asyncio.create_task(stage.get()) for _ in range(5)]
        await asyncio.sleep(0)
        stage.service.open.set()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(one) for one in found] == [ProviderError] * 5
        assert len(stage.service.asked) == 1

    run(body)


def test_one_who_leaves_does_not_take_the_token_from_the_others() -> None:
    async def body(stage: Stage) -> None:
        stage.service.open.clear()
        first, second = (asyncio.create_task(stage.get()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        stage.service.open.set()
        assert await second == "token-1"

    run(body)


def test_a_fetch_that_nobody_waits_for_any_more_is_kept_or_forgotten() -> None:
    async def body(stage: Stage) -> None:
        complaints: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        for answer in (CannotConnect("refused"), token("late")):
            stage.service.open.clear()
            stage.service.answers.append(answer)
            waiting = asyncio.create_task(stage.get())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
            stage.service.open.set()
            for _ in range(5):
                await asyncio.sleep(0)
        assert await stage.get() == "late"
        assert complaints == []

    run(body)


def test_a_url_that_is_none_is_the_providers_error() -> None:
    async def body(stage: Stage) -> None:
        stage.api.url = "tokens.example/token"
        with pytest.raises(ProviderError):
            await stage.get()

    run(body)


def test_a_provider_without_tokens_is_asked_for_none() -> None:
    async def body(stage: Stage) -> None:
        stage.api.wants_one = False
        assert await stage.tokens.token(cast(ProviderApi, stage.api), stage.target) is None
        assert stage.service.asked == []

    run(body)
