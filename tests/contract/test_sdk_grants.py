"""Grants on catalogs, schemas and models through the unmodified Databricks SDK."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk import errors as sdk_errors
from databricks.sdk.service.catalog import PermissionsChange, Privilege, SecurableType
from server import OTHER_TOKEN, OTHER_USER, Server

CATALOG, SCHEMA, MODEL = "granted", "granted.default", "granted.default.m"
REGISTRY = "/api/2.0/mlflow/registered-models"


@pytest.fixture(scope="module")
def admin(server: Server) -> WorkspaceClient:
    return WorkspaceClient(host=server.url, token=server.token, auth_type="pat")


@pytest.fixture(scope="module")
def other(server: Server) -> WorkspaceClient:
    return WorkspaceClient(host=server.url, token=OTHER_TOKEN, auth_type="pat")


@pytest.fixture
def model(server: Server, admin: WorkspaceClient) -> Iterator[str]:
    """A model of the administrator's, in a schema on which nothing is granted after the test either."""
    assert server.http.post(f"{REGISTRY}/create", json={"name": MODEL}).status_code == 200
    yield MODEL
    assert server.http.request("DELETE", f"{REGISTRY}/delete", json={"name": MODEL}).status_code == 200
    for kind, name in (("schema", SCHEMA), ("catalog", CATALOG)):
        held = admin.grants.get(kind, name).privilege_assignments or []
        admin.grants.update(
            kind, name, changes=[PermissionsChange(principal=one.principal, remove=one.privileges) for one in held]
        )


def as_other(server: Server, method: str, operation: str, **name: str) -> int:
    """The status with which MLflow's registry answers the other user."""
    options: dict[str, Any] = {"params": name} if method == "GET" else {"json": name}
    return httpx.request(
        method, f"{server.url}{REGISTRY}/{operation}", headers={"Authorization": f"Bearer {OTHER_TOKEN}"}, **options
    ).status_code


def change(
    client: WorkspaceClient, kind: str, name: str, *, add: list[Privilege] | None = None,
    remove: list[Privilege] | None = None, principal: str = OTHER_USER,
) -> dict[str | None, list[Privilege] | None]:  # fmt: skip
    changed = client.grants.update(
        kind, name, changes=[PermissionsChange(principal=principal, add=add, remove=remove)]
    )
    return {one.principal: one.privileges for one in changed.privilege_assignments or []}


@pytest.mark.parametrize(("kind", "name"), [("catalog", CATALOG), ("schema", SCHEMA), ("function", MODEL)])
def test_a_privilege_opens_models_and_revoking_it_closes_them(
    server: Server, admin: WorkspaceClient, model: str, kind: str, name: str
) -> None:
    assert as_other(server, "GET", "get", name=model) == 403
    assert change(admin, kind, name, add=[Privilege.EXECUTE]) == {OTHER_USER: [Privilege.EXECUTE]}
    assert as_other(server, "GET", "get", name=model) == 200
    assert as_other(server, "POST", "set-tag", name=model, key="a", value="b") == 403
    change(admin, kind, name, add=[Privilege.APPLY_TAG])
    assert as_other(server, "POST", "set-tag", name=model, key="a", value="b") == 200
    assert change(admin, kind, name, remove=[Privilege.EXECUTE, Privilege.APPLY_TAG]) == {}
    assert as_other(server, "GET", "get", name=model) == 403


def test_direct_effective_and_paged(admin: WorkspaceClient, other: WorkspaceClient, model: str) -> None:
    change(admin, "CATALOG", CATALOG, add=[Privilege.USE_CATALOG])
    change(admin, SecurableType.SCHEMA.value, SCHEMA, add=[Privilege.EXECUTE], principal="account users")
    change(admin, SecurableType.FUNCTION.value, model, add=[Privilege.APPLY_TAG])
    direct = admin.grants.get("function", model).privilege_assignments
    assert direct is not None
    assert [(one.principal, one.privileges) for one in direct] == [(OTHER_USER, [Privilege.APPLY_TAG])]
    for found in (
        admin.grants.get_effective("function", model).privilege_assignments or [],
        list(admin.grants.list_effective("function", model, page_size=150)),
    ):
        assert {
            one.principal: [
                (each.privilege, each.inherited_from_type, each.inherited_from_name)
                for each in one.privileges or []
            ]
            for one in found
        } == {
            OTHER_USER: [
                (Privilege.APPLY_TAG, None, None),
                (Privilege.USE_CATALOG, SecurableType.CATALOG, CATALOG),
            ],
            "users": [(Privilege.EXECUTE, SecurableType.SCHEMA, SCHEMA)],
        }
    assert [one.principal for one in admin.grants.list("schema", SCHEMA)] == ["users"]
    mine = other.grants.get_effective("function", model, principal=OTHER_USER).privilege_assignments
    assert mine is not None
    assert [one.principal for one in mine] == [OTHER_USER]
    with pytest.raises(sdk_errors.PermissionDenied, match="MANAGE on function"):
        other.grants.get("function", model)


def test_who_manages_a_schema_shares_it(
    server: Server, admin: WorkspaceClient, other: WorkspaceClient, model: str
) -> None:
    with pytest.raises(sdk_errors.PermissionDenied, match=f"MANAGE on schema '{SCHEMA}'"):
        change(other, "schema", SCHEMA, add=[Privilege.MANAGE])
    change(admin, "schema", SCHEMA, add=[Privilege.MANAGE])
    assert set(change(other, "schema", SCHEMA, add=[Privilege.EXECUTE], principal="users")) == {OTHER_USER, "users"}
    entries = admin.permissions.get("registered-models", model).access_control_list or []
    inherited = {one.user_name or one.group_name: (one.all_permissions or [])[0] for one in entries}
    assert inherited[OTHER_USER].inherited_from_object == [f"/schemas/{SCHEMA}"]
    assert inherited[OTHER_USER].inherited is True
    assert as_other(server, "PATCH", "update", name=model, description="shared") == 200


def test_a_schema_may_be_closed_for_new_models(server: Server, admin: WorkspaceClient, model: str) -> None:
    new = f"{SCHEMA}.others"
    change(admin, "schema", SCHEMA, add=[Privilege.CREATE_MODEL], principal="admins")
    assert as_other(server, "POST", "create", name=new) == 403
    assert as_other(server, "POST", "create", name="others-own") == 200
    assert as_other(server, "POST", "rename", name="others-own", new_name=new) == 403
    change(admin, "schema", SCHEMA, add=[Privilege.CREATE_MODEL])
    assert as_other(server, "POST", "rename", name="others-own", new_name=new) == 200
    assert as_other(server, "DELETE", "delete", name=new) == 200


def test_mistakes_are_the_sdks_own_errors(admin: WorkspaceClient) -> None:
    with pytest.raises(sdk_errors.BadRequest, match="'catalog', 'schema', 'function'"):
        admin.grants.get("table", "a.b.c")
    with pytest.raises(sdk_errors.BadRequest, match=r"changes\[0\]\.add\[0\]"):
        change(admin, "schema", SCHEMA, add=[Privilege.SELECT])
    with pytest.raises(sdk_errors.NotFound, match=r"nobody@example\.com"):
        change(admin, "schema", SCHEMA, add=[Privilege.EXECUTE], principal="nobody@example.com")
    with pytest.raises(sdk_errors.NotFound, match=r"granted\.default\.nosuch"):
        admin.grants.get("function", f"{SCHEMA}.nosuch")
