"""What every part of the reconciler works with."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from moorage.compute.base import Compute
from moorage.control.publisher import RoutingPublisher
from moorage.control.reconciler.records import Records
from moorage.datadir import DataDirectory
from moorage.environments.builder import EnvironmentBuilder
from moorage.registry.client import ModelRegistry
from moorage.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")


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


async def in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a blocking call beside the loop and see it through: a cancelled caller leaves no half-done write."""
    task = asyncio.ensure_future(asyncio.to_thread(functools.partial(function, *args, **kwargs)))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
