"""What every part of the reconciler works with."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, ParamSpec, Protocol, TypeVar

from moorage.compute.base import Compute
from moorage.control.publisher import RoutingPublisher
from moorage.control.reconciler.entity_table import EntityTable
from moorage.control.reconciler.records import Records
from moorage.control.secret_references import SecretReader
from moorage.datadir import DataDirectory
from moorage.encryption import Encryption
from moorage.environments.builder import EnvironmentBuilder
from moorage.registry.client import ModelRegistry
from moorage.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")


class Telemetry(Protocol):
    """Told what becomes of replicas. It must neither block nor raise."""

    def cold_start(self, endpoint_id: str, served_name: str, seconds: float) -> None:
        """A request met no replica, and `seconds` later the first one was ready."""
        ...

    def replica_ended(self, endpoint_id: str, served_name: str) -> None:
        """A replica ended unasked, or hung, and is started again."""
        ...


@dataclass(frozen=True, slots=True)
class Context:
    """The parts, and `clock` in milliseconds since the epoch."""

    settings: Settings
    data: DataDirectory
    records: Records
    registry: ModelRegistry
    builder: EnvironmentBuilder
    compute: Compute
    publisher: RoutingPublisher
    clock: Callable[[], int]
    telemetry: Telemetry
    secrets: SecretReader
    encryption: Encryption
    entities: EntityTable


async def in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a blocking call beside the loop and see it through: a cancelled caller leaves no half-done write."""
    return await seen_through(asyncio.to_thread(functools.partial(function, *args, **kwargs)))


async def seen_through(work: Coroutine[Any, Any, R]) -> R:
    """Do what has to be done to its end; a caller that is cancelled meanwhile is so when it has ended."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
