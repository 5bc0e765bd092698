"""Editing tokens, and what administrators do with those of others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from control_harness import ADMIN, ANN, BOB, ControlPlane, control_plane

from moorage.api.routing import Principal
from moorage.control.store.models import Token, User
from moorage.identity.tokens import token_digest

ROBOT, ROBOT_ID = "4712", "0b8f6a52-9d3e-4c55-8f0e-0123456789ab"
MANAGED = "/api/2.0/token-management/tokens"
ON_BEHALF = "/api/2.0/token-management/on-behalf-of/tokens"


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    with control_plane(tmp_path) as plane:
        with plane.sessions.begin() as session:
            session.add(User(id=ROBOT, user_name=ROBOT_ID, created_at=1, kind="service_principal"))
        yield plane


def create(plane: ControlPlane, caller: Principal, **fields: Any) -> dict[str, Any]:
    response = plane.request("POST", "/api/2.0/token/create", caller, json=fields)
    assert response.status_code == 200, response.text
    plane.clock.now += 1
    answer: dict[str, Any] = response.json()
    return answer


def error(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["error_code"]


def listed(plane: ControlPlane, **filters: str) -> list[str]:
    response = plane.request("GET", MANAGED, ADMIN, params=filters)
    return [info["token_id"] for info in response.json()["token_infos"]]


def test_one_edits_the_comment_of_ones_own_token(plane: ControlPlane) -> None:
    token_id = create(plane, ANN, comment="old")["token_info"]["token_id"]
    path = f"/api/2.0/token/{token_id}"
    body = {"token": {"comment": "new", "creation_time": 1}, "update_mask": "comment"}
    assert error(plane.request("PATCH", path, BOB, json=body)) == (404, "NOT_FOUND")
    response = plane.request("PATCH", path, ANN, json=body)
    assert (response.status_code, response.json()) == (200, {})
    [info] = plane.request("GET", "/api/2.0/token/list", ANN).json()["token_infos"]
    assert info["comment"] == "new"
    scopes = {"token": {"comment": "x", "scopes": ["all-apis"]}, "update_mask": "scopes"}
    assert plane.request("PATCH", path, ANN, json=scopes).status_code == 200
    [info] = plane.request("GET", "/api/2.0/token/list", ANN).json()["token_infos"]
    assert info["comment"] == "new"
    plane.request("PATCH", path, ANN, json={"update_mask": "*"})
    [info] = plane.request("GET", "/api/2.0/token/list", ANN).json()["token_infos"]
    assert info["comment"] == ""


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"token": {"comment": "x"}}, "INVALID_PARAMETER_VALUE"),
        ({"token": {"comment": "x"}, "update_mask": "expiry_time"}, "INVALID_PARAMETER_VALUE"),
        ({"token": {"comment": "x"}, "update_mask": "comment,"}, "INVALID_PARAMETER_VALUE"),
        ({"token": {"comment": 1}, "update_mask": "comment"}, "BAD_REQUEST"),
        ({"token": {"scopes": ["sql"]}, "update_mask": "scopes"}, "INVALID_PARAMETER_VALUE"),
        ({"token": {"comment": "x" * 1001}, "update_mask": "comment"}, "INVALID_PARAMETER_VALUE"),
    ],
)
def test_a_bad_edit_changes_nothing(plane: ControlPlane, body: dict[str, Any], code: str) -> None:
    token_id = create(plane, ANN, comment="old")["token_info"]["token_id"]
    for path, caller in ((f"/api/2.0/token/{token_id}", ANN), (f"{MANAGED}/{token_id}", ADMIN)):
        assert error(plane.request("PATCH", path, caller, json=body)) == (400, code)
    [info] = plane.request("GET", "/api/2.0/token/list", ANN).json()["token_infos"]
    assert info["comment"] == "old"


def test_administrators_see_everybodys_tokens(plane: ControlPlane) -> None:
    anns, bobs = (create(plane, who, comment=who.display_name)["token_info"]["token_id"] for who in (ANN, BOB))
    assert listed(plane) == [anns, bobs]
    assert listed(plane, created_by_id=ANN.id) == [anns]
    assert listed(plane, created_by_username=BOB.user_name) == [bobs]
    assert listed(plane, created_by_id=ANN.id, created_by_username=BOB.user_name) == []
    assert listed(plane, created_by_id="77") == []
    info = plane.request("GET", f"{MANAGED}/{anns}", ADMIN).json()["token_info"]
    workspace = plane.request("GET", "/.well-known/databricks-config", None).json()["workspace_id"]
    assert info == {
        "token_id": anns, "comment": "Ann", "creation_time": info["creation_time"], "expiry_time": -1,
        "created_by_id": 1001, "created_by_username": ANN.user_name, "owner_id": 1001,
        "workspace_id": int(workspace),
    }  # fmt: skip


def test_administrators_edit_and_revoke_everybodys_tokens(plane: ControlPlane) -> None:
    made = create(plane, ANN)
    path = f"{MANAGED}/{made['token_info']['token_id']}"
    edited = plane.request("PATCH", path, ADMIN, json={"token": {"comment": "seen"}, "update_mask": "comment"})
    assert edited.json()["comment"] == "seen"
    assert plane.request("GET", path, ADMIN).json()["token_info"]["comment"] == "seen"
    assert plane.request("DELETE", path, ADMIN).json() == {}
    assert plane.notifier.tokens[-1] == (token_digest(made["token_value"]), None)
    assert error(plane.request("GET", path, ADMIN)) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert error(plane.request("DELETE", path, ADMIN)) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert error(plane.request("PATCH", path, ADMIN, json={"update_mask": "*"})) == (404, "NOT_FOUND")


def test_nobody_else_manages_tokens(plane: ControlPlane) -> None:
    token_id = create(plane, ANN, comment="mine")["token_info"]["token_id"]
    refused = [
        plane.request("GET", MANAGED, ANN),
        plane.request("GET", f"{MANAGED}/{token_id}", ANN),
        plane.request("DELETE", f"{MANAGED}/{token_id}", ANN),
        plane.request("PATCH", f"{MANAGED}/{token_id}", ANN, json={"update_mask": "*"}),
        plane.request("POST", ON_BEHALF, ANN, json={"application_id": ROBOT_ID}),
    ]
    assert [error(response) for response in refused] == [(403, "PERMISSION_DENIED")] * 5
    [info] = plane.request("GET", "/api/2.0/token/list", ANN).json()["token_infos"]
    assert info["comment"] == "mine"


def test_a_token_on_behalf_of_a_service_principal(plane: ControlPlane) -> None:
    body = {"application_id": ROBOT_ID, "comment": "ci", "lifetime_seconds": 60}
    response = plane.request("POST", ON_BEHALF, ADMIN, json=body)
    assert response.status_code == 200, response.text
    info = response.json()["token_info"]
    assert (info["owner_id"], info["created_by_id"], info["comment"]) == (4712, 1000, "ci")
    assert info["expiry_time"] == plane.clock.now + 60_000
    digest, principal = plane.notifier.tokens[-1]
    assert digest == token_digest(response.json()["token_value"])
    assert principal is not None
    assert (principal.id, principal.kind, principal.admin) == (ROBOT, "service_principal", False)
    assert listed(plane, created_by_username=ADMIN.user_name) == [info["token_id"]]
    robot = Principal(id=ROBOT, user_name=ROBOT_ID)
    [own] = plane.request("GET", "/api/2.0/token/list", robot).json()["token_infos"]
    assert own["token_id"] == info["token_id"]


@pytest.mark.parametrize("application_id", [ANN.user_name, ROBOT, "nosuch"])
def test_only_service_principals_have_tokens_made_for_them(plane: ControlPlane, application_id: str) -> None:
    response = plane.request("POST", ON_BEHALF, ADMIN, json={"application_id": application_id})
    assert error(response) == (404, "RESOURCE_DOES_NOT_EXIST")


def test_an_inactive_service_principal_gets_no_token(plane: ControlPlane) -> None:
    with plane.sessions.begin() as session:
        session.get_one(User, ROBOT).active = False
    response = plane.request("POST", ON_BEHALF, ADMIN, json={"application_id": ROBOT_ID})
    assert error(response) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert listed(plane) == []


def test_a_token_whose_maker_is_gone_counts_as_its_owners(plane: ControlPlane) -> None:
    with plane.sessions.begin() as session:
        session.add(Token(id="a", digest="b", user_id=ANN.id, creation_time=1, created_by_id="99"))
    assert listed(plane, created_by_id=ANN.id) == ["a"]
