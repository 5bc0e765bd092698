"""Access tokens of providers that want one in the place of a credential, fetched when needed and kept until they end.

Source: RFC 6749, sections 4.4 and 5.1; RFC 7523.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import orjson

from moorage.external.exchange import AccessToken, ProviderApi, Target
from moorage.external.failures import ProviderError, answered_with, not_reached, too_late, without_credentials
from moorage.gateway.http_client import AnswerTooLong, CannotConnect, ConnectionLost, HttpClient, parse_url

_SECONDS = 15.0
_RENEWED_BEFORE_END = 120.0
_LONGEST_ANSWER = 256 * 1024
_MOST_KEPT = 1000
_TOKEN = re.compile(r"[\x21-\x7e]+")
_FORM = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}


class AccessTokens:
    """The tokens of one gateway worker, by target. Requests that need the same one wait for one fetch."""

    def __init__(self, http: HttpClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._http = http
        self._clock = clock
        self._kept: dict[int, tuple[Target, AccessToken, float]] = {}
        self._fetching: dict[int, asyncio.Task[AccessToken]] = {}

    async def token(self, api: ProviderApi, target: Target) -> AccessToken | None:
        """The token that a request to this target carries; None where it carries the credential itself.

        Raises:
            ProviderError: the token service refused, or cannot be reached.
        """
        kept = self._kept.get(id(target))
        if kept is not None and kept[0] is target and kept[2] > self._clock():
            return kept[1]
        task = self._fetching.get(id(target))
        if task is None:
            request = api.token_request(target, datetime.now(UTC))
            if request is None:
                return None
            task = asyncio.create_task(self._fetch(target, request.url, urlencode(dict(request.form)).encode()))
            self._fetching[id(target)] = task
            task.add_done_callback(self._fetched(id(target)))
        return await asyncio.shield(task)

    def forget(self, target: Target) -> None:
        """Fetch another token next time: the provider does not take this one, which may have been revoked."""
        self._kept.pop(id(target), None)

    def _fetched(self, key: int) -> Callable[[asyncio.Task[AccessToken]], None]:
        def forget(task: asyncio.Task[AccessToken]) -> None:
            del self._fetching[key]
            if not task.cancelled():
                task.exception()  # whoever waited has it; nobody may be left

        return forget

    async def _fetch(self, target: Target, url: str, form: bytes) -> AccessToken:
        try:
            async with asyncio.timeout(_SECONDS):
                response = await self._http.post(parse_url(url), _FORM, form)
                body = await response.read(_LONGEST_ANSWER)
        except TimeoutError:
            raise too_late(target, _SECONDS) from None
        except (CannotConnect, ConnectionLost, AnswerTooLong, ValueError) as error:
            raise not_reached(target, f"its token service: {error}") from None
        if response.status != 200:
            text = f"(its token service) {body.decode('utf-8', 'replace')}"
            raise answered_with(target, response.status, text, response.headers, datetime.now(UTC))
        try:
            document = orjson.loads(body)
            token = AccessToken(_as_token(document["access_token"]))
            seconds = float(document.get("expires_in", 300))
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
            words = without_credentials(target, str(error))
            raise ProviderError(500, f"The token service of '{target.provider}' gave no token: {words}") from None
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        self._kept[id(target)] = (target, token, self._clock() + max(seconds - _RENEWED_BEFORE_END, seconds / 2))
        return token


def _as_token(value: Any) -> str:
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise ValueError("'access_token' is not a text that a header can hold")
    return value
