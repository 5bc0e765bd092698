"""Users over SCIM: what admins do with them, and what of themselves users may change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from control_harness import ADMIN, ANN, BOB, ENDPOINTS, ControlPlane, control_plane
from scim_requests import SCIM, create, delete, get, group_id, memberships, patch, put, refusal

from moorage.api.routing import Principal, PrincipalKind
from moorage.control.store import groups, identity, permissions
from moorage.control.store.engine import reading
from moorage.control.store.models import GroupMember, OAuthGrant, OAuthSecret, Permission, Token, User
from moorage.control.store.permissions import ObjectType


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    with control_plane(tmp_path) as plane:
        yield plane


def add_token(plane: ControlPlane, user_id: str, digest: str) -> None:
    with plane.sessions.begin() as session:
        identity.insert_token(session, Token(id=digest, digest=digest, user_id=user_id, creation_time=1))


def digests(plane: ControlPlane) -> set[str]:
    """The tokens that open something."""
    with reading(plane.sessions) as session:
        return set(identity.principals_by_digest(session, plane.clock.now))


def test_a_user_has_what_the_request_says(plane: ControlPlane) -> None:
    team = create(plane, "Groups", displayName="team")["id"]
    user = create(
        plane,
        "Users",
        userName="cy@example.com",
        displayName="Cy Poe",
        name={"givenName": "Cy", "familyName": "Poe"},
        entitlements=[{"value": "workspace-access"}, {"value": "workspace-access"}],
        roles=[{"value": "arn:aws:iam::1:instance-profile/x"}],
        externalId="00u1",
        groups=[{"value": team}],
    )
    users = group_id(plane, "users")
    assert user["id"].isdigit()
    assert user == {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "id": user["id"],
        "userName": "cy@example.com",
        "displayName": "Cy Poe",
        "active": True,
        "name": {"givenName": "Cy", "familyName": "Poe"},
        "emails": [{"value": "cy@example.com", "type": "work", "primary": True}],
        "groups": [
            {"value": team, "display": "team", "type": "direct", "$ref": f"Groups/{team}"},
            {"value": users, "display": "users", "type": "direct", "$ref": f"Groups/{users}"},
        ],
        "entitlements": [{"value": "workspace-access"}],
        "roles": [{"value": "arn:aws:iam::1:instance-profile/x"}],
        "externalId": "00u1",
    }


def test_a_user_needs_no_more_than_a_name(plane: ControlPlane) -> None:
    bare = create(plane, "Users", userName="cy", active=False, id="1", emails=[{"value": "else@example.com"}])
    assert (bare["displayName"], bare["name"], bare["active"]) == ("cy", {"givenName": "cy"}, False)
    assert bare["id"] != "1"
    assert bare["emails"][0]["value"] == "cy"
    named = create(plane, "Users", userName="di", name={"givenName": "Di", "familyName": "Ray"})
    assert named["displayName"] == "Di Ray"


@pytest.mark.parametrize(
    ("taken", "name"), [("Ann@Example.COM", None), ("Ä@b", "ä@B"), ("6A2F8F0E-3F5F-4A51-9F0B-2C1D7F9A4B11", None)]
)
def test_a_user_name_is_there_once_in_whatever_case(plane: ControlPlane, taken: str, name: str | None) -> None:
    if name is not None:
        create(plane, "Users", userName=name)
    create(plane, "ServicePrincipals", applicationId="6a2f8f0e-3f5f-4a51-9f0b-2c1d7f9a4b11")
    answer = plane.request("POST", f"{SCIM}/Users", ADMIN, json={"userName": taken})
    assert refusal(answer, 409, "uniqueness") == f"User with username '{taken}' already exists."


@pytest.mark.parametrize(
    ("fields", "kind", "detail"),
    [
        ({}, "invalidValue", "Missing required field 'userName'"),
        ({"userName": ""}, "invalidValue", "'userName'"),
        ({"userName": "a" * 256}, "invalidValue", "'userName': must have at most 255 characters"),
        ({"userName": "a\nb"}, "invalidValue", "'userName': must not contain control characters"),
        ({"userName": " a"}, "invalidValue", "'userName': must not begin or end with a space"),
        ({"userName": 7}, "invalidSyntax", "Expected a string in field 'userName'"),
        ({"userName": "a", "active": "perhaps"}, "invalidSyntax", "'active'"),
        ({"userName": "a", "name": "A"}, "invalidSyntax", "'name'"),
        ({"userName": "a", "entitlements": [{}]}, "invalidValue", "'entitlements[0].value'"),
        ({"userName": "a", "groups": [{"value": "9"}]}, "invalidValue", "'groups': there is no group with id '9'"),
    ],
)
def test_a_wrong_user_is_not_made(plane: ControlPlane, fields: dict[str, Any], kind: str, detail: str) -> None:
    assert detail in refusal(plane.request("POST", f"{SCIM}/Users", ADMIN, json=fields), 400, kind)
    assert plane.request("GET", f"{SCIM}/Users", ADMIN).json()["totalResults"] == 3


@pytest.mark.parametrize("content", [b"", b"{nope", b"[]", b"[" * 100_000])
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "Users"), ("PATCH", "Groups/1"), ("PUT", "ServicePrincipals/1")]
)
def test_a_body_that_is_no_object_is_refused_in_scim_form(
    plane: ControlPlane, method: str, path: str, content: bytes
) -> None:
    refusal(plane.request(method, f"{SCIM}/{path}", ADMIN, content=content), 400, "invalidSyntax")


@pytest.mark.parametrize("kind", ["Users", "Groups", "ServicePrincipals"])
def test_everybody_reads_and_only_admins_write(plane: ControlPlane, kind: str) -> None:
    name = {"Users": "userName", "Groups": "displayName", "ServicePrincipals": "displayName"}[kind]
    made = create(plane, kind, **{name: "one"})
    assert get(plane, kind, made["id"], ANN) == made
    assert made in plane.request("GET", f"{SCIM}/{kind}", ANN).json()["Resources"]
    operation = {"op": "replace", "path": "displayName", "value": "two"}
    for answer in (
        plane.request("POST", f"{SCIM}/{kind}", ANN, json={name: "three"}),
        patch(plane, kind, made["id"], operation, caller=ANN),
        put(plane, kind, made["id"], ANN, displayName="two"),
        delete(plane, kind, made["id"], ANN),
    ):
        assert "Only admins" in refusal(answer, 403)
    assert get(plane, kind, made["id"]) == made


@pytest.mark.parametrize("kind", ["Users", "Groups", "ServicePrincipals"])
def test_what_is_not_there_is_not_found(plane: ControlPlane, kind: str) -> None:
    ids = {
        "Users": ANN.id,
        "Groups": group_id(plane, "users"),
        "ServicePrincipals": create(plane, "ServicePrincipals", displayName="job")["id"],
    }
    operation = {"op": "replace", "path": "displayName", "value": "x"}
    for one in (*(ids[other] for other in ids.keys() - {kind}), "nosuch"):
        for answer in (
            plane.request("GET", f"{SCIM}/{kind}/{one}", ADMIN),
            patch(plane, kind, one, operation),
            put(plane, kind, one, displayName="x"),
            delete(plane, kind, one),
        ):
            assert refusal(answer, 404) == f"{kind[:-1]} with id '{one}' not found."


def test_a_patch_changes_what_it_names(plane: ControlPlane) -> None:
    before = create(plane, "Users", userName="cy", displayName="Cy", externalId="x", roles=[{"value": "r"}])
    answer = patch(
        plane,
        "Users",
        before["id"],
        {"op": "replace", "path": "name.givenName", "value": "Cyrus"},
        {"op": "add", "path": "entitlements", "value": [{"value": "workspace-access"}]},
        {"op": "replace", "path": "userName", "value": "eve"},
    )
    assert answer.status_code == 200
    changed = {"name": {"givenName": "Cyrus"}, "entitlements": [{"value": "workspace-access"}]}
    assert answer.json() == {**before, **changed}
    assert get(plane, "Users", before["id"]) == answer.json()
    assert plane.notifier.principals == 1
    bad = patch(plane, "Users", before["id"], {"op": "replace", "path": "displayName", "value": "a\0b"})
    assert "'displayName'" in refusal(bad, 400, "invalidValue")
    bad = patch(plane, "Users", before["id"], {"op": "replace", "path": "active", "value": "perhaps"})
    assert "'active'" in refusal(bad, 400, "invalidValue")
    assert "'Operations'" in refusal(patch(plane, "Users", before["id"]), 400, "invalidValue")
    assert "'Operations[0].op'" in refusal(patch(plane, "Users", before["id"], {"op": "move"}), 400, "invalidValue")
    assert plane.notifier.principals == 1


def test_a_put_empties_what_it_leaves_out_but_wakes_nobody(plane: ControlPlane) -> None:
    made = create(
        plane, "Users", userName="cy", displayName="Cy", active=False, externalId="x", entitlements=[{"value": "e"}],
        name={"givenName": "C"},
    )
    answer = put(plane, "Users", made["id"], userName="ignored", displayName="Cyrus", groups=[{"value": "9"}])
    assert answer.json() == {
        **{key: value for key, value in made.items() if key != "externalId"},
        "displayName": "Cyrus",
        "name": {"givenName": "Cyrus"},
        "entitlements": [],
    }
    assert put(plane, "Users", made["id"], active=True).json()["active"] is True
    assert put(plane, "Users", made["id"]).json()["displayName"] == "cy"


def test_a_user_changes_their_own_name_and_nothing_else(plane: ControlPlane) -> None:
    name = {"op": "replace", "value": {"displayName": "Annie", "name": {"givenName": "Annie"}}}
    assert patch(plane, "Users", ANN.id, name, caller=ANN).json()["displayName"] == "Annie"
    assert get(plane, "Users", ANN.id)["name"] == {"givenName": "Annie"}
    for operation in (
        {"op": "add", "path": "entitlements", "value": [{"value": "allow-cluster-create"}]},
        {"op": "replace", "path": "active", "value": False},
        {"op": "add", "path": "externalId", "value": "x"},
    ):
        assert "own 'displayName' and 'name'" in refusal(patch(plane, "Users", ANN.id, operation, caller=ANN), 403)
    assert "Only admins" in refusal(patch(plane, "Users", BOB.id, name, caller=ANN), 403)
    assert "Only admins" in refusal(put(plane, "Users", ANN.id, ANN, displayName="x"), 403)
    assert get(plane, "Users", ANN.id)["entitlements"] == []


def test_a_deactivated_user_loses_access_before_the_answer(plane: ControlPlane) -> None:
    add_token(plane, ANN.id, "ann")
    add_token(plane, BOB.id, "bob")
    assert patch(plane, "Users", ANN.id, {"op": "replace", "path": "active", "value": False}).status_code == 200
    assert digests(plane) == {"bob"}
    assert plane.notifier.principals == 1
    patch(plane, "Users", ANN.id, {"op": "replace", "path": "active", "value": True})
    assert digests(plane) == {"ann", "bob"}


def test_what_a_deleted_user_was_given_goes_and_what_they_made_stays(plane: ControlPlane) -> None:
    team = create(plane, "Groups", displayName="team", members=[{"value": ANN.id}, {"value": BOB.id}])
    add_token(plane, ANN.id, "ann")
    add_token(plane, BOB.id, "bob")
    plane.create("ads", ANN)
    with plane.sessions.begin() as session:
        for who in (ANN.id, BOB.id):
            for object_type in ObjectType:
                permissions.grant(session, object_type, "o1", who, "CAN_QUERY")
        session.add(OAuthGrant(digest="g", kind="code", user_id=ANN.id, details={}, family="f", expiry_time=1))
    told = plane.notifier.principals
    answer = delete(plane, "Users", ANN.id)
    assert (answer.status_code, answer.content) == (204, b"")
    assert plane.notifier.principals == told + 1
    with reading(plane.sessions) as session:
        assert session.get(User, ANN.id) is None
        assert {token.user_id for token in session.query(Token)} == {BOB.id}
        assert {one.principal_id for one in session.query(Permission) if one.object_id == "o1"} == {BOB.id}
        assert {one.member_id for one in session.query(GroupMember).filter_by(group_id=team["id"])} == {BOB.id}
        assert session.query(OAuthGrant).count() == 0
    assert plane.request("GET", f"{ENDPOINTS}/ads", ADMIN).json()["creator"] == ANN.user_name
    refusal(delete(plane, "Users", ANN.id), 404)
    assert create(plane, "Users", userName=ANN.user_name)["id"] != ANN.id


def test_a_deleted_service_principal_has_no_secrets(plane: ControlPlane) -> None:
    made = create(plane, "ServicePrincipals", displayName="job")
    with plane.sessions.begin() as session:
        session.add(
            OAuthSecret(id="s", service_principal_id=made["id"], digest="d", hint="h", create_time=1, expire_time=2)
        )
    assert delete(plane, "ServicePrincipals", made["id"]).status_code == 204
    with reading(plane.sessions) as session:
        assert session.query(OAuthSecret).count() == 0


def test_the_last_active_admin_stays(plane: ControlPlane) -> None:
    off = {"op": "replace", "path": "active", "value": False}
    admins = group_id(plane, "admins")
    out = {"op": "remove", "path": f'members[value eq "{ADMIN.id}"]'}
    add_bob = {"op": "add", "path": "members", "value": [{"value": BOB.id}]}

    def last_one_stays() -> None:
        for answer in (
            delete(plane, "Users", ADMIN.id),
            patch(plane, "Users", ADMIN.id, off),
            put(plane, "Users", ADMIN.id, active=False),
            patch(plane, "Groups", admins, out),
            put(plane, "Groups", admins, displayName="admins"),
        ):
            assert "without an active administrator" in refusal(answer, 400, "mutability")
        with reading(plane.sessions) as session:
            admin = session.get_one(User, ADMIN.id)
            assert admin.active
            assert groups.memberships(session).is_admin(ADMIN.id)

    last_one_stays()
    assert patch(plane, "Users", BOB.id, off).status_code == 200
    assert patch(plane, "Groups", admins, add_bob).status_code == 200
    last_one_stays()  # the other one is not active
    assert patch(plane, "Users", BOB.id, {**off, "value": True}).status_code == 200
    assert patch(plane, "Groups", admins, out).status_code == 200
    assert delete(plane, "Users", ADMIN.id).status_code == 204


def test_the_last_admin_may_be_one_through_another_group(plane: ControlPlane) -> None:
    admins = group_id(plane, "admins")
    team = create(plane, "Groups", displayName="team", members=[{"value": ANN.id}])["id"]
    assert put(plane, "Groups", admins, displayName="admins", members=[{"value": team}]).status_code == 200
    for answer in (
        delete(plane, "Groups", team),
        delete(plane, "Users", ANN.id),
        patch(plane, "Groups", team, {"op": "remove", "path": "members"}),
    ):
        assert "without an active administrator" in refusal(answer, 400, "mutability")


def test_me_has_the_groups_that_one_is_in_and_how(plane: ControlPlane) -> None:
    inner = create(plane, "Groups", displayName="inner", members=[{"value": ANN.id}])
    outer = create(plane, "Groups", displayName="outer", members=[{"value": inner["id"]}])
    me = plane.request("GET", f"{SCIM}/Me", ANN).json()
    assert memberships(me) == {"inner": "direct", "outer": "indirect", "users": "direct"}
    assert {group["value"]: group["$ref"] for group in me["groups"]}[outer["id"]] == f"Groups/{outer['id']}"
    assert me == get(plane, "Users", ANN.id)


def test_me_of_a_service_principal_is_its_application_id(plane: ControlPlane) -> None:
    made = create(plane, "ServicePrincipals", displayName="nightly job")
    caller = Principal(id=made["id"], user_name=made["applicationId"], kind=PrincipalKind.SERVICE_PRINCIPAL)
    me = plane.request("GET", f"{SCIM}/Me", caller).json()
    assert (me["id"], me["userName"], me["displayName"]) == (made["id"], made["applicationId"], "nightly job")
    assert me["schemas"] == ["urn:ietf:params:scim:schemas:core:2.0:User"]
    assert me["active"] is True
    rename = {"op": "replace", "path": "displayName", "value": "x"}
    refusal(patch(plane, "ServicePrincipals", made["id"], rename, caller=caller), 403)


def test_me_answers_the_attributes_asked_for(plane: ControlPlane) -> None:
    some = plane.request("GET", f"{SCIM}/Me?attributes=USERNAME,groups.display", ANN).json()
    assert set(some) == {"schemas", "id", "userName", "groups"}
    assert some["groups"] == [{"display": "users"}]
