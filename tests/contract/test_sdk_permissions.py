"""Permissions through the unmodified Databricks SDK."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk import errors as sdk_errors
from databricks.sdk.service import iam
from databricks.sdk.service.serving import (
    DataframeSplitInput,
    EndpointCoreConfigInput,
    ServedEntityInput,
    ServingEndpointAccessControlRequest,
    ServingEndpointPermissionLevel,
)
from databricks.sdk.service.settings import TokenPermissionLevel
from server import OTHER_TOKEN, OTHER_USER, Server

NAME = "sdk-permissions"
CAN_VIEW, CAN_QUERY, CAN_MANAGE = (
    ServingEndpointPermissionLevel.CAN_VIEW,
    ServingEndpointPermissionLevel.CAN_QUERY,
    ServingEndpointPermissionLevel.CAN_MANAGE,
)


@pytest.fixture(scope="module")
def admin(server: Server) -> WorkspaceClient:
    return WorkspaceClient(host=server.url, token=server.token, auth_type="pat")


@pytest.fixture(scope="module")
def other(server: Server) -> WorkspaceClient:
    return WorkspaceClient(host=server.url, token=OTHER_TOKEN, auth_type="pat")


@pytest.fixture(scope="module")
def model(registered: Callable[[str], Any]) -> Any:
    return registered("iris")


@pytest.fixture(scope="module")
def endpoint_id(server: Server, model: Any) -> Iterator[str]:
    server.create(NAME, model.name, model.version)
    yield str(server.ready(NAME)["id"])
    server.delete(NAME)


@pytest.fixture(autouse=True)
def _nothing_granted(admin: WorkspaceClient, endpoint_id: str) -> None:
    admin.serving_endpoints.set_permissions(endpoint_id, access_control_list=[])


@pytest.fixture
def group(admin: WorkspaceClient, other: WorkspaceClient) -> Iterator[str]:
    member = iam.ComplexValue(value=other.current_user.me().id)
    made = admin.groups.create(display_name="permission-testers", members=[member])
    yield "permission-testers"
    assert made.id is not None
    admin.groups.delete(made.id)


def entry(level: ServingEndpointPermissionLevel, **principal: str) -> ServingEndpointAccessControlRequest:
    return ServingEndpointAccessControlRequest(permission_level=level, **principal)


def query(client: WorkspaceClient, model: Any) -> Any:
    frame = model.rows.to_dict(orient="split")
    split = DataframeSplitInput(columns=frame["columns"], data=frame["data"])
    return client.serving_endpoints.query(NAME, dataframe_split=split).predictions


def within_a_second(what: Callable[[], bool]) -> None:
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < 1.0
        time.sleep(0.02)


def may_query(client: WorkspaceClient, model: Any) -> bool:
    try:
        query(client, model)
    except sdk_errors.PermissionDenied:
        return False
    return True


def levels(found: Any) -> dict[str | None, list[tuple[str, bool | None]]]:
    return {
        one.user_name or one.group_name or one.service_principal_name: [
            (held.permission_level.value, held.inherited) for held in one.all_permissions
        ]
        for one in found.access_control_list
    }


def test_a_new_endpoint_is_its_creators_and_the_administrators(admin: WorkspaceClient, endpoint_id: str) -> None:
    found = admin.serving_endpoints.get_permissions(endpoint_id)
    me = admin.current_user.me().user_name
    assert (found.object_id, found.object_type) == (f"/serving-endpoints/{endpoint_id}", "serving-endpoint")
    assert levels(found) == {me: [("CAN_MANAGE", False)], "admins": [("CAN_MANAGE", True)]}
    assert found.access_control_list is not None
    inherited = found.access_control_list[1].all_permissions
    assert inherited is not None
    assert inherited[0].inherited_from_object == ["/serving-endpoints/"]
    for spelling in ("serving-endpoints", "servingendpoints"):
        assert levels(admin.permissions.get(spelling, endpoint_id)) == levels(found)


def test_the_levels_are_described(admin: WorkspaceClient, endpoint_id: str) -> None:
    described = admin.serving_endpoints.get_permission_levels(endpoint_id).permission_levels
    assert described is not None
    assert [one.permission_level for one in described] == [CAN_VIEW, CAN_QUERY, CAN_MANAGE]
    assert all(one.description for one in described)
    generic = admin.permissions.get_permission_levels("serving-endpoints", endpoint_id).permission_levels
    assert generic is not None
    assert len(generic) == 3


def test_can_view_shows_the_endpoint_and_can_query_queries_it(
    admin: WorkspaceClient, other: WorkspaceClient, endpoint_id: str, model: Any
) -> None:
    with pytest.raises(sdk_errors.PermissionDenied):
        other.serving_endpoints.get(NAME)
    assert NAME not in [one.name for one in other.serving_endpoints.list()]

    admin.serving_endpoints.update_permissions(
        endpoint_id, access_control_list=[entry(CAN_VIEW, user_name=OTHER_USER)]
    )
    assert other.serving_endpoints.get(NAME).permission_level.value == "CAN_VIEW"  # type: ignore[union-attr]
    assert NAME in [one.name for one in other.serving_endpoints.list()]
    assert other.serving_endpoints.logs(NAME, "iris-1").logs is not None
    with pytest.raises(sdk_errors.PermissionDenied, match="CAN_QUERY"):
        query(other, model)
    with pytest.raises(sdk_errors.PermissionDenied, match="CAN_MANAGE"):
        other.serving_endpoints.get_permissions(endpoint_id)
    with pytest.raises(sdk_errors.PermissionDenied, match="CAN_MANAGE"):
        other.serving_endpoints.delete(NAME)

    changed = admin.serving_endpoints.update_permissions(
        endpoint_id, access_control_list=[entry(CAN_QUERY, user_name=OTHER_USER)]
    )
    assert levels(changed)[OTHER_USER] == [("CAN_QUERY", False)]
    within_a_second(lambda: may_query(other, model))
    assert query(other, model) == query(admin, model)

    admin.serving_endpoints.set_permissions(endpoint_id)
    within_a_second(lambda: not may_query(other, model))
    with pytest.raises(sdk_errors.PermissionDenied):
        other.serving_endpoints.get(NAME)


def test_a_group_may_be_granted_a_level(
    admin: WorkspaceClient, other: WorkspaceClient, endpoint_id: str, model: Any, group: str
) -> None:
    assert not may_query(other, model)
    changed = admin.permissions.update(
        "serving-endpoints",
        endpoint_id,
        access_control_list=[
            iam.AccessControlRequest(group_name=group, permission_level=iam.PermissionLevel.CAN_QUERY)
        ],
    )
    assert levels(changed)[group] == [("CAN_QUERY", False)]
    within_a_second(lambda: may_query(other, model))
    (found,) = [one for one in admin.groups.list() if one.display_name == group]
    assert found.id is not None
    admin.groups.patch(
        found.id,
        operations=[iam.Patch(op=iam.PatchOp.REMOVE, path=f'members[value eq "{other.current_user.me().id}"]')],
        schemas=[iam.PatchSchema.URN_IETF_PARAMS_SCIM_API_MESSAGES_2_0_PATCH_OP],
    )
    within_a_second(lambda: not may_query(other, model))


def test_whoever_manages_an_endpoint_may_share_it(
    admin: WorkspaceClient, other: WorkspaceClient, endpoint_id: str
) -> None:
    admin.serving_endpoints.set_permissions(
        endpoint_id, access_control_list=[entry(CAN_MANAGE, user_name=OTHER_USER)]
    )
    shared = other.serving_endpoints.update_permissions(
        endpoint_id, access_control_list=[entry(CAN_QUERY, group_name="users")]
    )
    assert levels(shared)["users"] == [("CAN_QUERY", False)]
    assert other.serving_endpoints.get(NAME).permission_level.value == "CAN_MANAGE"  # type: ignore[union-attr]


def test_mistakes_are_the_sdks_own_errors(admin: WorkspaceClient, endpoint_id: str) -> None:
    unknown = [entry(CAN_VIEW, user_name="nobody@example.com")]
    with pytest.raises(sdk_errors.NotFound, match=r"nobody@example\.com"):
        admin.serving_endpoints.update_permissions(endpoint_id, access_control_list=unknown)
    with pytest.raises(sdk_errors.NotFound):
        admin.serving_endpoints.get_permissions("0" * 32)
    with pytest.raises(sdk_errors.BadRequest, match="not recognised"):
        admin.permissions.get("clusters", "1")
    wrong = [iam.AccessControlRequest(user_name=OTHER_USER, permission_level=iam.PermissionLevel.CAN_RUN)]
    with pytest.raises(sdk_errors.BadRequest, match="CAN_VIEW, CAN_QUERY, CAN_MANAGE"):
        admin.permissions.set("serving-endpoints", endpoint_id, access_control_list=wrong)


def test_a_model_is_served_by_those_who_may_read_it(
    admin: WorkspaceClient, other: WorkspaceClient, model: Any
) -> None:
    served = ServedEntityInput(
        entity_name=model.name, entity_version=model.version, workload_size="Small", scale_to_zero_enabled=False
    )

    def create() -> None:
        config = EndpointCoreConfigInput(name="others-own", served_entities=[served])
        other.serving_endpoints.create("others-own", config=config)

    with pytest.raises(sdk_errors.PermissionDenied, match="CAN_READ"):
        create()
    read = iam.AccessControlRequest(user_name=OTHER_USER, permission_level=iam.PermissionLevel.CAN_READ)
    changed = admin.permissions.update("registered-models", model.name, access_control_list=[read])
    assert changed.object_type == "registered-model"
    assert levels(changed)[OTHER_USER] == [("CAN_READ", False)]
    try:
        create()
        other.serving_endpoints.delete("others-own")
    finally:
        revoked = admin.permissions.set("registered-models", model.name)
    assert OTHER_USER not in levels(revoked)
    described = admin.permissions.get_permission_levels("registered-models", model.name).permission_levels
    assert described is not None
    assert len(described) == 5
    with pytest.raises(sdk_errors.NotFound):
        admin.permissions.get("registered-models", "nosuch.model")


def test_permissions_of_tokens(admin: WorkspaceClient, other: WorkspaceClient) -> None:
    found = admin.token_management.get_permissions()
    assert found.object_id == "/authorization/tokens"
    # The SDK's own type for tokens does not know CAN_MANAGE, which its type for all objects does.
    assert levels(admin.permissions.get("authorization", "tokens")) == {
        "admins": [("CAN_MANAGE", True)],
        "users": [("CAN_USE", True)],
    }
    described = admin.token_management.get_permission_levels().permission_levels
    assert described is not None
    assert described[0].permission_level is TokenPermissionLevel.CAN_USE
    with pytest.raises(sdk_errors.PermissionDenied):
        other.token_management.get_permissions()
