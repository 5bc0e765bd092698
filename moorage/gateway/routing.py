"""The gateway's live view of the routing snapshot: endpoints with their links, tokens with their principals."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import time
from base64 import b64decode
from binascii import Error as Base64Error

from moorage.api.errors import (
    ApiError,
    BadRequest,
    InvalidToken,
    PermissionDenied,
    ResourceDoesNotExist,
    Unauthenticated,
)
from moorage.api.routing import (
    EndpointChange,
    EndpointRoute,
    ExternalRoute,
    Principal,
    ReplicaRoute,
    RoutingChange,
    RoutingSnapshot,
    ServedLoad,
    ServedRoute,
    TokenChange,
)
from moorage.external.exchange import Target
from moorage.gateway.credentials import CredentialOpener, CredentialProblem
from moorage.gateway.guarding import Guarding
from moorage.gateway.limit_rules import LimitRules
from moorage.gateway.meters import Meter, Meters
from moorage.gateway.transport import ReplicaLink

_logger = logging.getLogger(__name__)

_LINK_LINGER_SECONDS = 600.0  # a replica that left the routing may still be answering its last requests
_REMEMBERED_CREDENTIALS = 10_000
_LONGEST_SHOWN = 100  # of what a client gave as a name


class Served:
    """A served entity with the links to its replicas, or the provider's model that it stands for.

    `target` is None for a registered model, and for a provider's that cannot be reached: `problem` says why. An
    engine has a target and `engines`, its replicas.
    """

    __slots__ = (
        "engines", "header", "links", "meter", "name", "problem", "queued", "reported", "requests", "route", "target",
    )  # fmt: skip

    def __init__(self, name: str, meter: Meter) -> None:
        self.name = name
        self.route = ServedRoute(name=name, traffic_percentage=0)
        self.target: Target | None = None
        self.problem = ""
        self.meter = meter
        self.header = (b"served-model-name", name.encode())
        self.links: list[ReplicaLink] = []
        self.engines: list[EngineLink] = []
        self.queued = 0
        self.requests = 0
        self.reported = 0

    def pick(self, avoid: ReplicaLink | None) -> ReplicaLink | None:
        """The link with the fewest outstanding requests, not `avoid`; one that cannot be reached comes last."""
        links = self.links
        if len(links) == 1:
            return links[0] if links[0] is not avoid else None
        best: ReplicaLink | None = None
        for link in links:
            if link is avoid:
                continue
            if best is None or _burden(link) < _burden(best):
                best = link
        return best

    def pick_engine(self, avoid: EngineLink | None) -> EngineLink | None:
        """The engine's replica with the fewest outstanding requests, not `avoid`."""
        others = (one for one in self.engines if avoid is None or one.replica_id != avoid.replica_id)
        return min(others, key=lambda one: one.outstanding, default=None)


class EngineLink:
    """A replica of an engine: the path of its socket, and how many requests of this gateway it works on."""

    __slots__ = ("address", "outstanding", "replica_id")

    def __init__(self, replica_id: str, address: str) -> None:
        self.replica_id = replica_id
        self.address = address
        self.outstanding = 0


def _burden(link: ReplicaLink) -> tuple[bool, int]:
    return link.unreachable_since is not None, link.outstanding


class Endpoint:
    """An endpoint and its served entities.

    `meter` counts what is refused before an entity is drawn; `limits` is None where there are none. `logs` is whether
    its requests are written down; `guarding` is made when a request needs it.
    """

    __slots__ = ("_weights", "guarding", "limits", "logs", "meter", "route", "served")

    def __init__(self, route: EndpointRoute, served: list[Served], meter: Meter) -> None:
        self.route = route
        self.meter = meter
        self.limits = LimitRules(route.id, route.limits) if route.limits else None
        self.logs = route.usage or bool(route.captures)
        self.guarding: Guarding | None = None
        self.served = {one.name: one for one in served}
        shares = [(self.served[one.name], one.traffic_percentage) for one in route.served]
        self._weights = [(one, share) for one, share in shares if share > 0]

    def draw(self) -> Served:
        """One served entity, drawn by its share of the traffic.

        Raises:
            ResourceDoesNotExist: no entity takes traffic.
        """
        if len(self._weights) == 1:
            return self._weights[0][0]
        point = random.random() * sum(share for _, share in self._weights)
        for one, share in self._weights:
            point -= share
            if point < 0:
                return one
        raise ResourceDoesNotExist(f"No served entity of endpoint '{self.route.name}' takes traffic.")

    def in_order(self, first: Served, most: int) -> list[Served]:
        """`first` and, where the endpoint falls back, the others in the configuration's order; `most` in all."""
        if not self.route.fallback:
            return [first]
        return [first, *(one for one in self.served.values() if one is not first)][:most]

    def answering(self, alias: str) -> Served:
        """The served entity that answers for a stage or a version of the registered model.

        Raises:
            ResourceDoesNotExist: no version is in that stage, or the version in none that is served.
            BadRequest: it has not been up yet.
        """
        legacy = self.route.legacy
        aliases = legacy.aliases if legacy is not None else {}
        served = self.served.get(aliases.get(alias) or aliases.get(alias.capitalize()) or "")
        model = legacy.model if legacy is not None else self.route.name
        if served is None:
            raise ResourceDoesNotExist(
                f"Nothing of registered model '{model}' is served as '{alias[:_LONGEST_SHOWN]}': it must be Staging"
                " or Production with a version in it, or a version that is in one of them."
            )
        if served.route.not_ready is not None:
            version, why = served.route.version, served.route.not_ready
            raise BadRequest(f"Version {version} of registered model '{model}' is not ready. {why}")
        return served

    def named(self, name: str) -> Served:
        """The served entity called `name`, whatever its share.

        Raises:
            ResourceDoesNotExist: there is none.
        """
        try:
            return self.served[name]
        except KeyError:
            raise ResourceDoesNotExist(
                f"Served model '{name}' of endpoint '{self.route.name}' does not exist."
            ) from None


class RoutingTable:
    """Endpoints by name and tokens by digest, changed by what the control plane sends.

    `models` are those that serve a registered model by stage, by its name. `guarded` are the endpoints whose
    guardrails are new, for whoever makes them ready.
    """

    def __init__(self, meters: Meters, credentials: CredentialOpener) -> None:
        self._meters = meters
        self._opener = credentials
        self.endpoints: dict[str, Endpoint] = {}
        self.models: dict[str, Endpoint] = {}
        self.guarded: list[Endpoint] = []
        self.loaded = False
        self._tokens: dict[str, Principal] = {}
        self._links: dict[str, ReplicaLink] = {}
        self._leaving: dict[str, tuple[ReplicaLink, float]] = {}
        self._credentials: dict[bytes, Principal] = {}
        self._changed = asyncio.Event()

    def apply(self, change: RoutingChange) -> None:
        """Take one change in."""
        self.loaded = True
        if isinstance(change, RoutingSnapshot):
            self._tokens = dict(change.tokens)
            self._credentials.clear()
            for name in self.endpoints.keys() - change.endpoints.keys():
                self._replace(name, None)
            for name, route in change.endpoints.items():
                self._replace(name, route)
        elif isinstance(change, EndpointChange):
            self._replace(change.name, change.route)
        elif isinstance(change, TokenChange):
            self._credentials.clear()
            if change.principal is None:
                self._tokens.pop(change.digest, None)
            else:
                self._tokens[change.digest] = change.principal
        self._changed.set()
        self._changed = asyncio.Event()

    async def change(self, seconds: float) -> None:
        """Wait for the next change, at most that long."""
        try:
            await asyncio.wait_for(self._changed.wait(), seconds)
        except TimeoutError:
            return

    def principal(self, authorization: bytes | None) -> Principal:
        """Whose credential the `Authorization` header holds.

        Raises:
            Unauthenticated: no credential, or one of an unknown kind.
            InvalidToken: an unknown, revoked or expired token.
        """
        if authorization is None:
            raise Unauthenticated()
        principal = self._credentials.get(authorization)
        if principal is None:
            principal = self._tokens.get(hashlib.sha256(_token_of(authorization)).hexdigest())
            if principal is None:
                raise InvalidToken()
            if len(self._credentials) >= _REMEMBERED_CREDENTIALS:
                self._credentials.clear()
            self._credentials[authorization] = principal
        if principal.expiry_time != -1 and principal.expiry_time <= time.time() * 1000:
            raise InvalidToken()
        return principal

    def loads(self) -> list[ServedLoad]:
        """Entities that have requests, or had since the last call."""
        found = []
        for endpoint in self.endpoints.values():
            for served in endpoint.served.values():
                fresh = served.requests - served.reported
                if fresh or served.queued:
                    served.reported = served.requests
                    found.append(
                        ServedLoad(
                            endpoint=endpoint.route.name,
                            served=served.name,
                            concurrency=served.queued,
                            requests=fresh,
                        )
                    )
        return found

    def sweep(self, now: float) -> None:
        """Fail requests whose time is over, and keep the links that are wanted, drop those that have left."""
        for replica_id, (link, left) in list(self._leaving.items()):
            if link.outstanding == 0 or now - left > _LINK_LINGER_SECONDS:
                link.close()
                del self._leaving[replica_id]
        for link in self._links.values():
            link.keep_connected(now)
        for link in (*self._links.values(), *(link for link, _ in self._leaving.values())):
            link.expire(now)

    def _replace(self, name: str, route: EndpointRoute | None) -> None:
        old = self.endpoints.pop(name, None)
        if old is not None and old.route.legacy is not None and self.models.get(old.route.legacy.model) is old:
            del self.models[old.route.legacy.model]
        wanted: dict[str, ReplicaRoute] = {}
        if route is not None:
            same = old if old is not None and old.route.id == route.id else None
            entities = [self._served(route, entity, same) for entity in route.served]
            meter = same.meter if same is not None else self._meters.meter(name, route.id, "")
            endpoint = self.endpoints[name] = Endpoint(route, entities, meter)
            if route.legacy is not None:
                self.models[route.legacy.model] = endpoint
            if route.guardrails is not None and (same is None or same.route.guardrails != route.guardrails):
                self.guarded.append(endpoint)
            wanted = {replica.id: replica for entity in route.served for replica in entity.replicas}
        if old is not None:
            for entity in old.route.served:
                for replica in entity.replicas:
                    link = self._links.get(replica.id)
                    if replica.id not in wanted and link is not None:
                        del self._links[replica.id]
                        self._leaving[replica.id] = (link, time.monotonic())

    def _served(self, route: EndpointRoute, entity: ServedRoute, old: Endpoint | None) -> Served:
        # An entity that stays keeps its count of queued requests, which its waiting requests will lower.
        served = old.served.get(entity.name) if old is not None else None
        if served is None:
            served = Served(entity.name, self._meters.meter(route.name, route.id, entity.name))
        served.route = entity
        if entity.engine is not None and route.task is not None:
            known = {one.replica_id: one for one in served.engines}
            served.engines = [known.get(one.id) or EngineLink(one.id, one.address) for one in entity.replicas]
            served.target = Target(entity.engine, entity.name, route.task)
            return served
        served.links = [self._link(replica) for replica in entity.replicas]
        if entity.external is not None:
            self._point(served, entity.external, route)
        return served

    def _point(self, served: Served, external: ExternalRoute, route: EndpointRoute) -> None:
        served.target, served.problem = None, external.problem
        if external.problem or route.task is None:
            return
        try:
            credentials = self._opener.open(route.id, external)
        except CredentialProblem as problem:
            served.problem = str(problem)
            _logger.error("%s of endpoint %s: %s", served.name, route.name, problem)
            return
        served.target = Target(external.provider, external.model, route.task, external.options, credentials)

    def _link(self, replica: ReplicaRoute) -> ReplicaLink:
        link = self._links.get(replica.id)
        if link is not None and link.address != replica.address:
            self._leaving[f"{replica.id} at {link.address}"] = (link, time.monotonic())
            link = None
        if link is None:
            link = self._links[replica.id] = ReplicaLink(replica.id, replica.address)
        return link


def _token_of(authorization: bytes) -> bytes:
    scheme, _, credential = authorization.partition(b" ")
    credential = credential.strip()
    kind = scheme.lower()
    if kind == b"bearer" and credential:
        return credential
    if kind == b"basic":
        try:
            user, _, secret = b64decode(credential, validate=True).partition(b":")
        except (Base64Error, ValueError):
            raise Unauthenticated() from None
        if user == b"token" and secret:
            return secret
    raise Unauthenticated()


def missing_right(principal: Principal, level: str, endpoint: str) -> ApiError:
    """The refusal that names who, which level and what."""
    return PermissionDenied(
        f"User '{principal.user_name}' does not have {level} permission on serving endpoint '{endpoint}'."
    )
