"""What PATCH operations make of a resource's JSON."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
from databricks.sdk.service import iam

from moorage.api.scim import BadScimRequest, PatchRequest
from moorage.control.scim.patches import apply
from moorage.control.scim.schemas import GROUP, SERVICE_PRINCIPAL, USER, Schema

GROUP_BEFORE = {"displayName": "team", "members": [{"value": "1"}, {"value": "2"}], "entitlements": [], "roles": []}
USER_BEFORE = {
    "displayName": "Ann",
    "name": {"givenName": "Ann", "familyName": "Lee"},
    "active": True,
    "entitlements": [{"value": "workspace-access"}],
    "roles": [],
}

BEA_LEE = {"givenName": "Bea", "familyName": "Lee"}


def patched(before: dict[str, Any], schema: Schema, *operations: dict[str, Any]) -> dict[str, Any]:
    request = PatchRequest.model_validate({"Operations": list(operations)})
    untouched = copy.deepcopy(before)
    after = apply(before, request.Operations, schema)
    assert before == untouched
    return after


def members(*operations: dict[str, Any]) -> list[str]:
    return [member["value"] for member in patched(GROUP_BEFORE, GROUP, *operations)["members"]]


@pytest.mark.parametrize(
    ("operation", "left"),
    [
        ({"op": "add", "path": "members", "value": [{"value": "3"}, {"value": "2"}]}, ["1", "2", "3"]),
        ({"op": "Add", "path": "Members", "value": {"value": "3"}}, ["1", "2", "3"]),
        ({"op": "add", "path": "members", "value": "3"}, ["1", "2", "3"]),
        ({"op": "add", "value": {"members": [{"value": "3", "display": "x"}]}}, ["1", "2", "3"]),
        ({"op": "remove", "path": 'members[value eq "1"]'}, ["2"]),
        ({"op": "remove", "path": 'members[value eq "1" or value eq "2"]'}, []),
        ({"op": "remove", "path": 'members[value eq "9"]'}, ["1", "2"]),
        ({"op": "remove", "path": "members", "value": [{"value": "2"}]}, ["1"]),
        ({"op": "remove", "path": "members"}, []),
        ({"op": "replace", "path": "members", "value": [{"value": "3"}]}, ["3"]),
        ({"op": "replace", "path": "members"}, []),
        ({"op": "replace", "path": "members", "value": []}, []),
    ],
)
def test_members_come_and_go(operation: dict[str, Any], left: list[str]) -> None:
    assert members(operation) == left


def test_operations_see_what_the_ones_before_them_did() -> None:
    remove, add = {"op": "remove", "path": "members"}, {"op": "add", "path": "members", "value": [{"value": "5"}]}
    assert members(remove, add) == ["5"]
    assert members(add, remove) == []


@pytest.mark.parametrize(
    ("operation", "changed"),
    [
        ({"op": "replace", "path": "displayName", "value": "Bea"}, {"displayName": "Bea"}),
        ({"op": "replace", "path": "displayname", "value": [{"value": "Bea"}]}, {"displayName": "Bea"}),
        ({"op": "replace", "path": "active", "value": False}, {"active": False}),
        ({"op": "replace", "path": "active", "value": "False"}, {"active": "False"}),
        ({"op": "replace", "path": "active", "value": [{"value": "false"}]}, {"active": "false"}),
        ({"op": "replace", "path": "active"}, {"active": False}),
        ({"op": "add", "path": "externalId", "value": "x"}, {"externalId": "x"}),
        ({"op": "replace", "path": "name.givenName", "value": "Bea"}, {"name": BEA_LEE}),
        ({"op": "replace", "path": "name", "value": {"givenname": "Bea"}}, {"name": BEA_LEE}),
        ({"op": "replace", "value": {"name.familyName": "Poe"}}, {"name": {"givenName": "Ann", "familyName": "Poe"}}),
        ({"op": "remove", "path": "name.familyName"}, {"name": {"givenName": "Ann"}}),
        ({"op": "add", "path": "roles", "value": [{"value": "r"}]}, {"roles": [{"value": "r"}]}),
        ({"op": "remove", "path": 'entitlements[value eq "workspace-access"]'}, {"entitlements": []}),
        ({"op": "replace", "path": "userName", "value": "eve@example.com"}, {}),
        ({"op": "replace", "path": 'emails[type eq "work"].value', "value": "eve@example.com"}, {}),
        (
            {"op": "replace", "value": {"schemas": [], "id": "7", "active": False, "displayName": "Bea"}},
            {"active": False, "displayName": "Bea"},
        ),
        (
            {"op": "replace", "path": "urn:ietf:params:scim:schemas:core:2.0:User:displayName", "value": "Bea"},
            {"displayName": "Bea"},
        ),
    ],
)
def test_single_attributes_change_alone(operation: dict[str, Any], changed: dict[str, Any]) -> None:
    assert patched(USER_BEFORE, USER, operation) == {**USER_BEFORE, **changed}


@pytest.mark.parametrize("name", ["displayName", "name"])
def test_what_is_removed_is_gone(name: str) -> None:
    assert name not in patched(USER_BEFORE, USER, {"op": "remove", "path": name})
    assert name not in patched(USER_BEFORE, USER, {"op": "replace", "path": name})


def test_the_sdk_leaves_out_false_which_still_deactivates() -> None:
    operation = iam.Patch(op=iam.PatchOp.REPLACE, path="active", value=False).as_dict()
    assert "value" not in operation
    assert patched(USER_BEFORE, USER, operation)["active"] is False


@pytest.mark.parametrize(
    ("schema", "operation", "kind", "detail"),
    [
        (USER, {"op": "remove"}, "noTarget", "needs a 'path'"),
        (USER, {"op": "add"}, "invalidValue", "must be an object of attributes"),
        (USER, {"op": "replace", "value": [1]}, "invalidValue", "must be an object of attributes"),
        (USER, {"op": "add", "path": "displayName"}, "invalidValue", "needs a 'value'"),
        (USER, {"op": "remove", "path": "active"}, "invalidValue", "'active' cannot be removed"),
        (USER, {"op": "add", "path": "salary", "value": 1}, "invalidPath", "names no attribute of a User"),
        (USER, {"op": "add", "path": "members", "value": []}, "invalidPath", "names no attribute of a User"),
        (USER, {"op": "replace", "value": {"salary": 1}}, "invalidPath", "'salary'"),
        (USER, {"op": "add", "path": "name.nickName", "value": "x"}, "invalidPath", "no part of 'name'"),
        (USER, {"op": "add", "path": "name", "value": {"nickName": "x"}}, "invalidValue", "no part 'nickName'"),
        (USER, {"op": "add", "path": "name", "value": "x"}, "invalidValue", "must be an object"),
        (USER, {"op": "add", "path": "a..b", "value": "x"}, "invalidPath", "is none such as"),
        (USER, {"op": "add", "path": 'active[value eq "x"]', "value": "x"}, "invalidPath", "is no list"),
        (USER, {"op": "add", "path": "groups", "value": [{"value": "1"}]}, "mutability", "members of the group"),
        (SERVICE_PRINCIPAL, {"op": "replace", "path": "applicationId", "value": "x"}, "mutability", "applicationId"),
        (GROUP, {"op": "add", "path": "members", "value": 7}, "invalidValue", "list of objects"),
        (GROUP, {"op": "add", "path": "members", "value": [{"id": "7"}]}, "invalidValue", "list of objects"),
        (GROUP, {"op": "add", "path": "members", "value": [{"value": []}]}, "invalidValue", "list of objects"),
        (GROUP, {"op": "remove", "path": "members[value]"}, "invalidFilter", "an operator after 'value'"),
        (GROUP, {"op": "remove", "path": 'members[id eq "1"]'}, "invalidFilter", "no attribute 'id'"),
        (GROUP, {"op": "replace", "path": 'members[value eq "1"]', "value": "2"}, "invalidPath", "only 'remove'"),
        (GROUP, {"op": "remove", "path": "members.value"}, "invalidPath", "whole elements"),
    ],
)
def test_what_cannot_be_followed_is_refused(
    schema: Schema, operation: dict[str, Any], kind: str, detail: str
) -> None:
    before = GROUP_BEFORE if schema is GROUP else USER_BEFORE
    with pytest.raises(BadScimRequest, match=re.escape(detail)) as refused:
        patched(before, schema, operation)
    assert refused.value.body()["scimType"] == kind
