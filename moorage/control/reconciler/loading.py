"""Following a replica from its start to the moment when it serves, or cannot."""

from __future__ import annotations

import asyncio

from moorage.compute.base import Compute, Observation, ReplicaPhase, ReplicaProcess

POLL_SECONDS = 0.02
_SETTLED = (ReplicaPhase.READY, ReplicaPhase.FAILED, ReplicaPhase.STOPPED, ReplicaPhase.GONE)


async def until_loaded(
    compute: Compute, replica: ReplicaProcess, limit_seconds: float, poll_seconds: float = POLL_SECONDS
) -> Observation:
    """What it says once it has loaded its model or has ended; FAILED when neither happens within the limit."""
    try:
        async with asyncio.timeout(limit_seconds):
            while (state := compute.observe(replica)).phase not in _SETTLED:  # noqa: ASYNC110
                await asyncio.sleep(poll_seconds)
            return state
    except TimeoutError:
        return Observation(ReplicaPhase.FAILED, f"loading took longer than {limit_seconds:.0f} s")
