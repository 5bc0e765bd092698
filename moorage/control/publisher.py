"""Holds the routing snapshot and tells it: to each gateway as a stream of changes, to the disk for their restart."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection
from pathlib import Path

from pydantic import ValidationError

from moorage.api.routing import (
    EndpointChange,
    EndpointRoute,
    Principal,
    RoutingChange,
    RoutingSnapshot,
    TokenChange,
)

_logger = logging.getLogger(__name__)

_WRITE_DELAY_SECONDS = 0.1
_RETRY_SECONDS = 5.0
_KEEPALIVE_SECONDS = 10.0
_LONGEST_QUEUE = 10_000


class RoutingPublisher:
    """Used from the event loop only."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._endpoints: dict[str, EndpointRoute] = {}
        self._tokens: dict[str, Principal] = {}
        self._followers: set[asyncio.Queue[RoutingChange]] = set()
        self._dirty = asyncio.Event()

    def begin(self, tokens: dict[str, Principal], endpoint_ids: Collection[str]) -> None:
        """Take in the database's tokens, and the routes that an earlier control plane left of those endpoints.

        Until the reconciler has looked at an endpoint, its requests go where they went before.
        """
        self._tokens = dict(tokens)
        try:
            earlier = RoutingSnapshot.model_validate_json(self._path.read_bytes()).endpoints
        except FileNotFoundError:
            earlier = {}
        except (OSError, ValidationError) as error:
            _logger.warning("the earlier routing snapshot cannot be read: %s", error)
            earlier = {}
        self._endpoints = {name: route for name, route in earlier.items() if route.id in endpoint_ids}
        self._dirty.set()

    def publish_endpoint(self, name: str, route: EndpointRoute | None) -> None:
        """Make `route` the way to the endpoint, or forget it."""
        if self._endpoints.get(name) == route:
            return
        if route is None:
            del self._endpoints[name]
        else:
            self._endpoints[name] = route
        self._tell(EndpointChange(name=name, route=route))

    def owner_of(self, name: str) -> str | None:
        """The id of the endpoint that has the route of that name."""
        route = self._endpoints.get(name)
        return route.id if route is not None else None

    def publish_token(self, digest: str, principal: Principal | None) -> None:
        """Make a token good, or revoke it."""
        if principal is None:
            self._tokens.pop(digest, None)
        else:
            self._tokens[digest] = principal
        self._tell(TokenChange(digest=digest, principal=principal))

    def snapshot(self) -> RoutingSnapshot:
        """All of it as it is now."""
        return RoutingSnapshot(endpoints=dict(self._endpoints), tokens=dict(self._tokens))

    async def follow(self) -> AsyncIterator[bytes]:
        """Lines of JSON: the snapshot, then each change; an empty line when there was none for a while."""
        queue: asyncio.Queue[RoutingChange] = asyncio.Queue()
        self._followers.add(queue)
        try:
            yield self.snapshot().model_dump_json().encode() + b"\n"
            while True:
                try:
                    change = await asyncio.wait_for(queue.get(), _KEEPALIVE_SECONDS)
                except TimeoutError:
                    yield b"\n"
                    continue
                yield change.model_dump_json().encode() + b"\n"
                if queue not in self._followers:
                    return
        finally:
            self._followers.discard(queue)

    async def write_for_ever(self) -> None:
        """Keep the copy on disk current; changes that come together are written together."""
        while True:
            await self._dirty.wait()
            await asyncio.sleep(_WRITE_DELAY_SECONDS)
            self._dirty.clear()
            text = self.snapshot().model_dump_json()
            try:
                await asyncio.to_thread(_replace, self._path, text)
            except OSError as error:
                _logger.warning("cannot write the routing snapshot; it is tried again: %s", error)
                self._dirty.set()
                await asyncio.sleep(_RETRY_SECONDS)

    def _tell(self, change: RoutingChange) -> None:
        self._dirty.set()
        for queue in list(self._followers):
            if queue.qsize() > _LONGEST_QUEUE:
                # It has stopped reading: end its stream, and it will begin again with a whole snapshot.
                self._followers.discard(queue)
                continue
            queue.put_nowait(change)


def _replace(path: Path, text: str) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.touch(mode=0o600)
    temporary.write_text(text)
    temporary.replace(path)
