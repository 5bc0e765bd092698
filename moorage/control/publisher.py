"""Holds the routing snapshot and tells it: to each gateway as a stream of changes, to the disk for their restart."""

from __future__ import annotations

import asyncio
import heapq
import logging
import secrets
import time
from collections.abc import AsyncIterator, Collection
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from moorage.api.routing import (
    EndpointChange,
    EndpointRoute,
    Principal,
    RoutingChange,
    RoutingSnapshot,
    RoutingTaken,
    TokenChange,
)

_logger = logging.getLogger(__name__)

_WRITE_DELAY_SECONDS = 0.1
_RETRY_SECONDS = 5.0
_KEEPALIVE_SECONDS = 10.0
_LONGEST_QUEUE = 10_000
_TAKEN_SECONDS = 0.5
_SEEN_SECONDS = 3.0


class _Follower:
    """One gateway's stream, and the number of the last change that it works by."""

    def __init__(self, gateway: str) -> None:
        self.gateway = gateway
        self.queue: asyncio.Queue[RoutingChange] = asyncio.Queue()
        self.taken = -1


class RoutingPublisher:
    """Used from the event loop only."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._endpoints: dict[str, EndpointRoute] = {}
        self._tokens: dict[str, Principal] = {}
        self._stored_tokens: set[str] = set()
        self._told_meanwhile: set[str] | None = None
        self._expiring: list[tuple[int, str]] = []  # a heap of expiry time and digest
        self._followers: set[_Follower] = set()
        self.life = secrets.token_hex(4)
        self._number = 0
        self._progress = asyncio.Event()
        self._dirty = asyncio.Event()
        self._unseen: set[str] = set()
        self._all_seen = asyncio.Event()
        self._gateway_expected = False

    def begin(self, tokens: dict[str, Principal], endpoint_ids: Collection[str]) -> None:
        """Take in the database's tokens, and the routes that an earlier control plane left of those endpoints.

        Until the reconciler has looked at an endpoint, its requests go where they went before. Gateways may know
        that better than the copy on disk, which is a moment behind: they are told when all have been looked at.
        """
        self._tokens = dict(tokens)
        self._stored_tokens = set(tokens)
        self._expiring = [(one.expiry_time, digest) for digest, one in tokens.items() if one.expiry_time != -1]
        heapq.heapify(self._expiring)
        try:
            earlier = RoutingSnapshot.model_validate_json(self._path.read_bytes()).endpoints
        except FileNotFoundError:
            earlier = {}
        except (OSError, ValidationError) as error:
            _logger.warning("the earlier routing snapshot cannot be read: %s", error)
            earlier = {}
        self._unseen = set(endpoint_ids)
        self._endpoints = {name: route for name, route in earlier.items() if route.id in self._unseen}
        self._gateway_expected = bool(self._endpoints)
        self._dirty.set()

    def looked_at(self, endpoint_id: str) -> None:
        """What is published of this endpoint is no longer what an earlier control plane left."""
        self._unseen.discard(endpoint_id)
        if not self._unseen:
            self._all_seen.set()

    def publish_endpoint(self, name: str, route: EndpointRoute | None) -> None:
        """Make `route` the way to the endpoint, or forget it."""
        if self._endpoints.get(name) == route:
            return
        if route is None:
            del self._endpoints[name]
        else:
            self._endpoints[name] = route
        self._number += 1
        self._tell(EndpointChange(name=name, route=route, number=self._number))

    def routes(self) -> dict[str, EndpointRoute]:
        """A copy of every endpoint's route by name. This one may be asked from any thread."""
        return dict(self._endpoints)

    def owner_of(self, name: str) -> str | None:
        """The id of the endpoint that has the route of that name."""
        route = self._endpoints.get(name)
        return route.id if route is not None else None

    def begin_reading(self) -> None:
        """The database's tokens are about to be read, for `replace_tokens`: what is told meanwhile is newer."""
        self._told_meanwhile = set()

    def replace_tokens(self, tokens: dict[str, Principal]) -> None:
        """Make the database's tokens stand for these principals, and no others; tells what is different."""
        newer = self._told_meanwhile or set()
        self._told_meanwhile = None
        for digest in self._stored_tokens - tokens.keys() - newer:
            self._set_token(digest, None)
        for digest, principal in tokens.items():
            if digest not in newer and self._tokens.get(digest) != principal:
                self._set_token(digest, principal)
        self._stored_tokens = (tokens.keys() - newer) | (self._stored_tokens & newer)

    def publish_token(self, digest: str, principal: Principal | None) -> None:
        """Make a token good, or revoke it. Tokens that have expired in the meantime are forgotten.

        One whose principal has a `token_id` is in the database; others live as long as this process.
        """
        if self._told_meanwhile is not None:
            self._told_meanwhile.add(digest)
        if principal is not None and principal.token_id is not None:
            self._stored_tokens.add(digest)
        self._set_token(digest, principal)
        self._forget_expired(time.time_ns() // 1_000_000)

    def _forget_expired(self, now: int) -> None:
        while self._expiring and self._expiring[0][0] <= now:
            expiry_time, digest = heapq.heappop(self._expiring)
            principal = self._tokens.get(digest)
            if principal is not None and principal.expiry_time == expiry_time:
                self._set_token(digest, None)

    def _set_token(self, digest: str, principal: Principal | None) -> None:
        if principal is None:
            self._tokens.pop(digest, None)
            self._stored_tokens.discard(digest)
        else:
            known = self._tokens.get(digest)
            self._tokens[digest] = principal
            if principal.expiry_time != -1 and (known is None or known.expiry_time != principal.expiry_time):
                heapq.heappush(self._expiring, (principal.expiry_time, digest))
        self._number += 1
        self._tell(TokenChange(digest=digest, principal=principal, number=self._number))

    def snapshot(self) -> RoutingSnapshot:
        """All of it as it is now."""
        return RoutingSnapshot(
            endpoints=dict(self._endpoints), tokens=dict(self._tokens), life=self.life, number=self._number
        )

    def taken(self, word: RoutingTaken) -> None:
        """A gateway's word on how far it is."""
        for follower in self._followers:
            if follower.gateway == word.gateway and word.life == self.life:
                follower.taken = max(follower.taken, word.number)
        self._made_progress()

    async def all_taken(self) -> bool:
        """Wait until every gateway works by what has been told so far. False: one was silent for half a second."""
        number = self._number
        try:
            async with asyncio.timeout(_TAKEN_SECONDS):
                while self._gateway_expected or any(follower.taken < number for follower in self._followers):
                    await self._progress.wait()
        except TimeoutError:
            return False
        return True

    async def follow(self, gateway: str) -> AsyncIterator[bytes]:
        """Lines of JSON: the snapshot, then each change; an empty line when there was none for a while."""
        if self._unseen:
            with suppress(TimeoutError):  # one of them takes its time: the others need not wait for it
                await asyncio.wait_for(self._all_seen.wait(), _SEEN_SECONDS)
        follower = _Follower(gateway)
        queue = follower.queue
        self._followers.add(follower)
        self._gateway_expected = False
        try:
            yield self.snapshot().model_dump_json().encode() + b"\n"
            while True:
                try:
                    change = await asyncio.wait_for(queue.get(), _KEEPALIVE_SECONDS)
                except TimeoutError:
                    yield b"\n"
                    continue
                yield change.model_dump_json().encode() + b"\n"
                if follower not in self._followers:
                    return
        finally:
            self._let_go(follower)

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
        for follower in list(self._followers):
            if follower.queue.qsize() > _LONGEST_QUEUE:
                # It has stopped reading: end its stream, and it will begin again with a whole snapshot.
                self._let_go(follower)
                continue
            follower.queue.put_nowait(change)

    def _let_go(self, follower: _Follower) -> None:
        self._followers.discard(follower)
        self._made_progress()

    def _made_progress(self) -> None:
        self._progress.set()
        self._progress = asyncio.Event()


def _replace(path: Path, text: str) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.touch(mode=0o600)
    temporary.write_text(text)
    temporary.replace(path)
