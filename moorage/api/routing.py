"""What the control plane tells the gateways: where each endpoint's requests go and whose tokens are good.

The gateway holds one `RoutingSnapshot` in memory and on disk. The control plane sends a whole one when a
gateway connects, then single changes, each a `RoutingChange` on a line of its own (NDJSON). Changes are numbered, and
a gateway says up to which number it has taken them in.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from moorage.api.ai_gateway import Guardrails
from moorage.api.engines import Engine
from moorage.api.external_models import ExternalTask, Provider
from moorage.api.rate_limits import CompiledLimit


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Availability(StrEnum):
    """Whether an endpoint takes queries."""

    SERVING = "serving"
    NOT_READY = "not_ready"
    STOPPED = "stopped"


class ReplicaRoute(_Wire):
    """One live replica. `address` is the path of its Unix socket, or `host:port`."""

    id: str
    address: str


class ExternalRoute(_Wire):
    """A provider's model: `moorage.external.exchange.Target` says what `options` and `credentials` hold.

    Credentials are sealed (`moorage.encryption`) for `credential_purpose(endpoint id)`. A `problem` says why the
    model cannot be reached, such as a secret that was deleted.
    """

    provider: Provider
    model: str
    options: dict[str, str] = Field(default_factory=dict)
    credentials: dict[str, str] = Field(default_factory=dict)
    problem: str = ""


def credential_purpose(endpoint_id: str) -> str:
    """What the credentials in the route of an endpoint are sealed for."""
    return f"route/{endpoint_id}"


class CaptureRoute(_Wire):
    """An inference table that requests and answers are written to: `table` is its name in three levels.

    `legacy` is whether it has the columns of the older `auto_capture_config`. `sampling_fraction` of the requests
    are written.
    """

    table: str
    legacy: bool = False
    sampling_fraction: float = 1.0


class ServedRoute(_Wire):
    """A served entity: its name, share of the endpoint's traffic in per cent, and live replicas.

    `external` is set for a provider's model, which has no replicas. `id` is that of its deployment; `entity` and
    `version` name the registered model, or the provider's. The replicas of an `engine` speak HTTP on their sockets.
    One that has never been up says why in `not_ready`.
    """

    name: str
    traffic_percentage: int
    replicas: tuple[ReplicaRoute, ...] = ()
    external: ExternalRoute | None = None
    id: str = ""
    entity: str = ""
    version: str = ""
    engine: Engine | None = None
    not_ready: str | None = None


class LegacyRoute(_Wire):
    """The registered model whose versions the endpoint serves by stage. `aliases` maps the names of stages, and
    versions, to the names of the served entities that answer for them."""

    model: str
    aliases: dict[str, str]


class EndpointRoute(_Wire):
    """An endpoint as the gateway sees it.

    `managers` and `queriers` hold ids of users, service principals and groups; admins need no entry. `task` is that
    of external models, all of which have the same. `captures` are the inference tables; `usage` is whether usage is
    tracked; with `fallback` the other entities, in their order, are tried when the chosen one fails.
    """

    name: str
    id: str
    availability: Availability
    message: str = ""
    served: tuple[ServedRoute, ...] = ()
    managers: frozenset[str] = frozenset()
    queriers: frozenset[str] = frozenset()
    limits: tuple[CompiledLimit, ...] = ()
    task: ExternalTask | None = None
    captures: tuple[CaptureRoute, ...] = ()
    usage: bool = False
    fallback: bool = False
    guardrails: Guardrails | None = None
    config_version: int = 0
    legacy: LegacyRoute | None = None


class PrincipalKind(StrEnum):
    USER = "user"
    SERVICE_PRINCIPAL = "service_principal"


class Principal(_Wire):
    """Who calls. `expiry_time` is milliseconds since the epoch, or -1 for a credential that does not expire.

    `groups` are the ids of all groups that it is in, through others too. The `user_name` of a service principal is
    its application id. A credential with `only_endpoint`, an endpoint's id, opens nothing but queries to that one.
    `reads_every_model` is the control plane's own: it may read all registered models.
    """

    id: str
    user_name: str
    display_name: str = ""
    kind: PrincipalKind = PrincipalKind.USER
    admin: bool = False
    groups: frozenset[str] = frozenset()
    only_endpoint: str | None = None
    reads_every_model: bool = False
    token_id: str | None = None
    expiry_time: int = -1


class RoutingSnapshot(_Wire):
    """All of it. `tokens` maps the SHA-256 hex digest of a token to its principal.

    `life` names the life of the control plane that counts the changes.
    """

    kind: Literal["snapshot"] = "snapshot"
    endpoints: dict[str, EndpointRoute] = Field(default_factory=dict)
    tokens: dict[str, Principal] = Field(default_factory=dict)
    life: str = ""
    number: int = 0


class EndpointChange(_Wire):
    kind: Literal["endpoint"] = "endpoint"
    name: str
    route: EndpointRoute | None
    number: int = 0


class TokenChange(_Wire):
    kind: Literal["token"] = "token"
    digest: str
    principal: Principal | None
    number: int = 0


RoutingChange = RoutingSnapshot | EndpointChange | TokenChange


class RoutingTaken(_Wire):
    """A gateway worker's word that it works by every change up to `number` of that life of the control plane."""

    gateway: str
    life: str
    number: int


class ReplicaFault(StrEnum):
    """What a gateway saw of a replica."""

    TIMED_OUT = "timed_out"
    UNREACHABLE = "unreachable"


class ReplicaReport(_Wire):
    """A gateway's word to the control plane that a replica needs a look."""

    endpoint: str
    replica_id: str
    fault: ReplicaFault


class ServedLoad(_Wire):
    """Requests to a served entity: how many are in flight or waiting, how many came since the last report."""

    endpoint: str
    served: str
    concurrency: int
    requests: int


class LoadReport(_Wire):
    """A gateway worker's word on what it has to do; entities without any request are left out."""

    gateway: str
    loads: tuple[ServedLoad, ...]


INTERNAL_HEADER = "x-moorage-internal"
PRINCIPAL_HEADER = "x-moorage-principal"
CLIENT_HEADER = "x-moorage-client"
"""The address that a request came from, as the gateway tells the control plane."""
