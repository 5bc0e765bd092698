"""Whether a request is within the rate limits of its endpoint (`moorage.gateway.limit_rules` has what applies).

A request is admitted when everything that applies has room, and then counted everywhere; a refused one is counted
nowhere. Tokens are known after the answer, so the request that crosses a limit of tokens succeeds and the next one is
refused. A limit of 0 lets nothing through.

One worker counts in its memory. Several count together in Redis; while that does not answer each counts by itself, so
that inference goes on and no request waits. Then at most the limit times the number of workers passes.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from moorage.api.errors import RequestLimitExceeded
from moorage.gateway.limit_rules import Allowance, Caller, Choices, LimitRules, Unit
from moorage.gateway.limit_windows import MemoryWindows, Refusal, Verdict, WindowsUnreachable
from moorage.settings import Settings

_MOST_TOKENS = 10**12  # of one answer: what an upstream says must not overflow a counter

Admission = Sequence[Allowance]
"""What a request was admitted under; its tokens are charged there."""


class SharedWindows(Protocol):
    """Windows that several workers count in."""

    up: bool
    """Whether it makes sense to ask now."""

    async def admit(self, choices: Choices) -> Verdict:
        """As `MemoryWindows.admit`.

        Raises:
            WindowsUnreachable: no verdict came; the call may have been counted.
        """
        ...

    def add_tokens(self, admitted: Sequence[Allowance], tokens: int) -> asyncio.Future[list[int]]:
        """As `MemoryWindows.add_tokens`, before anything that is asked of this object later.

        The future raises `WindowsUnreachable` when they may not have been charged.
        """
        ...

    async def close(self) -> None: ...


class RateLimiter:
    """Admits requests, or refuses them. `clock` is in seconds and never goes back.

    `needs_await` is False when `admit_now` does: one worker, counting in memory. `counted_alone` is how many requests
    this worker decided by itself because the shared windows could not be reached.
    """

    def __init__(self, shared: SharedWindows | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._own = MemoryWindows(clock)
        self._shared = shared
        self.needs_await = shared is not None
        self.counted_alone = 0

    def admit_now(self, rules: LimitRules, caller: Caller) -> Admission:
        """Count a request by what this worker has seen.

        Raises:
            RequestLimitExceeded: a limit is used up; the request was not counted.
        """
        return _admission(self._own.admit(rules.choices(caller)))

    async def admit(self, rules: LimitRules, caller: Caller) -> Admission:
        """Count a request by what all workers have seen.

        Raises:
            RequestLimitExceeded: a limit is used up; the request was not counted.
        """
        if self._shared is None:
            return self.admit_now(rules, caller)
        choices = rules.choices(caller)
        if not choices:
            return ()
        if self._shared.up:
            try:
                return _admission(await self._shared.admit(choices))
            except WindowsUnreachable:
                pass
        self.counted_alone += 1
        return _admission(self._own.admit(choices))

    def charge_tokens(self, admission: Admission, tokens: int) -> None:
        """Charge the tokens of an answer, before any later request of this worker is admitted. Never waits."""
        if tokens <= 0 or not any(allowance.unit is Unit.TOKENS for allowance in admission):
            return
        tokens = min(tokens, _MOST_TOKENS)
        if self._shared is not None and self._shared.up:
            charged = self._shared.add_tokens(admission, tokens)
            charged.add_done_callback(partial(self._charge_alone_when_lost, admission, tokens))
        else:
            self._own.add_tokens(admission, tokens)

    def _charge_alone_when_lost(self, admission: Admission, tokens: int, charged: asyncio.Future[list[int]]) -> None:
        if charged.cancelled() or charged.exception() is not None:
            self._own.add_tokens(admission, tokens)

    def sweep(self) -> None:
        """Drop windows that have ended; to be called a few times a second."""
        self._own.sweep()

    async def close(self) -> None:
        """Let go of the connection to Redis."""
        if self._shared is not None:
            await self._shared.close()


def rate_limiter(settings: Settings) -> RateLimiter:
    """The limiter that counts where the settings say: in Redis when there is one, else in memory."""
    if settings.redis_url is None:
        return RateLimiter()
    # Imported where it is needed: a gateway without Redis starts sooner and is smaller.
    from moorage.gateway.shared_windows import RedisWindows

    return RateLimiter(RedisWindows(settings.redis_url.get_secret_value()))


def _admission(verdict: Verdict) -> Admission:
    if isinstance(verdict, Refusal):
        raise _exceeded(verdict)
    return verdict


def _exceeded(refusal: Refusal) -> RequestLimitExceeded:
    allowance = refusal.allowance
    whose = f"key '{allowance.key}'"
    if allowance.principal:
        whose += f", principal '{allowance.principal}'"
    period = "minute" if allowance.seconds == 60 else f"{allowance.seconds} s"
    wait = max(1, math.ceil(round(refusal.seconds, 3)))
    message = f"Rate limit exceeded ({whose}): {allowance.amount} {allowance.unit} per {period}."
    if allowance.amount:
        message += f" Try again in {wait} s."
    return RequestLimitExceeded(message, retry_after_seconds=wait)
