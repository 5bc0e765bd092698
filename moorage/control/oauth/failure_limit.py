"""Slows down who guesses secrets."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from moorage.api.oauth import OAuthError

_MOST_FAILURES = 20
_WINDOW_MILLISECONDS = 60_000
_REMEMBERED = 10_000


class FailureLimit:
    """Counts failures a minute by address. `clock` answers milliseconds. Safe from any thread.

    Only failures are refused, never a right secret: behind a proxy everybody has one address, and one who guesses
    would lock all others out. With 128 random bits in each secret that gives nothing away.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def failed(self, address: str) -> None:
        """Count one.

        Raises:
            OAuthError: there were too many from that address within the minute; status 429.
        """
        now = self._clock()
        with self._lock:
            began, count = self._failures.pop(address, (now, 0))
            if now - began >= _WINDOW_MILLISECONDS:
                began, count = now, 0
            self._failures[address] = (began, count + 1)
            if len(self._failures) > _REMEMBERED:
                self._failures.popitem(last=False)
        if count >= _MOST_FAILURES:
            left = began + _WINDOW_MILLISECONDS - now
            raise OAuthError(
                "temporarily_unavailable",
                "Too many failed requests for tokens come from this address. Wait a minute.",
                status=429,
                headers={"Retry-After": str(left // 1000 + 1)},
            )
