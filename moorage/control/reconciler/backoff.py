"""How long to wait before a replica is started again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic


@dataclass(slots=True)
class RestartPolicy:
    """Doubling waits while a replica keeps ending; a life of `lasting_seconds` starts the count anew.

    After `attempts` endings in a row the deployment counts as failed, and is tried again only every
    `slow_seconds`.
    """

    attempts: int
    first_seconds: float = 0.25
    longest_seconds: float = 30.0
    slow_seconds: float = 60.0
    lasting_seconds: float = 60.0
    clock: Callable[[], float] = monotonic
    endings: int = 0
    _ready_at: float | None = field(default=None)

    def became_ready(self) -> None:
        self._ready_at = self.clock()

    def ended(self) -> float:
        """Count an ending. Returns the seconds to wait before the next start."""
        if self._ready_at is not None and self.clock() - self._ready_at >= self.lasting_seconds:
            self.endings = 0
        self._ready_at = None
        self.endings += 1
        if self.exhausted:
            return self.slow_seconds
        wait: float = self.first_seconds * 2 ** (self.endings - 1)
        return min(wait, self.longest_seconds)

    @property
    def exhausted(self) -> bool:
        """Whether it has ended too often in a row."""
        return self.endings >= self.attempts
