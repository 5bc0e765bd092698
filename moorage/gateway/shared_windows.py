"""Windows in Redis, in which all gateway workers count.

One script looks at every limit of a request and counts it, in one round trip. What waits for the connection goes in
one command with others, so one connection is enough. Redis Cluster is not supported: a command counts for several
endpoints.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from moorage.gateway.limit_rules import Allowance, Choices, Unit
from moorage.gateway.limit_windows import Refusal, Verdict, WindowsUnreachable

_logger = logging.getLogger(__name__)

_Answers = Awaitable[list[list[int]]]

_MOST_AT_ONCE = 64
_TIMEOUT_SECONDS = 0.1
_PROBE_SECONDS = 1.0
_PROBE_TIMEOUT_SECONDS = 1.0
_WARNING_SECONDS = 10.0

# The rules are those of MemoryWindows. Each argument is one operation, its numbers separated by spaces; the
# operations take their counters from KEYS in turn.
#   1 TOKENS  then of each counter: MILLISECONDS                           -> {}
#   0         then of each choice: SIZE CHARGE, of each counter AMOUNT MILLISECONDS
#             -> {0, the index used of each choice}, or {choice, index, milliseconds to wait} when it is refused
_SCRIPT = """
local next_key = 0

local function take_key()
  next_key = next_key + 1
  return KEYS[next_key]
end

local function add(counter, amount, milliseconds)
  if redis.call('INCRBY', counter, amount) == amount then
    redis.call('PEXPIRE', counter, milliseconds)
  end
end

local function wait_of(one)
  if one.amount > 0 then
    local milliseconds = redis.call('PTTL', one.counter)
    if milliseconds > 0 then return milliseconds end
  end
  return one.milliseconds
end

local function shortest_wait(choice)
  local shortest, at
  for index, one in ipairs(choice) do
    local wait = wait_of(one)
    if not shortest or wait < shortest then shortest, at = wait, index end
  end
  return shortest, at
end

local function admit(number)
  local used, indexes = {}, {0}
  local refused, refused_at, longest = 0, 0, 0
  local position, size = 0, number()
  while size do
    position = position + 1
    local charge, choice, best, most = number(), {}, 0, 0
    for index = 1, size do
      local one = {counter = take_key(), amount = number(), milliseconds = number()}
      local left = one.amount - tonumber(redis.call('GET', one.counter) or 0)
      if left > most then best, most = index, left end
      choice[index] = one
    end
    if best == 0 then
      local wait, at = shortest_wait(choice)
      if wait > longest then refused, refused_at, longest = position, at, wait end
    elseif charge == 1 then
      used[#used + 1] = choice[best]
    end
    indexes[#indexes + 1] = best
    size = number()
  end
  if refused > 0 then return {refused, refused_at, longest} end
  for _, one in ipairs(used) do add(one.counter, 1, one.milliseconds) end
  return indexes
end

local function add_tokens(number)
  local tokens, milliseconds = number(), number()
  while milliseconds do
    add(take_key(), tokens, milliseconds)
    milliseconds = number()
  end
  return {}
end

local answers = {}
for position, operation in ipairs(ARGV) do
  local numbers = string.gmatch(operation, '%d+')
  local function number()
    local text = numbers()
    return text and tonumber(text)
  end
  answers[position] = number() == 0 and admit(number) or add_tokens(number)
end
return answers
"""
_SCRIPT_SHA = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()


@dataclass(slots=True)
class _Operation:
    counters: list[str]
    numbers: str
    answer: asyncio.Future[list[int]]


class RedisWindows:
    """Windows in the Redis at `url`, for one event loop.

    An answer that takes longer than `timeout_seconds`, connecting included, is given up; from then on nothing is
    asked until Redis answers a probe, which is sent each second in the background. `clock` is in seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_seconds: float = _TIMEOUT_SECONDS,
        probe_seconds: float = _PROBE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = Redis.from_url(url, retry=Retry(NoBackoff(), 0))
        self._timeout = timeout_seconds
        self._probe_seconds = probe_seconds
        self._clock = clock
        self._waiting: deque[_Operation] = deque()
        self._sent: list[_Operation] = []
        self._sender: asyncio.Task[None] | None = None
        self._prober: asyncio.Task[None] | None = None
        self._warned = -_WARNING_SECONDS
        self.up = True

    async def admit(self, choices: Choices) -> Verdict:
        """As `MemoryWindows.admit`.

        Raises:
            WindowsUnreachable: no verdict came; the call may have been counted.
        """
        counters: list[str] = []
        numbers = "0"
        for choice in choices:
            numbers += f" {len(choice)} {choice[0].unit is Unit.CALLS:d}"
            for allowance in choice:
                counters.append(allowance.counter)
                numbers += f" {allowance.amount} {allowance.seconds * 1000}"
        first, *rest = await self._send(counters, numbers)
        if first == 0:
            return [choice[index - 1] for choice, index in zip(choices, rest, strict=True)]
        index, milliseconds = rest
        return Refusal(choices[first - 1][index - 1], milliseconds / 1000)

    def add_tokens(self, admitted: Sequence[Allowance], tokens: int) -> asyncio.Future[list[int]]:
        """As `MemoryWindows.add_tokens`, before anything that is asked of this object later.

        The future raises `WindowsUnreachable` when they may not have been charged.
        """
        charged = [allowance for allowance in admitted if allowance.unit is Unit.TOKENS]
        lengths = "".join(f" {allowance.seconds * 1000}" for allowance in charged)
        return self._send([allowance.counter for allowance in charged], f"1 {tokens}{lengths}")

    async def close(self) -> None:
        """Give up what waits, and disconnect."""
        tasks = [task for task in (self._sender, self._prober) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._give_up()  # a sender that had not begun has not done it
        await self._redis.aclose()

    def _send(self, counters: list[str], numbers: str) -> asyncio.Future[list[int]]:
        operation = _Operation(counters, numbers, asyncio.get_running_loop().create_future())
        self._waiting.append(operation)
        if self._sender is None:
            self._sender = asyncio.create_task(self._send_waiting())
        return operation.answer

    async def _send_waiting(self) -> None:
        """Send until nothing waits; what has no answer by the end gets none."""
        try:
            while self._waiting:
                self._sent = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MOST_AT_ONCE))]
                answers = await self._ask(self._sent)
                for operation, answer in zip(self._sent, answers, strict=True):
                    if not operation.answer.done():
                        operation.answer.set_result(answer)
        except (RedisError, OSError) as error:
            self._lost(error)
        finally:
            self._sender = None
            self._give_up()

    def _give_up(self) -> None:
        for operation in (*self._sent, *self._waiting):
            if not operation.answer.done():
                operation.answer.set_exception(WindowsUnreachable())
        self._sent = []
        self._waiting.clear()

    async def _ask(self, operations: list[_Operation]) -> list[list[int]]:
        counters = [counter for operation in operations for counter in operation.counters]
        arguments = (*counters, *[operation.numbers for operation in operations])
        async with asyncio.timeout(self._timeout):
            try:
                return await cast(_Answers, self._redis.evalsha(_SCRIPT_SHA, len(counters), *arguments))
            except NoScriptError:
                return await cast(_Answers, self._redis.eval(_SCRIPT, len(counters), *arguments))

    def _lost(self, error: Exception) -> None:
        self.up = False
        self._warn(error)
        if self._prober is None:
            self._prober = asyncio.create_task(self._probe())

    async def _probe(self) -> None:
        """Ask now and then until Redis answers. No request waits for it, so it may take its time."""
        while not self.up:
            await asyncio.sleep(self._probe_seconds)
            try:
                async with asyncio.timeout(_PROBE_TIMEOUT_SECONDS):
                    await cast(Awaitable[bool], self._redis.ping())
            except (RedisError, OSError) as error:
                self._warn(error)
            else:
                self.up = True
                _logger.info("Redis answers again; rate limits are counted by all workers together")
        self._prober = None

    def _warn(self, error: Exception) -> None:
        now = self._clock()
        if now - self._warned >= _WARNING_SECONDS:
            self._warned = now
            _logger.warning(
                "Redis does not answer (%s); this worker counts rate limits by itself", error or type(error).__name__
            )
