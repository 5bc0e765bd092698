"""The permissions API on endpoints, registered models and tokens, and what every route asks of its caller."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from control_harness import ADMIN, ANN, BOB, ENDPOINTS, ControlPlane, control_plane, entity
from databricks.sdk.service import iam, serving

from moorage.api.errors import TemporarilyUnavailable
from moorage.api.routing import Principal, PrincipalKind
from moorage.control.store import groups, permissions, registered_models
from moorage.control.store.engine import reading
from moorage.control.store.models import Group, User
from moorage.control.store.permissions import ObjectType

PERMISSIONS = "/api/2.0/permissions"
ROBOT = Principal(id="1003", user_name="0a1b2c3d-0000-4000-8000-000000000003", kind=PrincipalKind.SERVICE_PRINCIPAL)
SCIENCE = "2001"


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    with control_plane(tmp_path) as plane:
        with plane.sessions.begin() as session:
            session.add(
                User(id=ROBOT.id, user_name=ROBOT.user_name, display_name="Robot", created_at=1, kind=ROBOT.kind)
            )
            session.add(Group(id=SCIENCE, display_name="science", entitlements=[], created_at=1))
            session.flush()
            groups.add_members(session, SCIENCE, [BOB.id])
        yield plane


@pytest.fixture
def ads(plane: ControlPlane) -> str:
    return str(plane.create("ads")["id"])


def error(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["error_code"]


def change(plane: ControlPlane, method: str, path: str, caller: Principal = ANN, *entries: dict[str, str]) -> Any:
    return plane.request(method, f"{PERMISSIONS}/{path}", caller, json={"access_control_list": list(entries)})


def grant(plane: ControlPlane, path: str, level: str, caller: Principal = ANN, **principal: str) -> None:
    response = change(plane, "PATCH", path, caller, {**principal, "permission_level": level})
    assert response.status_code == 200, response.text


def levels(document: dict[str, Any]) -> dict[str, list[tuple[str, bool]]]:
    """Levels by principal, and whether each is inherited."""
    return {
        entry.get("user_name") or entry.get("group_name") or entry["service_principal_name"]: [
            (one["permission_level"], one["inherited"]) for one in entry["all_permissions"]
        ]
        for entry in document["access_control_list"]
    }


def held_by(plane: ControlPlane, path: str, caller: Principal = ANN) -> dict[str, list[tuple[str, bool]]]:
    response = plane.request("GET", f"{PERMISSIONS}/{path}", caller)
    assert response.status_code == 200, response.text
    return levels(response.json())


CREATOR = {ANN.user_name: [("CAN_MANAGE", False)]}
ADMINS = {"admins": [("CAN_MANAGE", True)]}


@pytest.mark.parametrize("spelling", ["serving-endpoints", "servingendpoints"])
@pytest.mark.parametrize("by", ["id", "name"])
def test_a_new_endpoint_is_its_creators_and_the_administrators(
    plane: ControlPlane, ads: str, spelling: str, by: str
) -> None:
    response = plane.request("GET", f"{PERMISSIONS}/{spelling}/{ads if by == 'id' else 'ads'}")
    assert response.json() == {
        "object_id": f"/serving-endpoints/{ads}",
        "object_type": "serving-endpoint",
        "access_control_list": [
            {
                "user_name": ANN.user_name,
                "display_name": "Ann",
                "all_permissions": [{"permission_level": "CAN_MANAGE", "inherited": False}],
            },
            {
                "group_name": "admins",
                "all_permissions": [
                    {
                        "permission_level": "CAN_MANAGE",
                        "inherited": True,
                        "inherited_from_object": ["/serving-endpoints/"],
                    }
                ],
            },
        ],
    }
    read = serving.ServingEndpointPermissions.from_dict(response.json())
    assert read.access_control_list is not None
    assert read.access_control_list[0].all_permissions is not None


def test_an_id_goes_before_a_name(plane: ControlPlane, ads: str) -> None:
    plane.create(ads, BOB)
    assert held_by(plane, f"serving-endpoints/{ads}").keys() == {ANN.user_name, "admins"}


def test_a_patch_adds_and_changes_one_principal_at_a_time(plane: ControlPlane, ads: str) -> None:
    path = f"serving-endpoints/{ads}"
    grant(plane, path, "CAN_VIEW", user_name=BOB.user_name)
    grant(plane, path, "CAN_QUERY", group_name="science")
    grant(plane, path, "CAN_QUERY", service_principal_name=ROBOT.user_name)
    grant(plane, path, "CAN_QUERY", user_name=BOB.user_name)
    assert held_by(plane, path) == {
        **CREATOR,
        **ADMINS,
        BOB.user_name: [("CAN_QUERY", False)],
        ROBOT.user_name: [("CAN_QUERY", False)],
        "science": [("CAN_QUERY", False)],
    }
    # Users, service principals, groups: the order that stays.
    assert [*held_by(plane, path)] == [ANN.user_name, BOB.user_name, ROBOT.user_name, "admins", "science"]
    assert plane.request("PATCH", f"{PERMISSIONS}/{path}", json={}).status_code == 200
    assert len(held_by(plane, path)) == 5


def test_a_put_replaces_what_was_granted_and_the_creator_stays(plane: ControlPlane, ads: str) -> None:
    path = f"serving-endpoints/{ads}"
    grant(plane, path, "CAN_QUERY", group_name="science")
    put = change(plane, "PUT", path, ANN, {"user_name": BOB.user_name, "permission_level": "CAN_MANAGE"})
    assert levels(put.json()) == {**CREATOR, **ADMINS, BOB.user_name: [("CAN_MANAGE", False)]}
    assert levels(put.json()) == held_by(plane, path, BOB)
    lowered = change(plane, "PUT", path, BOB, {"user_name": ANN.user_name, "permission_level": "CAN_VIEW"})
    assert levels(lowered.json()) == {**CREATOR, **ADMINS}
    assert error(plane.request("GET", f"{PERMISSIONS}/{path}", BOB)) == (403, "PERMISSION_DENIED")
    grant(plane, path, "CAN_QUERY", group_name="science")
    assert levels(plane.request("PUT", f"{PERMISSIONS}/{path}", json={}).json()) == {**CREATOR, **ADMINS}


def test_a_level_granted_on_the_object_stands_beside_an_inherited_one(plane: ControlPlane, ads: str) -> None:
    grant(plane, f"serving-endpoints/{ads}", "CAN_VIEW", group_name="Admins")
    assert held_by(plane, f"serving-endpoints/{ads}")["admins"] == [("CAN_VIEW", False), ("CAN_MANAGE", True)]


def test_gateways_hear_of_a_change_once_it_is_committed(plane: ControlPlane, ads: str) -> None:
    plane.notifier.endpoints.clear()
    grant(plane, f"serving-endpoints/{ads}", "CAN_QUERY", user_name=BOB.user_name)
    change(plane, "PUT", f"serving-endpoints/{ads}")
    assert plane.notifier.endpoints == [ads, ads]
    change(plane, "PATCH", f"serving-endpoints/{ads}", BOB, {"user_name": "x", "permission_level": "CAN_VIEW"})
    assert plane.notifier.endpoints == [ads, ads]


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize(
    ("entries", "status", "code", "words"),
    [
        ([{"permission_level": "CAN_VIEW"}], 400, "INVALID_PARAMETER_VALUE", "exactly one of 'user_name'"),
        (
            [{"user_name": "ann@example.com", "group_name": "science", "permission_level": "CAN_VIEW"}],
            400,
            "INVALID_PARAMETER_VALUE",
            "exactly one of 'user_name'",
        ),
        ([{"user_name": BOB.user_name}], 400, "INVALID_PARAMETER_VALUE", "access_control_list[0].permission_level"),
        (
            [{"user_name": BOB.user_name, "permission_level": "CAN_READ"}],
            400,
            "INVALID_PARAMETER_VALUE",
            "CAN_VIEW, CAN_QUERY, CAN_MANAGE",
        ),
        (
            [{"user_name": "nobody@example.com", "permission_level": "CAN_VIEW"}],
            404,
            "RESOURCE_DOES_NOT_EXIST",
            "Principal: nobody@example.com does not exist",
        ),
        # A service principal is no user, and a user is no service principal or group.
        ([{"user_name": ROBOT.user_name, "permission_level": "CAN_VIEW"}], 404, "RESOURCE_DOES_NOT_EXIST", "exist"),
        (
            [{"service_principal_name": BOB.user_name, "permission_level": "CAN_VIEW"}],
            404,
            "RESOURCE_DOES_NOT_EXIST",
            "exist",
        ),
        ([{"group_name": BOB.user_name, "permission_level": "CAN_VIEW"}], 404, "RESOURCE_DOES_NOT_EXIST", "exist"),
        (
            [
                {"group_name": "science", "permission_level": "CAN_VIEW"},
                {"group_name": "Science", "permission_level": "CAN_QUERY"},
            ],
            400,
            "INVALID_PARAMETER_VALUE",
            "in the list already",
        ),
        ("science", 400, "BAD_REQUEST", "Expected an array"),
        ([{"user_name": BOB.user_name, "permission_level": 3}], 400, "BAD_REQUEST", "Expected a string"),
    ],
)
def test_a_bad_list_changes_nothing(
    plane: ControlPlane, ads: str, method: str, entries: Any, status: int, code: str, words: str
) -> None:
    path = f"serving-endpoints/{ads}"
    grant(plane, path, "CAN_VIEW", service_principal_name=ROBOT.user_name)
    before = held_by(plane, path)
    good = {"user_name": BOB.user_name, "permission_level": "CAN_QUERY"}
    if isinstance(entries, list) and entries[0].get("user_name") not in (BOB.user_name, "ann@example.com"):
        entries = [*entries, good]
    response = plane.request(method, f"{PERMISSIONS}/{path}", json={"access_control_list": entries})
    assert error(response) == (status, code)
    assert words in response.json()["message"]
    assert held_by(plane, path) == before


def test_an_unknown_object_and_an_unknown_type(plane: ControlPlane) -> None:
    for method in ("GET", "PUT", "PATCH"):
        body = {} if method == "GET" else {"json": {}}
        unknown = plane.request(method, f"{PERMISSIONS}/serving-endpoints/nosuch", **body)
        assert error(unknown) == (404, "RESOURCE_DOES_NOT_EXIST")
        other = plane.request(method, f"{PERMISSIONS}/clusters/nosuch", **body)
        assert error(other) == (400, "INVALID_PARAMETER_VALUE")
        assert "'clusters' is not recognised" in other.json()["message"]
    levels = plane.request("GET", f"{PERMISSIONS}/clusters/x/permissionLevels")
    assert error(levels) == (400, "INVALID_PARAMETER_VALUE")


def test_whoever_sees_an_endpoint_may_read_its_levels(plane: ControlPlane, ads: str) -> None:
    path = f"{PERMISSIONS}/serving-endpoints/{ads}/permissionLevels"
    document = plane.request("GET", path).json()
    described = document["permission_levels"]
    assert [one["permission_level"] for one in described] == ["CAN_VIEW", "CAN_QUERY", "CAN_MANAGE"]
    assert all(one["description"] for one in document["permission_levels"])
    assert serving.GetServingEndpointPermissionLevelsResponse.from_dict(document).permission_levels
    assert error(plane.request("GET", path, BOB)) == (403, "PERMISSION_DENIED")
    grant(plane, f"serving-endpoints/{ads}", "CAN_VIEW", user_name=BOB.user_name)
    assert plane.request("GET", path, BOB).json() == document


READ = [
    "",
    "/events",
    "/metrics",
    "/metrics-history",
    "/replicas",
    "/config-versions",
    "/served-models/ads1-1/build-logs",
    "/served-models/ads1-1/logs",
    "/served-models/ads1-1/log-files",
]
CHANGE = [
    ("PUT", "/config", {"served_entities": [entity()]}),
    ("POST", "/config:cancel", {}),
    ("POST", "/config:stop", {}),
    ("POST", "/config:start", {}),
    ("POST", "/config:rollback", {"config_version": 1}),
    ("PATCH", "/tags", {}),
    ("PATCH", "/notifications", {}),
    ("PATCH", "/telemetry-config", {}),
    ("PUT", "/rate-limits", {"rate_limits": []}),
    ("PUT", "/ai-gateway", {}),
    ("DELETE", "", None),
]


@pytest.mark.parametrize("level", [None, "CAN_VIEW", "CAN_QUERY", "CAN_MANAGE"])
def test_what_each_level_opens(plane: ControlPlane, ads: str, level: str | None) -> None:
    if level is not None:
        grant(plane, f"serving-endpoints/{ads}", level, group_name="science")
    caller = BOB.model_copy(update={"groups": frozenset({SCIENCE})})
    seen = level is not None
    for path in READ:
        status = plane.request("GET", f"{ENDPOINTS}/ads{path}", caller).status_code
        assert status == (200 if seen else 403), (path, level)
    # Nothing serves yet, which a caller who may not even see the endpoint is not told.
    assert plane.request("GET", f"{ENDPOINTS}/ads/openapi", caller).status_code == (400 if seen else 403)
    listed = plane.request("GET", ENDPOINTS, caller).json().get("endpoints", [])
    assert [one["name"] for one in listed] == (["ads"] if seen else [])
    if seen:
        assert plane.request("GET", f"{ENDPOINTS}/ads", caller).json()["permission_level"] == level
    managed = [
        plane.request("GET", f"{PERMISSIONS}/serving-endpoints/{ads}", caller),
        plane.request("PATCH", f"{PERMISSIONS}/serving-endpoints/{ads}", caller, json={}),
    ]
    for method, path, body in CHANGE:
        options = {} if body is None else {"json": body}
        managed.append(plane.request(method, f"{ENDPOINTS}/ads{path}", caller, **options))
    for response in managed:
        assert (response.status_code == 403) == (level != "CAN_MANAGE"), response.text


def test_the_grants_of_a_deleted_endpoint_leave_with_it(plane: ControlPlane, ads: str) -> None:
    grant(plane, f"serving-endpoints/{ads}", "CAN_MANAGE", user_name=BOB.user_name)
    assert plane.request("DELETE", f"{ENDPOINTS}/ads").status_code == 200
    with reading(plane.sessions) as session:
        assert permissions.all_grants(session, ObjectType.SERVING_ENDPOINT) == {}
    assert error(plane.request("GET", f"{PERMISSIONS}/serving-endpoints/{ads}")) == (404, "RESOURCE_DOES_NOT_EXIST")
    again = plane.create("ads")["id"]
    assert held_by(plane, f"serving-endpoints/{again}") == {**CREATOR, **ADMINS}


def own(plane: ControlPlane, name: str, owner: Principal) -> None:
    with plane.sessions.begin() as session:
        registered_models.record_owner(session, name, owner.id)


def test_a_model_is_its_owners(plane: ControlPlane) -> None:
    own(plane, "prod.ml.fraud", ANN)
    path = "registered-models/prod.ml.fraud"
    response = plane.request("GET", f"{PERMISSIONS}/{path}")
    assert response.json()["object_id"] == "/registered-models/prod.ml.fraud"
    assert response.json()["object_type"] == "registered-model"
    assert levels(response.json()) == {**CREATOR, **ADMINS}
    assert iam.ObjectPermissions.from_dict(response.json()).access_control_list
    assert error(plane.request("GET", f"{PERMISSIONS}/{path}", BOB)) == (403, "PERMISSION_DENIED")
    assert error(plane.request("GET", f"{PERMISSIONS}/{path}/permissionLevels", BOB)) == (403, "PERMISSION_DENIED")
    grant(plane, path, "CAN_MANAGE_STAGING_VERSIONS", user_name=BOB.user_name)
    document = plane.request("GET", f"{PERMISSIONS}/{path}/permissionLevels", BOB).json()
    assert [one["permission_level"] for one in document["permission_levels"]] == [
        "CAN_READ", "CAN_EDIT", "CAN_MANAGE_STAGING_VERSIONS", "CAN_MANAGE_PRODUCTION_VERSIONS", "CAN_MANAGE",
    ]  # fmt: skip
    assert error(plane.request("GET", f"{PERMISSIONS}/{path}", BOB)) == (403, "PERMISSION_DENIED")
    wrong = change(plane, "PATCH", path, ANN, {"user_name": BOB.user_name, "permission_level": "CAN_QUERY"})
    assert error(wrong) == (400, "INVALID_PARAMETER_VALUE")
    assert "CAN_MANAGE_PRODUCTION_VERSIONS" in wrong.json()["message"]


def test_a_models_name_may_need_encoding(plane: ControlPlane) -> None:
    plane.registry.add("my model #1", "1")
    own(plane, "my model #1", ANN)
    assert held_by(plane, "registered-models/my%20model%20%231") == {**CREATOR, **ADMINS}


def test_a_model_that_the_registry_does_not_know(plane: ControlPlane) -> None:
    own(plane, "gone", ANN)
    assert error(plane.request("GET", f"{PERMISSIONS}/registered-models/gone")) == (404, "RESOURCE_DOES_NOT_EXIST")
    plane.registry.failure = TemporarilyUnavailable("The model registry does not answer")
    response = plane.request("GET", f"{PERMISSIONS}/registered-models/ads1", ADMIN)
    assert error(response) == (503, "TEMPORARILY_UNAVAILABLE")


def test_everybody_reads_a_model_without_an_owner_until_an_administrator_sets_its_permissions(
    plane: ControlPlane,
) -> None:
    path = "registered-models/ads1"
    users = {"users": [("CAN_READ", True)]}
    assert held_by(plane, path, ADMIN) == {**ADMINS, **users}
    assert error(plane.request("GET", f"{PERMISSIONS}/{path}", ANN)) == (403, "PERMISSION_DENIED")
    assert plane.request("GET", f"{PERMISSIONS}/{path}/permissionLevels", ANN).status_code == 200
    grant(plane, path, "CAN_EDIT", ADMIN, user_name=BOB.user_name)
    assert held_by(plane, path, ADMIN) == {**ADMINS, **users, BOB.user_name: [("CAN_EDIT", False)]}
    put = change(plane, "PUT", path, ADMIN, {"user_name": BOB.user_name, "permission_level": "CAN_READ"})
    owned = {ADMIN.user_name: [("CAN_MANAGE", False)], BOB.user_name: [("CAN_READ", False)]}
    assert levels(put.json()) == {**ADMINS, **owned}
    assert plane.request("GET", f"{PERMISSIONS}/{path}/permissionLevels", ANN).status_code == 403


def test_serving_a_model_needs_the_right_to_read_it(plane: ControlPlane) -> None:
    own(plane, "ads1", ANN)
    body = {"name": "bobs", "config": {"served_entities": [entity()]}}
    refused = plane.request("POST", ENDPOINTS, BOB, json=body)
    assert error(refused) == (403, "PERMISSION_DENIED")
    assert "CAN_READ permission on registered model 'ads1'" in refused.json()["message"]
    assert plane.request("POST", "/api/2.0/model-checks", BOB, json=entity()).status_code == 403
    assert plane.request("POST", "/api/2.0/model-checks", ANN, json=entity()).status_code == 200

    made = plane.request("POST", ENDPOINTS, BOB, json={"name": "bobs"})
    assert made.status_code == 200
    update = {"served_entities": [entity()]}
    assert error(plane.request("PUT", f"{ENDPOINTS}/bobs/config", BOB, json=update)) == (403, "PERMISSION_DENIED")
    grant(plane, "registered-models/ads1", "CAN_READ", group_name="science")
    member = BOB.model_copy(update={"groups": frozenset({SCIENCE})})
    assert plane.request("PUT", f"{ENDPOINTS}/bobs/config", member, json=update).status_code == 200


def test_tokens_are_every_users_and_the_administrators_manage_them(plane: ControlPlane) -> None:
    path = f"{PERMISSIONS}/authorization/tokens"
    document = plane.request("GET", path, ADMIN).json()
    assert (document["object_id"], document["object_type"]) == ("/authorization/tokens", "tokens")
    assert levels(document) == {"admins": [("CAN_MANAGE", True)], "users": [("CAN_USE", True)]}
    described = plane.request("GET", f"{path}/permissionLevels", ANN).json()["permission_levels"]
    assert [one["permission_level"] for one in described] == ["CAN_USE", "CAN_MANAGE"]
    assert error(plane.request("GET", path, ANN)) == (403, "PERMISSION_DENIED")
    assert error(plane.request("PUT", path, ADMIN, json={})) == (501, "NOT_IMPLEMENTED")
    assert error(plane.request("PATCH", path, ANN, json={})) == (403, "PERMISSION_DENIED")
    other = plane.request("GET", f"{PERMISSIONS}/authorization/passwords", ADMIN)
    assert error(other) == (400, "INVALID_PARAMETER_VALUE")
