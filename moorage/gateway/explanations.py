"""What an answer says about its own way, when a request asks for it with the header `x-moorage-explain`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from moorage.gateway.limit_rules import Allowance

HEADER = b"x-moorage-explanation"
_LONGEST_MESSAGE = 200  # clients take heads of 8 KiB, and a character may become six


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a served entity. `status` is what came of it; `why` says how the entity was chosen."""

    served_entity: str
    why: str
    status: int
    milliseconds: float
    provider: str | None = None
    message: str = ""

    def document(self) -> dict[str, Any]:
        found = {
            "served_entity": self.served_entity,
            "why": self.why,
            "status": self.status,
            "ms": round(self.milliseconds, 3),
            "provider": self.provider,
            "message": self.message[:_LONGEST_MESSAGE],
        }
        return {name: value for name, value in found.items() if value not in (None, "")}


def explanation(
    endpoint: str,
    config_version: int,
    attempts: Sequence[Attempt],
    admission: Sequence[Allowance],
    overhead_ms: float,
    guardrails: Sequence[str] = (),
) -> tuple[bytes, bytes]:
    """The header. Its value is JSON in ASCII.

    `overhead_ms` is what the gateway itself took: the time of the request without that of the model.
    """
    document = {
        "endpoint": endpoint,
        "config_version": config_version,
        "served_entity": attempts[-1].served_entity if attempts else None,
        "attempts": [attempt.document() for attempt in attempts],
        "rate_limits": [
            {
                "key": str(one.key),
                "principal": one.principal or None,
                str(one.unit): one.amount,
                "renewal_period_seconds": one.seconds,
            }
            for one in admission
        ],
        "guardrails": list(guardrails),
        "overhead_ms": round(overhead_ms, 3),
    }
    return HEADER, json.dumps(document, separators=(",", ":")).encode("ascii")
