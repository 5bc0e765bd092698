"""SCIM requests to the control plane of the tests."""

from __future__ import annotations

from typing import Any

from control_harness import ADMIN, ControlPlane

from moorage.api.routing import Principal
from moorage.control.store import groups
from moorage.control.store.engine import reading

SCIM = "/api/2.0/preview/scim/v2"
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"

Json = dict[str, Any]


def create(plane: ControlPlane, kind: str, caller: Principal = ADMIN, **fields: Any) -> Json:
    response = plane.request("POST", f"{SCIM}/{kind}", caller, json=fields)
    assert response.status_code == 201, response.text
    document: Json = response.json()
    assert response.headers["Location"] == f"https://models.example.com{SCIM}/{kind}/{document['id']}"
    assert get(plane, kind, document["id"]) == document
    return document


def get(plane: ControlPlane, kind: str, resource_id: str, caller: Principal = ADMIN) -> Json:
    response = plane.request("GET", f"{SCIM}/{kind}/{resource_id}", caller)
    assert response.status_code == 200, response.text
    document: Json = response.json()
    return document


def patch(plane: ControlPlane, kind: str, resource_id: str, *operations: Json, caller: Principal = ADMIN) -> Any:
    body = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": list(operations)}
    return plane.request("PATCH", f"{SCIM}/{kind}/{resource_id}", caller, json=body)


def put(plane: ControlPlane, kind: str, resource_id: str, caller: Principal = ADMIN, **fields: Any) -> Any:
    return plane.request("PUT", f"{SCIM}/{kind}/{resource_id}", caller, json=fields)


def delete(plane: ControlPlane, kind: str, resource_id: str, caller: Principal = ADMIN) -> Any:
    return plane.request("DELETE", f"{SCIM}/{kind}/{resource_id}", caller)


def refusal(response: Any, status: int, scim_type: str | None = None) -> str:
    """What a refusal says; it must be of SCIM's form."""
    document = response.json()
    assert response.status_code == status, document
    assert document.pop("schemas") == [ERROR]
    assert document.pop("status") == str(status)
    assert document.pop("scimType", None) == scim_type
    assert list(document) == ["detail"]
    return str(document["detail"])


def group_id(plane: ControlPlane, name: str) -> str:
    with reading(plane.sessions) as session:
        found = groups.find(session, name)
    assert found is not None
    return found.id


def memberships(document: Json) -> dict[str, str]:
    """The names of the groups that a resource says that it is in, and how."""
    return {group["display"]: group["type"] for group in document["groups"]}


def members(plane: ControlPlane, group: str) -> list[str]:
    return [member["value"] for member in get(plane, "Groups", group)["members"]]
