"""Tokens, the caller's own user, and what the store knows of both."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from control_harness import ADMIN, ANN, BOB, ControlPlane, control_plane
from databricks.sdk.service import iam, settings

from moorage.api.endpoints import PermissionLevel
from moorage.api.errors import PermissionDenied
from moorage.api.routing import Principal
from moorage.control.store import groups, identity
from moorage.control.store.engine import reading
from moorage.control.store.models import Token, User
from moorage.identity.access import permission_level, require_level
from moorage.identity.ids import new_workspace_id

CREATE, LIST, DELETE = (f"/api/2.0/token/{verb}" for verb in ("create", "list", "delete"))


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    with control_plane(tmp_path) as plane:
        yield plane


def create(plane: ControlPlane, caller: Principal = ANN, **fields: Any) -> dict[str, Any]:
    response = plane.request("POST", CREATE, caller, json=fields)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def error(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["error_code"]


def test_a_token_is_shown_once_and_kept_as_a_digest(plane: ControlPlane) -> None:
    created = create(plane, comment="laptop", lifetime_seconds="3600")
    value, info = created["token_value"], created["token_info"]
    assert re.fullmatch(r"dapi[0-9a-f]{32}", value)
    assert re.fullmatch(r"[0-9a-f]{64}", info["token_id"])
    assert info["comment"] == "laptop"
    assert (info["creation_time"], info["expiry_time"]) == (plane.clock.now, plane.clock.now + 3_600_000)
    assert plane.request("GET", LIST).json() == {"token_infos": [info]}
    digest = hashlib.sha256(value.encode()).hexdigest()
    with reading(plane.sessions) as session:
        assert session.get_one(Token, info["token_id"]).digest == digest
    assert value.encode() not in plane.data.database.read_bytes()
    (told,) = plane.notifier.tokens
    assert told[0] == digest
    assert told[1] is not None
    assert told[1].groups
    assert told[1].model_copy(update={"groups": frozenset()}) == ANN.model_copy(
        update={"token_id": info["token_id"], "expiry_time": info["expiry_time"]}
    )
    assert settings.CreateTokenResponse.from_dict(created).token_info is not None


def test_a_token_without_lifetime_does_not_expire(plane: ControlPlane) -> None:
    response = plane.request("POST", CREATE)
    assert response.json()["token_info"]["expiry_time"] == -1
    assert response.json()["token_info"]["comment"] == ""
    assert create(plane, lifetime_seconds=None, comment=None)["token_info"]["expiry_time"] == -1


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"lifetime_seconds": 0}, "INVALID_PARAMETER_VALUE"),
        ({"lifetime_seconds": -5}, "INVALID_PARAMETER_VALUE"),
        ({"lifetime_seconds": 10**17}, "INVALID_PARAMETER_VALUE"),
        ({"lifetime_seconds": "soon"}, "BAD_REQUEST"),
        ({"lifetime_seconds": True}, "BAD_REQUEST"),
        ({"comment": 5}, "BAD_REQUEST"),
        ({"comment": "x" * 1001}, "INVALID_PARAMETER_VALUE"),
        ({"scopes": ["sql"]}, "INVALID_PARAMETER_VALUE"),
    ],
)
def test_a_bad_token_request_makes_no_token(plane: ControlPlane, fields: dict[str, Any], code: str) -> None:
    assert error(plane.request("POST", CREATE, json=fields)) == (400, code)
    assert plane.request("GET", LIST).json() == {"token_infos": []}


def test_everybody_sees_and_deletes_their_own_tokens_only(plane: ControlPlane) -> None:
    mine = create(plane, ANN)["token_info"]["token_id"]
    assert plane.request("GET", LIST, BOB).json() == {"token_infos": []}
    assert error(plane.request("POST", DELETE, BOB, json={"token_id": mine})) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert len(plane.request("GET", LIST, ANN).json()["token_infos"]) == 1


def test_a_deleted_token_is_gone_and_the_gateways_know(plane: ControlPlane) -> None:
    created = create(plane)
    response = plane.request("POST", DELETE, json={"token_id": created["token_info"]["token_id"]})
    assert (response.status_code, response.json()) == (200, {})
    digest = hashlib.sha256(created["token_value"].encode()).hexdigest()
    assert plane.notifier.tokens[-1] == (digest, None)
    again = plane.request("POST", DELETE, json={"token_id": created["token_info"]["token_id"]})
    assert error(again) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert error(plane.request("POST", DELETE, json={})) == (400, "INVALID_PARAMETER_VALUE")


def test_six_hundred_tokens_are_enough_and_expired_ones_make_room(plane: ControlPlane) -> None:
    with plane.sessions.begin() as session:
        for number in range(600):
            expiry = plane.clock.now + 1000 if number == 0 else -1
            session.add(
                Token(
                    id=str(number),
                    digest=str(number),
                    user_id=ANN.id,
                    comment="",
                    creation_time=1,
                    expiry_time=expiry,
                )
            )
    assert error(plane.request("POST", CREATE)) == (400, "QUOTA_EXCEEDED")
    create(plane, BOB)
    plane.clock.now += 1000
    create(plane, ANN)


def test_a_user_who_is_gone_makes_no_token(plane: ControlPlane) -> None:
    stranger = Principal(id="9", user_name="gone@example.com", admin=True)
    assert error(plane.request("POST", CREATE, stranger)) == (403, "PERMISSION_DENIED")
    assert error(plane.request("GET", "/api/2.0/preview/scim/v2/Me", stranger)) == (403, "PERMISSION_DENIED")


def test_valid_tokens_stand_for_their_principals(plane: ControlPlane) -> None:
    lasting, short = create(plane, ADMIN), create(plane, ANN, lifetime_seconds=1)
    digests = [hashlib.sha256(t["token_value"].encode()).hexdigest() for t in (lasting, short)]
    with plane.sessions.begin() as session:
        now = plane.clock.now
        assert set(identity.principals_by_digest(session, now)) == set(digests)
        assert identity.principal_by_digest(session, digests[1], now) is not None
        assert set(identity.principals_by_digest(session, now + 1000)) == {digests[0]}
        assert identity.principal_by_digest(session, digests[1], now + 1000) is None
        assert identity.principals_by_digest(session, now)[digests[0]].admin
        session.get_one(User, ADMIN.id).active = False
        session.flush()
        assert set(identity.principals_by_digest(session, now)) == {digests[1]}


def test_the_workspace_id_and_the_admin_are_made_once(plane: ControlPlane) -> None:
    with plane.sessions.begin() as session:
        first = identity.ensure_workspace_id(session, new_workspace_id())
        assert identity.ensure_workspace_id(session, new_workspace_id()) == first
        made = identity.ensure_admin(session, "root@localhost", user_id="42", timestamp=5)
        again = identity.ensure_admin(session, "root@localhost", user_id="43", timestamp=6)
        assert made is again
        assert (made.id, made.active, made.created_at) == ("42", True, 5)
        assert identity.ensure_admin(session, BOB.user_name, user_id="44", timestamp=6).id == BOB.id
        memberships = groups.memberships(session)
        assert [memberships.is_admin(one) for one in (made.id, BOB.id, ANN.id)] == [True, True, False]


def test_me_is_the_caller(plane: ControlPlane) -> None:
    response = plane.request("GET", "/api/2.0/preview/scim/v2/Me", ANN)
    workspace = plane.request("GET", "/.well-known/databricks-config").json()["workspace_id"]
    assert response.headers["X-Databricks-Org-Id"] == workspace
    document = response.json()
    assert document["schemas"] == ["urn:ietf:params:scim:schemas:core:2.0:User"]
    me = iam.User.from_dict(document)
    assert (me.id, me.user_name, me.display_name, me.active) == (ANN.id, ANN.user_name, "Ann", True)
    assert me.emails is not None
    assert me.emails[0].value == ANN.user_name
    assert [group["display"] for group in document["groups"]] == ["users"]
    admin = plane.request("GET", "/api/2.0/preview/scim/v2/Me/", ADMIN).json()
    assert "admins" in [group["display"] for group in admin["groups"]]


def test_admins_manage_and_others_have_what_they_were_given() -> None:
    grants = {ANN.id: "CAN_MANAGE"}
    assert permission_level(ANN, grants) is PermissionLevel.CAN_MANAGE
    assert permission_level(ADMIN, grants) is PermissionLevel.CAN_MANAGE
    assert permission_level(BOB, grants) is None
    assert require_level(ANN, "ads", grants, PermissionLevel.CAN_QUERY) is PermissionLevel.CAN_MANAGE
    with pytest.raises(PermissionDenied, match=r"bob@example\.com.*CAN_QUERY.*'ads'"):
        require_level(BOB, "ads", grants, PermissionLevel.CAN_QUERY)


def test_the_highest_of_ones_own_and_ones_groups_grants_counts() -> None:
    bob = BOB.model_copy(update={"groups": frozenset({"g1", "g2"})})
    assert permission_level(bob, {"g3": "CAN_MANAGE"}) is None
    assert permission_level(bob, {bob.id: "CAN_VIEW"}) is PermissionLevel.CAN_VIEW
    grants = {bob.id: "CAN_VIEW", "g1": "CAN_QUERY", "g3": "CAN_MANAGE"}
    assert permission_level(bob, grants) is PermissionLevel.CAN_QUERY
    with pytest.raises(PermissionDenied, match="CAN_MANAGE"):
        require_level(bob, "ads", grants, PermissionLevel.CAN_MANAGE)


@pytest.mark.parametrize("level", list(PermissionLevel))
def test_a_level_allows_itself_and_what_is_below(level: PermissionLevel) -> None:
    order = [PermissionLevel.CAN_VIEW, PermissionLevel.CAN_QUERY, PermissionLevel.CAN_MANAGE]
    assert [level.allows(needed) for needed in order] == [
        order.index(needed) <= order.index(level) for needed in order
    ]
