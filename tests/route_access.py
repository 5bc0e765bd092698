"""Every route of the control plane with who may use it: the one table that the tests of access go by."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any


class Needs(IntEnum):
    """The least that opens a route; each opens what those before it do.

    VIEW, QUERY and MANAGE are levels on the endpoint `ads` or, of secrets, READ, WRITE and MANAGE on scope `vault`.
    """

    NOTHING = 0  # not even a credential
    CREDENTIAL = 1
    VIEW = 2
    QUERY = 3
    MANAGE = 4
    ADMIN = 5


@dataclass(frozen=True)
class Route:
    """`template` as the router has it, `path` a request to it, `body` one that is valid."""

    method: str
    template: str
    needs: Needs
    path: str = ""
    body: Any = None
    query: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.path or self.template

    def __str__(self) -> str:
        return f"{self.method} {self.url}"


_E = "/api/2.0/serving-endpoints"
_N = f"{_E}/{{name}}"
_ADS = f"{_E}/ads"
_M = f"{_N}/served-models/{{served_model_name}}"
_ADS_M = f"{_ADS}/served-models/ads1-1"
_SCIM = "/api/2.0/preview/scim/v2"
_SECRETS = "/api/2.0/secrets"
_PERMISSIONS = "/api/2.0/permissions/{object_type}/{object_id}"
_ADS_PERMISSIONS = "/api/2.0/permissions/serving-endpoints/ads"
_CLIENT_SECRETS = "/api/2.0/accounts/servicePrincipals/{service_principal_id}/credentials/secrets"
_ENTITIES = {"served_entities": [{"entity_name": "ads1", "entity_version": "1"}]}
_NO_ENTITIES: dict[str, Any] = {"served_entities": []}
_GRANT = {"access_control_list": [{"user_name": "ann@example.com", "permission_level": "CAN_VIEW"}]}
_MANAGED = "/api/2.0/token-management/tokens"
_EDIT = {"token": {"comment": "x"}, "update_mask": "comment"}
_MINUTE = {"calls": 1, "renewal_period": "minute"}
_V2 = "/api/2.0/preview/mlflow/endpoints-v2"
_OLDER_V2 = "/api/2.0/preview/model-serving-api/endpoints-v2"
_MODEL = {"registered_model_name": "ads1"}
_VERSION = {**_MODEL, "endpoint_version_name": "1"}
_COMPUTE = {**_MODEL, "stage": "Staging", "desired_workload_config_spec": {"workload_size_id": "Small"}}
_PATCH = {
    "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
    "Operations": [{"op": "replace", "path": "displayName", "value": "X"}],
}


def _of_endpoint(method: str, rest: str, needs: Needs, body: Any = None) -> Route:
    return Route(method, f"{_N}{rest}", needs, f"{_ADS}{rest}", body)


def _of_served(rest: str) -> Route:
    return Route("GET", f"{_M}{rest}", Needs.VIEW, f"{_ADS_M}{rest}")


def _of_principals(kind: str, parameter: str) -> list[Route]:
    one, path = f"{_SCIM}/{kind}/{{{parameter}}}", f"{_SCIM}/{kind}/4711"
    created = {"userName": "new@example.com", "displayName": "new"}
    return [
        Route("GET", f"{_SCIM}/{kind}", Needs.CREDENTIAL),
        Route("POST", f"{_SCIM}/{kind}", Needs.ADMIN, body=created),
        Route("GET", one, Needs.CREDENTIAL, path),
        Route("PATCH", one, Needs.ADMIN, path, _PATCH),
        Route("PUT", one, Needs.ADMIN, path, created),
        Route("DELETE", one, Needs.ADMIN, path),
    ]


ROUTES = [
    Route("GET", "/.well-known/databricks-config", Needs.NOTHING),
    Route("GET", "/oidc/.well-known/oauth-authorization-server", Needs.NOTHING),
    Route("GET", "/oidc/.well-known/openid-configuration", Needs.NOTHING),
    Route("GET", "/oidc/jwks.json", Needs.NOTHING),
    Route("GET", "/oidc/v1/authorize", Needs.NOTHING),
    Route("POST", "/oidc/v1/authorize", Needs.NOTHING),
    Route("POST", "/oidc/v1/token", Needs.NOTHING),
    Route("GET", "/oidc/login", Needs.NOTHING),
    Route("GET", "/oidc/callback", Needs.NOTHING),
    Route("GET", "/login", Needs.NOTHING),
    Route("POST", "/login", Needs.NOTHING),
    *(Route("GET", path, Needs.NOTHING) for path in ("/", "/ml", "/settings", "/favicon.svg")),
    *(Route("GET", f"{root}/{{path}}", Needs.NOTHING, f"{root}/endpoints") for root in ("/ml", "/settings")),
    Route("GET", "/api/2.0/moorage/session", Needs.NOTHING),
    Route("POST", "/api/2.0/moorage/session", Needs.NOTHING, body={"token": "no such"}),
    Route("DELETE", "/api/2.0/moorage/session", Needs.CREDENTIAL),
    Route("POST", "/api/2.0/moorage/sign-in-links", Needs.ADMIN, body={"user_name": "nosuch@example.com"}),
    Route("GET", f"{_SCIM}/Me", Needs.CREDENTIAL),
    *_of_principals("Users", "user_id"),
    *_of_principals("Groups", "group_id"),
    *_of_principals("ServicePrincipals", "principal_id"),
    *(
        Route(method, _CLIENT_SECRETS, Needs.ADMIN, _CLIENT_SECRETS.format(service_principal_id="4711"), body)
        for method, body in (("GET", None), ("POST", {}))
    ),
    Route(
        "DELETE",
        f"{_CLIENT_SECRETS}/{{secret_id}}",
        Needs.ADMIN,
        f"{_CLIENT_SECRETS.format(service_principal_id='4711')}/5ec2e7",
    ),
    Route("POST", "/api/2.0/token/create", Needs.CREDENTIAL, body={}),
    Route("GET", "/api/2.0/token/list", Needs.CREDENTIAL),
    Route("POST", "/api/2.0/token/delete", Needs.CREDENTIAL, body={"token_id": "nosuch"}),
    Route(
        "PATCH",
        "/api/2.0/token/{token_id}",
        Needs.CREDENTIAL,
        "/api/2.0/token/nosuch",
        _EDIT,
    ),
    Route("GET", _MANAGED, Needs.ADMIN),
    *(
        Route(method, f"{_MANAGED}/{{token_id}}", Needs.ADMIN, f"{_MANAGED}/nosuch", body)
        for method, body in (("GET", None), ("DELETE", None), ("PATCH", _EDIT))
    ),
    Route(
        "POST",
        "/api/2.0/token-management/on-behalf-of/tokens",
        Needs.ADMIN,
        body={"application_id": "0f3a5c3e-7d1e-4f57-9d65-9f0d3ac1d8a1", "lifetime_seconds": 60},
    ),
    Route("GET", "/api/2.0/audit-log", Needs.ADMIN),
    Route("GET", "/api/2.0/audit-log/export", Needs.ADMIN),
    Route("GET", "/metrics", Needs.ADMIN),
    Route("GET", "/api/2.0/moorage/usage", Needs.CREDENTIAL),
    Route("POST", "/api/2.0/external-function", Needs.CREDENTIAL, body={}),
    Route("POST", "/api/2.0/model-checks", Needs.CREDENTIAL, body={"entity_name": "ads1", "entity_version": "9"}),
    *(
        Route(method, "/api/2.0/model-checks/{check_id}", Needs.CREDENTIAL, "/api/2.0/model-checks/c0ffee")
        for method in ("GET", "DELETE")
    ),
    Route("GET", _E, Needs.CREDENTIAL),
    Route("POST", _E, Needs.CREDENTIAL, body={"name": "mine"}),
    Route("POST", f"{_E}/pt", Needs.CREDENTIAL, body={"name": "mine", "config": _NO_ENTITIES}),
    Route("PUT", f"{_E}/pt/{{name}}/config", Needs.CREDENTIAL, f"{_E}/pt/ads/config", {"config": _NO_ENTITIES}),
    Route(
        "GET",
        f"{_E}/get-model-optimization-info/{{entity_name}}/{{version}}",
        Needs.CREDENTIAL,
        f"{_E}/get-model-optimization-info/nosuch/1",
    ),
    _of_endpoint("GET", "", Needs.VIEW),
    _of_endpoint("DELETE", "", Needs.MANAGE),
    _of_endpoint("PUT", "/config", Needs.MANAGE, _ENTITIES),
    _of_endpoint("GET", "/config-versions", Needs.VIEW),
    _of_endpoint("POST", "/config:cancel", Needs.MANAGE),
    _of_endpoint("POST", "/config:rollback", Needs.MANAGE, {"config_version": 1}),
    _of_endpoint("POST", "/config:start", Needs.MANAGE),
    _of_endpoint("POST", "/config:stop", Needs.MANAGE),
    _of_endpoint("GET", "/inference-table", Needs.MANAGE),
    _of_endpoint("GET", "/inference-table/rows", Needs.MANAGE),
    _of_endpoint("GET", "/events", Needs.VIEW),
    _of_endpoint("GET", "/events/stream", Needs.VIEW),
    _of_endpoint("GET", "/metrics", Needs.VIEW),
    _of_endpoint("GET", "/metrics-history", Needs.VIEW),
    _of_endpoint("GET", "/openapi", Needs.VIEW),
    _of_endpoint("GET", "/replicas", Needs.VIEW),
    _of_endpoint("PATCH", "/tags", Needs.MANAGE, {"add_tags": [{"key": "a"}]}),
    _of_endpoint("PATCH", "/notifications", Needs.MANAGE, {}),
    _of_endpoint("PATCH", "/telemetry-config", Needs.MANAGE, {}),
    _of_endpoint("PUT", "/rate-limits", Needs.MANAGE, {"rate_limits": [_MINUTE]}),
    _of_endpoint("PUT", "/ai-gateway", Needs.MANAGE, {"rate_limits": [_MINUTE]}),
    *(_of_served(f"/{rest}") for rest in ("build-logs", "build-logs/stream", "logs", "logs/stream", "log-files")),
    Route("GET", _PERMISSIONS, Needs.MANAGE, _ADS_PERMISSIONS),
    Route("PUT", _PERMISSIONS, Needs.MANAGE, _ADS_PERMISSIONS, _GRANT),
    Route("PATCH", _PERMISSIONS, Needs.MANAGE, _ADS_PERMISSIONS, _GRANT),
    Route("GET", f"{_PERMISSIONS}/permissionLevels", Needs.VIEW, f"{_ADS_PERMISSIONS}/permissionLevels"),
    Route("POST", f"{_SECRETS}/scopes/create", Needs.CREDENTIAL, body={"scope": "mine"}),
    Route("GET", f"{_SECRETS}/scopes/list", Needs.CREDENTIAL),
    Route("POST", f"{_SECRETS}/scopes/delete", Needs.MANAGE, body={"scope": "vault"}),
    Route("POST", f"{_SECRETS}/put", Needs.QUERY, body={"scope": "vault", "key": "k", "string_value": "v"}),
    Route("POST", f"{_SECRETS}/delete", Needs.QUERY, body={"scope": "vault", "key": "k"}),
    Route("GET", f"{_SECRETS}/list", Needs.VIEW, query={"scope": "vault"}),
    Route("GET", f"{_SECRETS}/get", Needs.VIEW, query={"scope": "vault", "key": "k"}),
    Route(
        "POST",
        f"{_SECRETS}/acls/put",
        Needs.MANAGE,
        body={"scope": "vault", "principal": "ann@example.com", "permission": "READ"},
    ),
    Route("GET", f"{_SECRETS}/acls/get", Needs.MANAGE, query={"scope": "vault", "principal": "ann@example.com"}),
    Route("GET", f"{_SECRETS}/acls/list", Needs.MANAGE, query={"scope": "vault"}),
    # Everybody may read the model `ads1`, which has no owner, and only administrators may do more with it.
    *(Route("POST", f"{_V2}/{rest}", Needs.ADMIN, body=_MODEL) for rest in ("enable", "disable")),
    *(Route("PUT", f"{root}/update-compute-config", Needs.ADMIN, body=_COMPUTE) for root in (_V2, _OLDER_V2)),
    Route("POST", f"{_V2}/restart-compute-config-update", Needs.ADMIN, body=_MODEL),
    *(Route("GET", f"{_V2}/{rest}", Needs.CREDENTIAL) for rest in ("list", "get-supported-workload-sizes")),
    *(
        Route("GET", f"{_V2}/{rest}", Needs.CREDENTIAL, query=_MODEL)
        for rest in ("get-status", "list-versions", "list-version-aliases", "get-event-history")
    ),
    *(
        Route("GET", f"{_V2}/{rest}", Needs.CREDENTIAL, query=_VERSION)
        for rest in ("get-version-status", "get-version-metrics", "get-version-replicas")
    ),
    *(
        Route("POST", f"{_V2}/{rest}", Needs.CREDENTIAL, body=_VERSION)
        for rest in ("get-version-logs", "get-version-build-logs")
    ),
    Route(
        "POST",
        "/api/2.0/mlflow/databricks/model-versions/transition-stage",
        Needs.ADMIN,
        body={"name": "ads1", "version": "1", "stage": "Staging"},
    ),
    Route("POST", f"{_SECRETS}/acls/delete", Needs.MANAGE, body={"scope": "vault", "principal": "ann@example.com"}),
]
