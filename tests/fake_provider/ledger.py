"""What came in, and what became of it."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from .wire import Json, Request

_KEPT = 2000


@dataclass(slots=True)
class Ledger:
    """Requests to providers, in their order, and counts. `aborted` are answers whose client left before their end;
    `open` are requests that are being answered, `connections` those that are open, `refused` those answered with 4xx
    because of what they were."""

    requests: deque[Json] = field(default_factory=lambda: deque(maxlen=_KEPT))
    total: int = 0
    by_dialect: Counter[str] = field(default_factory=Counter)
    aborted: int = 0
    refused: int = 0
    open: int = 0
    max_open: int = 0
    connections: int = 0

    def begin(self, dialect: str | None, request: Request) -> Json:
        """Note a request; `status` and `fault` are filled in by and by."""
        self.total += 1
        self.open += 1
        self.max_open = max(self.max_open, self.open)
        if dialect is not None:
            self.by_dialect[dialect] += 1
        entry: Json = {
            "dialect": dialect,
            "method": request.method,
            "path": request.path,
            "query": dict(request.query),
            "model": request.model,
            "headers": dict(request.headers),
            "body": request.json if request.json is not None else request.body.decode(errors="replace"),
            "status": None,
            "fault": None,
            "aborted": False,
        }
        self.requests.append(entry)
        return entry

    def begin_unseen(self) -> None:
        """Note a request of which nothing is kept."""
        self.total += 1
        self.open += 1
        self.max_open = max(self.max_open, self.open)

    def counts(self) -> Json:
        return {
            "requests": self.total,
            "by_dialect": dict(self.by_dialect),
            "aborted": self.aborted,
            "refused": self.refused,
            "open": self.open,
            "max_open": self.max_open,
            "connections": self.connections,
        }

    def forget(self) -> None:
        """Start the counts again; what is open stays so."""
        self.requests.clear()
        self.by_dialect.clear()
        self.total = self.aborted = self.refused = 0
        self.max_open = self.open
