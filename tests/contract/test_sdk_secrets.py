"""Secrets through the Databricks SDK: `w.secrets` and `w.dbutils.secrets`."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import (
    BadRequest,
    InvalidParameterValue,
    NotFound,
    PermissionDenied,
    ResourceAlreadyExists,
    ResourceDoesNotExist,
)
from databricks.sdk.service.workspace import AclItem, AclPermission, ScopeBackendType
from server import OTHER_TOKEN, OTHER_USER, Server

SCOPE = "sdk.scope-1"
VALUE = "pässword\n1"


@pytest.fixture
def scope(workspace: WorkspaceClient) -> Iterator[str]:
    workspace.secrets.create_scope(SCOPE)
    workspace.secrets.put_secret(SCOPE, "text", string_value=VALUE)
    yield SCOPE
    workspace.secrets.delete_scope(SCOPE)


@pytest.fixture
def other(server: Server) -> WorkspaceClient:
    """A client of a user without rights."""
    return WorkspaceClient(host=server.url, token=OTHER_TOKEN, auth_type="pat")


def names(client: WorkspaceClient) -> list[str]:
    return [one.name for one in client.secrets.list_scopes() if one.name == SCOPE]


def test_scopes_are_made_listed_and_deleted(workspace):
    workspace.secrets.create_scope(SCOPE, scope_backend_type=ScopeBackendType.DATABRICKS)
    [found] = [one for one in workspace.secrets.list_scopes() if one.name == SCOPE]
    assert found.backend_type is ScopeBackendType.DATABRICKS
    with pytest.raises(ResourceAlreadyExists):
        workspace.secrets.create_scope(SCOPE)
    workspace.secrets.delete_scope(SCOPE)
    assert names(workspace) == []
    with pytest.raises(ResourceDoesNotExist):
        workspace.secrets.delete_scope(SCOPE)


def test_values_survive_as_text_and_as_bytes(workspace, scope):
    raw = bytes(range(256))
    workspace.secrets.put_secret(scope, "bytes", bytes_value=base64.b64encode(raw).decode())
    listed = {one.key: one.last_updated_timestamp for one in workspace.secrets.list_secrets(scope)}
    assert set(listed) == {"bytes", "text"}
    assert all(abs(at / 1000 - time.time()) < 60 for at in listed.values())
    got = workspace.secrets.get_secret(scope, "text")
    assert (got.key, base64.b64decode(got.value).decode()) == ("text", VALUE)
    assert base64.b64decode(workspace.secrets.get_secret(scope, "bytes").value) == raw
    workspace.secrets.put_secret(scope, "text", string_value="newer")
    assert workspace.dbutils.secrets.get(scope, "text") == "newer"
    workspace.secrets.delete_secret(scope, "text")
    with pytest.raises(NotFound):
        workspace.secrets.get_secret(scope, "text")


def test_dbutils_reads_secrets(workspace, scope):
    secrets = workspace.dbutils.secrets
    assert secrets.get(scope, "text") == VALUE
    assert secrets.getBytes(scope, "text") == VALUE.encode()
    assert [one.key for one in secrets.list(scope)] == ["text"]
    assert scope in [one.getName() for one in secrets.listScopes()]


def test_acls_open_a_scope_to_others(workspace, other, scope):
    assert names(other) == []
    with pytest.raises(PermissionDenied):
        other.secrets.get_secret(scope, "text")
    me = workspace.current_user.me().user_name
    workspace.secrets.put_acl(scope, OTHER_USER, AclPermission.READ)
    workspace.secrets.put_acl(scope, "users", AclPermission.READ)
    assert list(workspace.secrets.list_acls(scope)) == [
        AclItem(me, AclPermission.MANAGE),
        AclItem(OTHER_USER, AclPermission.READ),
        AclItem("users", AclPermission.READ),
    ]
    assert names(other) == [scope]
    assert other.dbutils.secrets.get(scope, "text") == VALUE
    with pytest.raises(PermissionDenied, match="WRITE"):
        other.secrets.put_secret(scope, "text", string_value="x")
    workspace.secrets.put_acl(scope, OTHER_USER, AclPermission.WRITE)
    assert workspace.secrets.get_acl(scope, OTHER_USER) == AclItem(OTHER_USER, AclPermission.WRITE)
    other.secrets.put_secret(scope, "text", string_value="x")
    workspace.secrets.delete_acl(scope, OTHER_USER)
    assert other.dbutils.secrets.get(scope, "text") == "x"  # as one of `users`
    workspace.secrets.delete_acl(scope, "users")
    with pytest.raises(PermissionDenied):
        other.secrets.list_secrets(scope)


def test_every_user_may_make_a_scope_for_all(workspace, other):
    other.secrets.create_scope(SCOPE, initial_manage_principal="users")
    try:
        assert list(other.secrets.list_acls(SCOPE)) == [AclItem("users", AclPermission.MANAGE)]
        workspace.secrets.put_secret(SCOPE, "k", string_value="")
        assert other.dbutils.secrets.get(SCOPE, "k") == ""
    finally:
        other.secrets.delete_scope(SCOPE)


def test_errors_are_the_ones_of_the_reference(workspace, scope):
    secrets = workspace.secrets
    with pytest.raises(InvalidParameterValue):
        secrets.create_scope("no spaces")
    with pytest.raises(InvalidParameterValue):
        secrets.put_secret(scope, "a/b", string_value="x")
    with pytest.raises(InvalidParameterValue):
        secrets.put_secret(scope, "k", string_value="x" * (128 * 1024 + 1))
    with pytest.raises(InvalidParameterValue):
        secrets.put_acl(scope, "nobody@example.com", AclPermission.READ)
    with pytest.raises(BadRequest, match="Exactly one"):
        secrets.put_secret(scope, "k")
    with pytest.raises(ResourceDoesNotExist):
        secrets.get_acl(scope, OTHER_USER)
    with pytest.raises(ResourceDoesNotExist):
        secrets.delete_acl(scope, OTHER_USER)
    with pytest.raises(ResourceDoesNotExist):
        secrets.put_secret("nosuch", "k", string_value="x")
