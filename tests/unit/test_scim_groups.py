"""Groups and service principals over SCIM."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from control_harness import ADMIN, ANN, BOB, ControlPlane, control_plane
from scim_requests import SCIM, create, delete, get, group_id, members, memberships, patch, put, refusal

from moorage.control.store import groups, permissions
from moorage.control.store.engine import reading
from moorage.control.store.models import GroupMember, User
from moorage.control.store.permissions import ObjectType


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    with control_plane(tmp_path) as plane:
        yield plane


def make_group(plane: ControlPlane, name: str, *member_ids: str) -> str:
    made = create(plane, "Groups", displayName=name, members=[{"value": one} for one in member_ids])
    return str(made["id"])


def add(member_id: str) -> dict[str, object]:
    return {"op": "add", "path": "members", "value": [{"value": member_id}]}


def test_a_group_shows_who_is_in_it_and_what_it_is_in(plane: ControlPlane) -> None:
    job = create(plane, "ServicePrincipals", displayName="job")
    inner = make_group(plane, "inner")
    ids = [ANN.id, job["id"], inner]
    group = create(
        plane, "Groups", displayName="team", members=[{"value": one} for one in [*ids, ANN.id]], externalId="g7"
    )
    outer = make_group(plane, "outer", group["id"])
    group = get(plane, "Groups", group["id"])
    assert group["id"].isdigit()
    shown = {member["value"]: (member["display"], member["$ref"]) for member in group.pop("members")}
    assert shown == {
        ANN.id: ("Ann", f"Users/{ANN.id}"),
        job["id"]: ("job", f"ServicePrincipals/{job['id']}"),
        inner: ("inner", f"Groups/{inner}"),
    }
    assert group == {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"],
        "id": group["id"],
        "displayName": "team",
        "meta": {"resourceType": "WorkspaceGroup"},
        "groups": [{"value": outer, "display": "outer", "type": "direct", "$ref": f"Groups/{outer}"}],
        "entitlements": [],
        "roles": [],
        "externalId": "g7",
    }
    top = make_group(plane, "top", outer)
    assert memberships(get(plane, "Groups", inner)) == {"team": "direct", "outer": "indirect", "top": "indirect"}
    assert memberships(get(plane, "Users", ANN.id)) == {
        "team": "direct", "users": "direct", "outer": "indirect", "top": "indirect",
    }
    assert members(plane, top) == [outer]


def test_members_come_and_go_and_the_gateways_know_before_the_answer(plane: ControlPlane) -> None:
    team = make_group(plane, "team", ANN.id)
    told = plane.notifier.principals
    assert patch(plane, "Groups", team, add(BOB.id)).status_code == 200
    assert members(plane, team) == [ANN.id, BOB.id]
    assert patch(plane, "Groups", team, {"op": "remove", "path": f'members[value eq "{ANN.id}"]'}).status_code == 200
    assert members(plane, team) == [BOB.id]
    assert plane.notifier.principals == told + 2
    assert put(plane, "Groups", team, displayName="crew").json()["members"] == []
    assert get(plane, "Groups", team)["displayName"] == "crew"


def test_a_thousand_members_at_once(plane: ControlPlane) -> None:
    ids = [str(10**6 + number) for number in range(1200)]
    with plane.sessions.begin() as session:
        session.add_all(User(id=one, user_name=one, created_at=1) for one in ids)
    team = make_group(plane, "team", *ids)
    assert members(plane, team) == ids
    assert len(members(plane, group_id(plane, "users"))) == len(ids) + 3
    left = put(plane, "Groups", team, displayName="team", members=[{"value": ids[7]}]).json()["members"]
    assert [one["value"] for one in left] == [ids[7]]


def test_a_member_must_be_there(plane: ControlPlane) -> None:
    team = make_group(plane, "team", ANN.id)
    body = {"displayName": "other", "members": [{"value": "404"}]}
    for answer in (
        patch(plane, "Groups", team, add("404"), {"op": "replace", "path": "displayName", "value": "crew"}),
        plane.request("POST", f"{SCIM}/Groups", ADMIN, json=body),
    ):
        assert "no user, service principal or group with id '404'" in refusal(answer, 400, "invalidValue")
    assert get(plane, "Groups", team)["displayName"] == "team"
    assert plane.request("GET", f"{SCIM}/Groups", ADMIN).json()["totalResults"] == 3


def test_no_group_is_in_itself(plane: ControlPlane) -> None:
    a = make_group(plane, "a")
    b = make_group(plane, "b", a)
    c = make_group(plane, "c", b, a)
    for one in (a, b, c):
        assert "would be in itself" in refusal(patch(plane, "Groups", a, add(one)), 400, "invalidValue")
    assert members(plane, a) == []
    admins, users = group_id(plane, "admins"), group_id(plane, "users")
    assert patch(plane, "Groups", a, add(users)).status_code == 200
    assert "cannot be changed" in refusal(patch(plane, "Groups", users, add(c)), 400, "mutability")
    assert "would be in itself" in refusal(patch(plane, "Groups", admins, add(admins)), 400, "invalidValue")


@pytest.mark.parametrize("name", ["admins", "Users", "TEAM", "äDÄM"])
def test_a_group_name_is_there_once_in_whatever_case(plane: ControlPlane, name: str) -> None:
    make_group(plane, "Team")
    make_group(plane, "Ädäm")
    other = make_group(plane, "other")
    for answer in (
        plane.request("POST", f"{SCIM}/Groups", ADMIN, json={"displayName": name}),
        put(plane, "Groups", other, displayName=name),
        patch(plane, "Groups", other, {"op": "replace", "path": "displayName", "value": name}),
    ):
        assert refusal(answer, 409, "uniqueness") == f"Group with name '{name}' already exists."
    assert put(plane, "Groups", other, displayName="OTHER").json()["displayName"] == "OTHER"


@pytest.mark.parametrize("name", ["admins", "users"])
def test_the_groups_of_every_workspace_keep_their_name_and_stay(plane: ControlPlane, name: str) -> None:
    one = group_id(plane, name)
    rename = {"op": "replace", "path": "displayName", "value": name.upper()}
    assert "cannot be renamed" in refusal(patch(plane, "Groups", one, rename), 400, "mutability")
    assert "cannot be renamed" in refusal(put(plane, "Groups", one, displayName="x"), 400, "mutability")
    assert "cannot be deleted" in refusal(delete(plane, "Groups", one), 400, "mutability")
    keep = {"op": "add", "path": "entitlements", "value": [{"value": "workspace-access"}]}
    assert patch(plane, "Groups", one, keep).json()["entitlements"] == [{"value": "workspace-access"}]


def test_everybody_is_in_users_and_nothing_else_is(plane: ControlPlane) -> None:
    users, team = group_id(plane, "users"), make_group(plane, "team")
    job = create(plane, "ServicePrincipals", displayName="job")["id"]
    everybody = {ADMIN.id, ANN.id, BOB.id, job}
    assert set(members(plane, users)) == everybody
    for operation in (
        add(team),
        {"op": "remove", "path": f'members[value eq "{ANN.id}"]'},
        {"op": "remove", "path": "members"},
        {"op": "replace", "path": "members", "value": [{"value": ANN.id}]},
    ):
        assert "cannot be changed" in refusal(patch(plane, "Groups", users, operation), 400, "mutability")
    assert patch(plane, "Groups", users, add(ANN.id)).status_code == 200
    assert put(plane, "Groups", users, **get(plane, "Groups", users)).status_code == 200
    with reading(plane.sessions) as session:
        assert groups.member_ids(session, users) == []
    assert memberships(create(plane, "Users", userName="cy", groups=[{"value": users}])) == {"users": "direct"}
    with reading(plane.sessions) as session:
        assert groups.member_ids(session, users) == []


def test_a_deleted_group_gives_nothing_and_its_members_stay(plane: ControlPlane) -> None:
    inner = make_group(plane, "inner", ANN.id)
    outer = make_group(plane, "outer", inner)
    with plane.sessions.begin() as session:
        permissions.grant(session, ObjectType.SERVING_ENDPOINT, "e", inner, "CAN_QUERY")
        permissions.grant(session, ObjectType.SERVING_ENDPOINT, "e", outer, "CAN_QUERY")
    told = plane.notifier.principals
    assert delete(plane, "Groups", inner).status_code == 204
    assert plane.notifier.principals == told + 1
    with reading(plane.sessions) as session:
        assert set(permissions.grants(session, ObjectType.SERVING_ENDPOINT, "e")) == {outer}
        assert not session.query(GroupMember).filter(
            (GroupMember.group_id == inner) | (GroupMember.member_id == inner)
        ).count()
    assert memberships(get(plane, "Users", ANN.id)) == {"users": "direct"}
    assert members(plane, outer) == []


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({}, "Missing required field 'displayName'"),
        ({"displayName": "a\tb"}, "control characters"),
        ({"displayName": "x", "members": [{"display": "Ann"}]}, "Missing required field 'members[0].value'"),
    ],
)
def test_a_wrong_group_is_not_made(plane: ControlPlane, fields: dict[str, object], detail: str) -> None:
    assert detail in refusal(plane.request("POST", f"{SCIM}/Groups", ADMIN, json=fields), 400, "invalidValue")


def test_a_service_principal_has_an_application_id(plane: ControlPlane) -> None:
    team, users = make_group(plane, "team"), group_id(plane, "users")
    made = create(
        plane, "ServicePrincipals", displayName="job", groups=[{"value": team}], entitlements=[{"value": "e"}]
    )
    assert uuid.UUID(made["applicationId"]).version == 4
    assert made == {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServicePrincipal"],
        "id": made["id"],
        "applicationId": made["applicationId"],
        "displayName": "job",
        "active": True,
        "groups": [
            {"value": team, "display": "team", "type": "direct", "$ref": f"Groups/{team}"},
            {"value": users, "display": "users", "type": "direct", "$ref": f"Groups/{users}"},
        ],
        "entitlements": [{"value": "e"}],
        "roles": [],
    }
    given = "6A2F8F0E-3F5F-4A51-9F0B-2C1D7F9A4B11"
    bare = create(plane, "ServicePrincipals", applicationId=given, active=False)
    assert (bare["applicationId"], bare["displayName"], bare["active"]) == (given.lower(), given.lower(), False)
    again = plane.request("POST", f"{SCIM}/ServicePrincipals", ADMIN, json={"applicationId": given})
    assert "already exists" in refusal(again, 409, "uniqueness")
    wrong = plane.request("POST", f"{SCIM}/ServicePrincipals", ADMIN, json={"applicationId": "{" + given + "}"})
    assert "'applicationId': must be a UUID" in refusal(wrong, 400, "invalidValue")


def test_a_service_principal_is_patched_and_replaced(plane: ControlPlane) -> None:
    made = create(plane, "ServicePrincipals", displayName="job", externalId="x")
    renamed = patch(plane, "ServicePrincipals", made["id"], {"op": "replace", "value": {"displayName": "nightly"}})
    assert renamed.json() == {**made, "displayName": "nightly"}
    off = put(plane, "ServicePrincipals", made["id"], displayName="weekly", active=False, applicationId="ignored")
    assert off.json() == {
        **{key: value for key, value in made.items() if key != "externalId"},
        "displayName": "weekly",
        "active": False,
    }
    assert get(plane, "ServicePrincipals", made["id"]) == off.json()
    assert plane.notifier.principals == 2
