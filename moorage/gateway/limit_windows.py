"""Windows in which calls and tokens are counted against what limits allow.

A window is fixed: it begins with the first call that it counts, or for tokens with the first answer, and lasts the
limit's period; the next begins with the first call after its end. `MemoryWindows` counts for one worker.
`moorage.gateway.shared_windows` counts for all of them, by the same rules.

Both look at every limit of a request before they count any. The `limits` library counts each limit by itself, so that
a refused request would use up the others; and its memory storage goes through all windows in a thread every 10 ms.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from moorage.gateway.limit_rules import Allowance, Choices, Unit

_SWEPT_AT_ONCE = 5_000


class WindowsUnreachable(Exception):
    """Shared windows gave no answer in time."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """`allowance` is used up, and it takes `seconds` until the request could pass."""

    allowance: Allowance
    seconds: float


Verdict = list[Allowance] | Refusal
"""The allowances that a request was admitted under, one for each choice, or why it was not."""


class _Window:
    __slots__ = ("ends", "used")

    def __init__(self, ends: float, used: int) -> None:
        self.ends = ends
        self.used = used


class MemoryWindows:
    """Windows of one worker; nothing here waits, so that every call is atomic for the tasks of an event loop.

    `clock` is in seconds and never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._windows: dict[str, _Window] = {}
        # By length, in the order in which windows end: the order in which they began.
        self._endings: dict[int, deque[tuple[float, str]]] = {}

    def __len__(self) -> int:
        """How many windows are kept."""
        return len(self._windows)

    def admit(self, choices: Choices) -> Verdict:
        """Count one call against an allowance of each choice, or none at all when a choice has no room.

        Allowances of tokens are only looked at: `add_tokens` charges them after the answer.
        """
        now = self._clock()
        windows = self._windows
        chosen: list[Allowance] = []
        for choice in choices:
            best, most = None, 0
            for allowance in choice:
                left = allowance.amount
                window = windows.get(allowance.counter)
                if window is not None and window.ends > now:
                    left -= window.used
                if left > most:
                    best, most = allowance, left
            if best is None:
                return self._refusal(choices, now)
            chosen.append(best)
        for allowance in chosen:
            if allowance.unit is Unit.CALLS:
                self._add(allowance, 1, now)
        return chosen

    def add_tokens(self, admitted: Sequence[Allowance], tokens: int) -> None:
        """Charge the tokens of an answer to the allowances that its request was admitted under."""
        now = self._clock()
        for allowance in admitted:
            if allowance.unit is Unit.TOKENS:
                self._add(allowance, tokens, now)

    def sweep(self) -> None:
        """Drop windows that have ended, to be called a few times a second.

        Many go in several calls, so that none takes more than some milliseconds.
        """
        now = self._clock()
        windows = self._windows
        for endings in self._endings.values():
            for _ in range(min(len(endings), _SWEPT_AT_ONCE)):
                ends, counter = endings[0]
                if ends > now:
                    break
                endings.popleft()
                window = windows.get(counter)
                if window is not None and window.ends <= now:
                    del windows[counter]

    def _add(self, allowance: Allowance, amount: int, now: float) -> None:
        counter, seconds = allowance.counter, allowance.seconds
        window = self._windows.get(counter)
        if window is not None and window.ends > now:
            window.used += amount
            return
        self._windows[counter] = _Window(now + seconds, amount)
        endings = self._endings.get(seconds)
        if endings is None:
            endings = self._endings[seconds] = deque()
        endings.append((now + seconds, counter))

    def _refusal(self, choices: Choices, now: float) -> Refusal:
        """Of each choice without room the allowance that renews first; of these the one that renews last."""
        refusals = []
        for choice in choices:
            waits = [(self._wait(allowance, now), allowance) for allowance in choice]
            if all(wait > 0 for wait, _ in waits):
                refusals.append(min(waits, key=_wait_of))
        wait, allowance = max(refusals, key=_wait_of)
        return Refusal(allowance, wait)

    def _wait(self, allowance: Allowance, now: float) -> float:
        """Seconds until there is room, 0 when there is. No window's end makes room where nothing is allowed."""
        if allowance.amount == 0:
            return float(allowance.seconds)
        window = self._windows.get(allowance.counter)
        if window is None or window.ends <= now or window.used < allowance.amount:
            return 0.0
        return window.ends - now


def _wait_of(pair: tuple[float, Allowance]) -> float:
    return pair[0]
