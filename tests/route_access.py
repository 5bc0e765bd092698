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
_UC = "/api/2.1/unity-catalog"
_ADS_PERMISSIONS = "/api/2.0/permissions/serving-endpoints/ads"
_CLIENT_SECRETS = "/api/2.0/accounts/servicePrincipals/{service_principal_id}/credentials/secrets"
_ENTITIES = {"served_entities": [{"entity_name": "ads1", "entity_version": "1"}]}
_NO_ENTITIES: dict[str, Any] = {"served_entities": []}
_GRANT = {"access_control_list": [{"user_name": "ann@example.com", "permission_level": "CAN_VIEW"}]}
_MANAGED = "/api/2.0/token-management/tokens"
_EDIT = {"token": {"comment": "x"}, "update_mask": "comment"}
_MINUTE = {"calls": 1, "renewal_period": "minute"}
_MODEL_PAGE = "/explore/data/models"
_V2 = "/api/2.0/preview/mlflow/endpoints-v2"
_OLDER_V2 = "/api/2.0/preview/model-serving-api/endpoints-v2"
_MODEL = {"registered_model_name": "ads1"}
_MLFLOW = "/api/2.0/mlflow"
_OF_VERSION = {"name": "ads1", "version": "1"}
_MOVE = {**_OF_VERSION, "stage": "Staging"}
_VERSION = {**_MODEL, "endpoint_version_name": "1"}
_PROMPTS = f"{_MLFLOW}/unity-catalog/prompts"
_COMPUTE = {**_MODEL, "stage": "Staging", "desired_workload_config_spec": {"workload_size_id": "Small"}}
_PATCH = {
    "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
    "Operations": [{"op": "replace", "path": "displayName", "value": "X"}],
}


def _of_endpoint(method: str, rest: str, needs: Needs, body: Any = None) -> Route:
    return Route(method, f"{_N}{rest}", needs, f"{_ADS}{rest}", body)


def _of_prompt(method: str, rest: str, needs: Needs, body: Any = None) -> Route:
    """Of one without an owner: everybody may read it, and only administrators may do more with it."""
    path = rest.format(version="7", alias="live", key="tier")
    return Route(method, f"{_PROMPTS}/{{name}}{rest}", needs, f"{_PROMPTS}/main.default.nosuch{path}", body)


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


def _of_catalog_models() -> list[Route]:
    """Who may do what with a model is for that model to say; of one that is not there everybody hears just that."""
    model, version, tag = {"name": "a.b.nosuch"}, {"name": "a.b.nosuch", "version": "1"}, {"key": "k", "value": "v"}
    made = {"catalog_name": "a", "schema_name": "b", "name": "made", "model_name": "nosuch", "source": "s"}
    uc, models, versions = f"{_MLFLOW}/unity-catalog", "registered-models", "model-versions"
    changes = {"changes": {"add_tags": [tag]}}

    def by_name(method: str, rest: str, body: Any = None) -> Route:
        template = f"{_UC}/{rest}"
        names = {"full_name": "a.b.nosuch", "version": "1", "alias": "live", "securable_type": "FUNCTION"}
        return Route(method, template, Needs.CREDENTIAL, template.format(**names), body)

    return [
        *(
            Route(method, f"{uc}/{rest}", Needs.CREDENTIAL, query=given)
            if method == "GET"
            else Route(method, f"{uc}/{rest}", Needs.CREDENTIAL, body=given)
            for method, rest, given in (
                ("POST", f"{models}/create", {"name": "a.b.made"}),
                ("PATCH", f"{models}/update", {**model, "description": "d"}),
                ("DELETE", f"{models}/delete", model),
                ("GET", f"{models}/get", model),
                ("GET", f"{models}/search", {}),
                ("POST", f"{models}/alias", {**version, "alias": "live"}),
                ("DELETE", f"{models}/alias", {**model, "alias": "live"}),
                ("GET", f"{models}/alias", {**model, "alias": "live"}),
                ("POST", f"{models}/set-tag", {**model, **tag}),
                ("DELETE", f"{models}/delete-tag", {**model, "key": "k"}),
                ("GET", f"{models}:is-databricks-sdk-models-artifact-repository-enabled", {}),
                ("POST", f"{versions}/create", {**model, "source": "s"}),
                ("PATCH", f"{versions}/update", {**version, "description": "d"}),
                ("DELETE", f"{versions}/delete", version),
                ("GET", f"{versions}/get", version),
                ("GET", f"{versions}/search", {}),
                ("POST", f"{versions}/generate-temporary-credentials", version),
                ("GET", f"{versions}/get-download-uri", version),
                ("POST", f"{versions}/finalize", version),
                ("POST", f"{versions}/set-tag", {**version, **tag}),
                ("DELETE", f"{versions}/delete-tag", {**version, "key": "k"}),
                ("POST", f"{versions}/emit-lineage", version),
            )
        ),
        by_name("POST", "models", made),
        by_name("GET", "models"),
        by_name("POST", "models/versions", made),
        by_name("GET", "models/{full_name}"),
        by_name("PATCH", "models/{full_name}", {"comment": "c"}),
        by_name("DELETE", "models/{full_name}"),
        by_name("PUT", "models/{full_name}/aliases/{alias}", {"version_num": 1}),
        by_name("GET", "models/{full_name}/aliases/{alias}"),
        by_name("DELETE", "models/{full_name}/aliases/{alias}"),
        by_name("GET", "models/{full_name}/versions"),
        by_name("GET", "models/{full_name}/versions/{version}"),
        by_name("PATCH", "models/{full_name}/versions/{version}", {"comment": "c"}),
        by_name("DELETE", "models/{full_name}/versions/{version}"),
        by_name("PATCH", "models/{full_name}/versions/{version}/finalize"),
        by_name("PATCH", "securable-tags/{securable_type}/{full_name}", changes),
        by_name("PATCH", "subentity-tags/{securable_type}/{full_name}/{version}", changes),
        by_name("POST", "temporary-model-version-credentials", {}),
    ]


def _of_files() -> list[Route]:
    """Who may read or write which file that file has to say; of a path that is none everybody hears just that."""
    fs, signed, token = "/api/2.0/fs", "/api/2.0/fs/signed", {"path": "/Volumes/x", "session_token": "x"}
    version, run = {"name": "ads1", "version": "1"}, {"run_id": "nosuch", "path": ["x"]}
    return [
        *(
            Route(method, f"{fs}/{kind}/{{path}}", Needs.CREDENTIAL, f"{fs}/{kind}/Volumes/x")
            for kind in ("files", "directories")
            for method in ("GET", "PUT", "DELETE")
        ),
        Route(
            "POST", f"{fs}/files/{{path}}", Needs.CREDENTIAL, f"{fs}/files/Volumes/x",
            query={"action": "initiate-upload"},
        ),
        Route("POST", f"{fs}/create-download-url", Needs.CREDENTIAL, query={"path": "/Volumes/x"}),
        Route("POST", f"{fs}/create-upload-part-urls", Needs.CREDENTIAL, body={**token, "start_part_number": 1}),
        Route("POST", f"{fs}/create-abort-upload-url", Needs.CREDENTIAL, body=token),
        *(Route(method, f"{signed}/{{token}}", Needs.NOTHING, f"{signed}/x") for method in ("GET", "PUT")),
        Route("PUT", f"{signed}/parts/{{token}}", Needs.NOTHING, f"{signed}/parts/x"),
        Route("DELETE", f"{signed}/uploads/{{token}}", Needs.NOTHING, f"{signed}/uploads/x"),
        *(
            Route("GET", f"{_MLFLOW}/model-versions/{rest}", Needs.CREDENTIAL, query=version)
            for rest in ("list-artifacts", "get-signed-download-uri")
        ),
        *(
            Route("POST", f"{_MLFLOW}/artifacts/credentials-for-{what}", Needs.CREDENTIAL, body=run)
            for what in ("read", "write")
        ),
        *(
            Route(
                "POST", f"{_MLFLOW}/logged-models/{{model_id}}/artifacts/credentials-for-{what}", Needs.CREDENTIAL,
                f"{_MLFLOW}/logged-models/m-7/artifacts/credentials-for-{what}", {"paths": ["x"]},
            )
            for what in ("download", "upload")
        ),
        *(
            Route(
                "GET", f"{_MLFLOW}/traces/{{request_id}}/credentials-for-data-{what}", Needs.CREDENTIAL,
                f"{_MLFLOW}/traces/tr-7/credentials-for-data-{what}",
            )
            for what in ("download", "upload")
        ),
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
    Route("GET", "/ml/experiments", Needs.NOTHING),
    Route("GET", "/ml/experiments/{path}", Needs.NOTHING, "/ml/experiments/1"),
    Route("GET", f"{_MODEL_PAGE}/{{catalog}}/{{schema}}/{{model}}", Needs.NOTHING, f"{_MODEL_PAGE}/a/b/c"),
    Route(
        "GET", f"{_MODEL_PAGE}/{{catalog}}/{{schema}}/{{model}}/version/{{version}}", Needs.NOTHING,
        f"{_MODEL_PAGE}/a/b/c/version/1",
    ),
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
    *_of_catalog_models(),
    *_of_files(),
    *(
        Route(method, f"{_UC}/{rest}/{{securable_type}}/{{full_name}}", Needs.ADMIN, f"{_UC}/{rest}/schema/a.b", body)
        for method, rest, body in (
            ("GET", "permissions", None),
            ("PATCH", "permissions", {"changes": []}),
            ("GET", "effective-permissions", None),
            ("GET", "privilege-assignments", None),
            ("GET", "effective-privilege-assignments", None),
        )
    ),
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
    Route("GET", f"{_MLFLOW}/databricks/registered-models/get", Needs.CREDENTIAL, query={"name": "ads1"}),
    Route("GET", f"{_MLFLOW}/registered-models/list", Needs.CREDENTIAL),
    Route("POST", f"{_MLFLOW}/transition-requests/create", Needs.CREDENTIAL, body=_MOVE),
    Route("GET", f"{_MLFLOW}/transition-requests/list", Needs.CREDENTIAL, query=_OF_VERSION),
    *(
        Route("POST", f"{_MLFLOW}/transition-requests/{rest}", Needs.ADMIN, body=_MOVE)
        for rest in ("approve", "reject")
    ),
    Route(
        "DELETE",
        f"{_MLFLOW}/transition-requests/delete",
        Needs.CREDENTIAL,
        query={**_MOVE, "creator": "ann@example.com"},
    ),
    Route("POST", f"{_MLFLOW}/comments/create", Needs.CREDENTIAL, body={**_OF_VERSION, "comment": "x"}),
    Route("GET", f"{_MLFLOW}/comments/list", Needs.CREDENTIAL, query=_OF_VERSION),
    Route("PATCH", f"{_MLFLOW}/comments/update", Needs.CREDENTIAL, body={"id": "nosuch", "comment": "x"}),
    Route("DELETE", f"{_MLFLOW}/comments/delete", Needs.CREDENTIAL, query={"id": "nosuch"}),
    *(
        Route(method, f"{_MLFLOW}/registry-webhooks/{rest}", Needs.CREDENTIAL)
        for method, rest in (
            ("POST", "create"), ("GET", "list"), ("PATCH", "update"), ("DELETE", "delete"), ("POST", "test"),
        )
    ),
    Route("POST", f"{_SECRETS}/acls/delete", Needs.MANAGE, body={"scope": "vault", "principal": "ann@example.com"}),
    Route("POST", _PROMPTS, Needs.CREDENTIAL, body={"name": "main.default.mine"}),
    Route(
        "POST",
        f"{_PROMPTS}/search",
        Needs.CREDENTIAL,
        body={"catalog_schema": {"catalog_name": "main", "schema_name": "default"}},
    ),
    *(
        Route("POST", f"{_MLFLOW}/unity-catalog/prompt-versions/links-to-{kind}", Needs.CREDENTIAL, body=body)
        for kind, body in (
            ("models", {"prompt_versions": [], "model_ids": []}),
            ("runs", {"prompt_versions": [], "run_ids": []}),
            ("traces", {"prompt_versions": [], "trace_ids": []}),
        )
    ),
    _of_prompt("GET", "", Needs.CREDENTIAL),
    _of_prompt("PATCH", "", Needs.ADMIN, {"prompt": {"description": "x"}}),
    _of_prompt("DELETE", "", Needs.ADMIN),
    _of_prompt("POST", "/tags", Needs.ADMIN, {"key": "tier"}),
    _of_prompt("DELETE", "/tags/{key}", Needs.ADMIN),
    _of_prompt("POST", "/aliases/{alias}", Needs.ADMIN, {"version": "7"}),
    _of_prompt("DELETE", "/aliases/{alias}", Needs.ADMIN),
    _of_prompt("POST", "/versions", Needs.ADMIN, {"prompt_version": {"template": '"x"'}}),
    _of_prompt("POST", "/versions/search", Needs.CREDENTIAL, {}),
    _of_prompt("GET", "/versions/by-alias/{alias}", Needs.CREDENTIAL),
    _of_prompt("GET", "/versions/{version}", Needs.CREDENTIAL),
    _of_prompt("PATCH", "/versions/{version}", Needs.ADMIN, {"prompt_version": {"description": "x"}}),
    _of_prompt("DELETE", "/versions/{version}", Needs.ADMIN),
    _of_prompt("POST", "/versions/{version}/tags", Needs.ADMIN, {"key": "tier"}),
    _of_prompt("DELETE", "/versions/{version}/tags/{key}", Needs.ADMIN),
]
