"""Privileges on catalogs, schemas and models: what they let whom do, and who may see and change them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from control_harness import ADMIN, ANN, BOB, ControlPlane, control_plane
from databricks.sdk.service import catalog
from sqlalchemy import event

from moorage.api.errors import PermissionDenied
from moorage.api.grants import APPLICABLE, Privilege, SecurableType
from moorage.api.permissions import ModelLevel
from moorage.api.registry_access import RegistryRequest
from moorage.api.routing import Principal, PrincipalKind
from moorage.control.registry_access import RegistryAccess
from moorage.control.store import endpoint_grants, groups, identity, permissions, registered_models
from moorage.control.store.engine import reading
from moorage.control.store.models import Endpoint, Group, LegacyEndpoint, PrivilegeGrant, User
from moorage.control.store.permissions import ObjectType
from moorage.identity.model_access import model_level

UC = "/api/2.1/unity-catalog"
SCIENCE = "2001"
ROBOT = Principal(id="1003", user_name="0a1b2c3d-0000-4000-8000-000000000003", kind=PrincipalKind.SERVICE_PRINCIPAL)
MEMBER = BOB.model_copy(update={"groups": frozenset({SCIENCE})})
FRAUD = "prod.ml.fraud"


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    """Ann owns `prod.ml.fraud`; nobody owns `ads1`."""
    with control_plane(tmp_path) as plane:
        with plane.sessions.begin() as session:
            session.add(
                User(id=ROBOT.id, user_name=ROBOT.user_name, display_name="Robot", created_at=1, kind=ROBOT.kind)
            )
            session.add(Group(id=SCIENCE, display_name="science", entitlements=[], created_at=1))
            registered_models.record_owner(session, FRAUD, ANN.id)
        yield plane


@pytest.fixture
def access(plane: ControlPlane) -> RegistryAccess:
    found: RegistryAccess = plane.client.app.state.registry_access  # type: ignore[attr-defined]
    return found


def change(plane: ControlPlane, where: str, *changes: dict[str, Any], caller: Principal = ADMIN) -> Any:
    return plane.request("PATCH", f"{UC}/permissions/{where}", caller, json={"changes": list(changes)})


def grant(plane: ControlPlane, where: str, who: str, *privileges: str, caller: Principal = ADMIN) -> None:
    response = change(plane, where, {"principal": who, "add": list(privileges)}, caller=caller)
    assert response.status_code == 200, response.text


def revoke(plane: ControlPlane, where: str, who: str, *privileges: str) -> None:
    response = change(plane, where, {"principal": who, "remove": list(privileges)})
    assert response.status_code == 200, response.text


def shown(plane: ControlPlane, where: str, caller: Principal = ADMIN, **query: Any) -> dict[str, list[str]]:
    response = plane.request("GET", f"{UC}/permissions/{where}", caller, params=query)
    assert response.status_code == 200, response.text
    return {one["principal"]: one["privileges"] for one in response.json()["privilege_assignments"]}


def effective(plane: ControlPlane, where: str, caller: Principal = ADMIN, **query: Any) -> dict[str, list[Any]]:
    response = plane.request("GET", f"{UC}/effective-permissions/{where}", caller, params=query)
    assert response.status_code == 200, response.text
    return {
        one["principal"]: [
            (each["privilege"], each.get("inherited_from_type"), each.get("inherited_from_name"))
            for each in one["privileges"]
        ]
        for one in response.json()["privilege_assignments"]
    }


def level(plane: ControlPlane, name: str, caller: Principal = BOB) -> ModelLevel | None:
    with reading(plane.sessions) as session:
        return model_level(caller, registered_models.rights(session, name))


def error(response: Any) -> tuple[int, str, str]:
    document = response.json()
    return response.status_code, document["error_code"], document["message"]


def rows(plane: ControlPlane) -> int:
    with reading(plane.sessions) as session:
        return session.query(PrivilegeGrant).count()


@pytest.mark.parametrize("where", ["function/prod.ml.fraud", "schema/prod.ml", "catalog/prod"])
@pytest.mark.parametrize(
    ("privilege", "expected"),
    [
        ("EXECUTE", "CAN_READ"),
        ("APPLY_TAG", "CAN_EDIT"),
        ("CREATE_MODEL_VERSION", "CAN_EDIT"),
        ("MANAGE", "CAN_MANAGE"),
        ("ALL_PRIVILEGES", "CAN_MANAGE"),
    ],
)
def test_what_a_privilege_is_on_a_model(plane: ControlPlane, where: str, privilege: str, expected: str) -> None:
    plane.registry.add("prod.mlops.other", "1")
    with plane.sessions.begin() as session:
        for name in ("prod.mlops.other", "prod.ml", "prod", "product.ml.x", "prod.ml.a.b"):
            registered_models.record_owner(session, name, ANN.id)
    assert level(plane, FRAUD) is None
    grant(plane, where, BOB.user_name, privilege)
    assert level(plane, FRAUD) == expected
    assert level(plane, FRAUD, ROBOT) is None
    assert level(plane, "prod.mlops.other") == (expected if where.startswith("catalog") else None)
    # Not in that schema or catalog, or in none.
    assert {level(plane, name) for name in ("prod.ml", "prod", "product.ml.x", "prod.ml.a.b")} == {None}
    revoke(plane, where, BOB.user_name, privilege)
    assert level(plane, FRAUD) is None


def test_privileges_without_an_effect_on_models_are_kept_and_shown(plane: ControlPlane) -> None:
    grant(plane, "catalog/prod", BOB.user_name, "BROWSE", "CREATE_MODEL", "USE_CATALOG", "USE_SCHEMA")
    assert sorted(shown(plane, "catalog/prod")[BOB.user_name]) == [
        "BROWSE", "CREATE_MODEL", "USE_CATALOG", "USE_SCHEMA",
    ]  # fmt: skip
    assert level(plane, FRAUD) is None


def test_the_highest_right_counts_whatever_it_comes_from(plane: ControlPlane) -> None:
    with plane.sessions.begin() as session:
        permissions.grant(session, ObjectType.REGISTERED_MODEL, FRAUD, BOB.id, "CAN_EDIT")
    grant(plane, "schema/prod.ml", BOB.user_name, "EXECUTE")
    assert level(plane, FRAUD) == "CAN_EDIT"
    grant(plane, "catalog/prod", "science", "MANAGE")
    assert level(plane, FRAUD) == "CAN_EDIT"
    assert level(plane, FRAUD, MEMBER) == "CAN_MANAGE"
    grant(plane, "schema/prod.ml", BOB.user_name, "MANAGE")
    assert level(plane, FRAUD) == "CAN_MANAGE"
    revoke(plane, "schema/prod.ml", BOB.user_name, "MANAGE", "EXECUTE")
    assert level(plane, FRAUD) == "CAN_EDIT"


def test_a_model_without_an_owner_stays_everybodys_to_read(plane: ControlPlane) -> None:
    grant(plane, "function/ads1", BOB.user_name, "CREATE_MODEL_VERSION")
    assert level(plane, "ads1") == "CAN_EDIT"
    assert level(plane, "ads1", ROBOT) == "CAN_READ"


def test_direct_and_effective_privileges(plane: ControlPlane) -> None:
    grant(plane, "catalog/prod", "science", "USE_CATALOG", "EXECUTE")
    grant(plane, "schema/prod.ml", ROBOT.user_name, "EXECUTE")
    grant(plane, "Function/prod.ml.fraud", "science", "APPLY_TAG", "EXECUTE")
    assert shown(plane, "catalog/prod") == {"science": ["EXECUTE", "USE_CATALOG"]}
    assert shown(plane, "SCHEMA/prod.ml") == {ROBOT.user_name: ["EXECUTE"]}
    for kind in ("FUNCTION", "model", "Registered_Model"):
        assert shown(plane, f"{kind}/prod.ml.fraud") == {"science": ["EXECUTE", "APPLY_TAG"]}
    assert effective(plane, "schema/prod.ml") == {
        ROBOT.user_name: [("EXECUTE", None, None)],
        "science": [("EXECUTE", "CATALOG", "prod"), ("USE_CATALOG", "CATALOG", "prod")],
    }
    everything = effective(plane, "function/prod.ml.fraud")
    assert everything == {
        ROBOT.user_name: [("EXECUTE", "SCHEMA", "prod.ml")],
        "science": [
            ("EXECUTE", None, None), ("APPLY_TAG", None, None),
            ("EXECUTE", "CATALOG", "prod"), ("USE_CATALOG", "CATALOG", "prod"),
        ],
    }  # fmt: skip
    assert effective(plane, "function/prod.ml.fraud", principal="Science") == {"science": everything["science"]}
    assert shown(plane, "function/prod.ml.fraud", principal=BOB.user_name) == {}


def test_a_catalog_and_a_model_of_the_same_name_are_two(plane: ControlPlane) -> None:
    grant(plane, "catalog/ads1", BOB.user_name, "MANAGE")
    assert shown(plane, "function/ads1") == {}
    assert level(plane, "ads1") == "CAN_READ"
    plane.registry.add("prod", "1")
    with plane.sessions.begin() as session:
        registered_models.record_owner(session, "prod", BOB.id)
    grant(plane, "function/prod", BOB.user_name, "MANAGE", caller=BOB)
    assert shown(plane, "catalog/prod") == {}
    assert change(plane, "catalog/prod", caller=BOB).status_code == 403
    assert change(plane, "schema/prod.ml", caller=BOB).status_code == 403


def test_everybody_may_be_named_as_unity_catalog_does(plane: ControlPlane) -> None:
    grant(plane, "schema/prod.ml", "account users", "EXECUTE")
    assert shown(plane, "schema/prod.ml") == {"users": ["EXECUTE"]}


def test_changes_are_made_one_after_the_other_and_are_answered(plane: ControlPlane) -> None:
    answer = change(
        plane,
        "schema/prod.ml",
        {"principal": BOB.user_name, "add": ["EXECUTE", "EXECUTE", "MANAGE"], "remove": ["BROWSE"]},
        {"principal": BOB.user_name, "add": ["EXECUTE"], "remove": ["MANAGE"]},
        {"principal": "science", "add": None},
    )
    assert answer.json() == {"privilege_assignments": [{"principal": BOB.user_name, "privileges": ["EXECUTE"]}]}
    silent = {"changes": [{"principal": "science", "add": ["BROWSE"]}], "omit_permissions_in_response": True}
    answer = plane.request("PATCH", f"{UC}/permissions/schema/prod.ml", ADMIN, json=silent)
    assert answer.json() == {}
    assert shown(plane, "schema/prod.ml") == {BOB.user_name: ["EXECUTE"], "science": ["BROWSE"]}


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (
            {"principal": BOB.user_name, "add": ["EXECUTE", "SELECT"]},
            (400, "INVALID_PARAMETER_VALUE", "'changes[1].add[1]': on a schema it must be one of CREATE_MODEL, "),
        ),
        ({"principal": BOB.user_name, "remove": ["x"]}, (400, "INVALID_PARAMETER_VALUE", "'changes[1].remove[0]'")),
        ({"principal": BOB.user_name, "add": ["USE_CATALOG"]}, (400, "INVALID_PARAMETER_VALUE", "on a schema")),
        (
            {"principal": BOB.user_name, "add": ["MANAGE"], "remove": ["MANAGE"]},
            (400, "INVALID_PARAMETER_VALUE", "'changes[1]': 'MANAGE'"),
        ),
        ({"add": ["MANAGE"]}, (400, "INVALID_PARAMETER_VALUE", "Missing required field 'changes[1].principal'")),
        ({"principal": "nobody@x", "add": []}, (404, "RESOURCE_DOES_NOT_EXIST", "nobody@x")),
        ({"principal": BOB.user_name, "add": "MANAGE"}, (400, "BAD_REQUEST", "'changes[1].add'")),
    ],
)
def test_all_changes_are_made_or_none(
    plane: ControlPlane, wrong: dict[str, Any], expected: tuple[int, str, str]
) -> None:
    status, code, message = error(
        change(plane, "schema/prod.ml", {"principal": "science", "add": ["EXECUTE"]}, wrong)
    )
    assert (status, code) == expected[:2]
    assert expected[2] in message
    assert rows(plane) == 0


@pytest.mark.parametrize(
    ("where", "status", "message"),
    [
        ("table/prod.ml.t", 400, "'catalog', 'schema', 'function', 'model', 'registered_model'"),
        ("catalog/prod.ml", 400, "a catalog is named CATALOG"),
        ("schema/prod", 400, "a schema is named CATALOG.SCHEMA"),
        ("schema/prod.", 400, "a schema is named CATALOG.SCHEMA"),
        ("schema/prod.ml.fraud", 400, "a schema is named CATALOG.SCHEMA"),
        ("schema/p%00.x", 400, "NUL"),
        (f"catalog/{'x' * 256}", 400, "at most 255 characters"),
        ("function/prod.ml.nosuch", 404, "Registered model 'prod.ml.nosuch' not found."),
    ],
)
def test_what_there_are_no_grants_on(plane: ControlPlane, where: str, status: int, message: str) -> None:
    for kind in ("permissions", "effective-permissions", "privilege-assignments", "effective-privilege-assignments"):
        answer = plane.request("GET", f"{UC}/{kind}/{where}", ADMIN)
        assert answer.status_code == status
        assert message in answer.json()["message"]
    assert change(plane, where).status_code == status


def test_what_applies_to_a_model_is_refused_by_name(plane: ControlPlane) -> None:
    status, _, message = error(
        change(plane, "model/prod.ml.fraud", {"principal": BOB.user_name, "add": ["CREATE_MODEL"]})
    )
    assert status == 400
    assert message.endswith("must be one of EXECUTE, APPLY_TAG, CREATE_MODEL_VERSION, MANAGE, ALL_PRIVILEGES")


def test_every_name_here_is_one_that_the_sdk_knows() -> None:
    known = {one.value for one in catalog.Privilege} | {"CREATE_MODEL_VERSION"}
    assert set(Privilege) <= known
    assert set(SecurableType) <= {one.value for one in catalog.SecurableType}
    assert set(APPLICABLE) == set(SecurableType)


def test_who_may_see_and_change_grants(plane: ControlPlane) -> None:
    where = ["catalog/prod", "schema/prod.ml", "function/prod.ml.fraud", "schema/prod.other"]

    def manages(caller: Principal) -> list[str]:
        found = []
        for one in where:
            answers = {
                plane.request("GET", f"{UC}/permissions/{one}", caller).status_code,
                plane.request("GET", f"{UC}/effective-permissions/{one}", caller).status_code,
                plane.request("GET", f"{UC}/permissions/{one}?principal=science", caller).status_code,
                change(plane, one, caller=caller).status_code,
            }
            assert answers in ({200}, {403})
            found += [one] if answers == {200} else []
        return found

    assert manages(ADMIN) == where
    assert manages(ANN) == [where[2]]
    assert manages(BOB) == []
    grant(plane, where[1], BOB.user_name, "ALL_PRIVILEGES")
    assert manages(BOB) == [where[2]]
    grant(plane, where[1], "science", "MANAGE")
    assert manages(MEMBER) == where[1:3]
    grant(plane, where[1], ROBOT.user_name, "EXECUTE", caller=MEMBER)
    assert shown(plane, where[1], MEMBER)[ROBOT.user_name] == ["EXECUTE"]
    grant(plane, where[0], "science", "MANAGE")
    assert manages(MEMBER) == where
    message = error(change(plane, where[0], caller=ROBOT))
    assert message == (
        403, "PERMISSION_DENIED", f"User '{ROBOT.user_name}' does not have MANAGE on catalog 'prod'."
    )  # fmt: skip


def test_everybody_may_ask_for_themselves(plane: ControlPlane) -> None:
    grant(plane, "catalog/prod", BOB.user_name, "EXECUTE")
    grant(plane, "catalog/prod", "science", "MANAGE")
    name = BOB.user_name.upper()
    assert shown(plane, "catalog/prod", BOB, principal=name) == {BOB.user_name: ["EXECUTE"]}
    assert effective(plane, "function/prod.ml.fraud", BOB, principal=name) == {
        BOB.user_name: [("EXECUTE", "CATALOG", "prod")]
    }
    for other in ("nobody@x", "science", ANN.user_name):
        answer = plane.request("GET", f"{UC}/permissions/catalog/prod", BOB, params={"principal": other})
        assert answer.status_code == 403
    answer = plane.request("GET", f"{UC}/permissions/catalog/prod", ADMIN, params={"principal": "nobody@x"})
    assert error(answer) == (404, "RESOURCE_DOES_NOT_EXIST", "Principal: nobody@x does not exist.")


@pytest.mark.parametrize(
    ("path", "size", "key"),
    [
        ("permissions", "max_results", "privilege_assignments"),
        ("effective-permissions", "max_results", "privilege_assignments"),
        ("privilege-assignments", "page_size", "privilege_assignments"),
        ("effective-privilege-assignments", "page_size", "effective_privilege_assignments"),
    ],
)
def test_pages(plane: ControlPlane, path: str, size: str, key: str) -> None:
    url = f"{UC}/{path}/schema/prod.ml"
    with plane.sessions.begin() as session:
        for number in range(80):
            session.add(User(id=f"3{number:03}", user_name=f"u{number:02}@example.com", created_at=1))
            for privilege in ("EXECUTE", "MANAGE", "BROWSE"):
                session.add(
                    PrivilegeGrant(
                        full_name="prod.ml", securable_type="SCHEMA", principal_id=f"3{number:03}",
                        privilege=privilege,
                    )
                )  # fmt: skip
    token, pages = None, []
    while token is not None or not pages:
        query = {size: 150} | ({"page_token": token} if token else {})
        document = plane.request("GET", url, ADMIN, params=query).json()
        pages.append([one["principal"] for one in document[key]])
        token = document.get("next_page_token")
    assert [len(page) for page in pages] == [50, 30]
    assert [name for page in pages for name in page] == [f"u{number:02}@example.com" for number in range(80)]
    for chosen in (0, None, 10_000):
        document = plane.request("GET", url, ADMIN, params={} if chosen is None else {size: chosen}).json()
        assert len(document[key]) == 80
        assert "next_page_token" not in document
    for wrong in (-1, 1, 149):
        status, _, message = error(plane.request("GET", url, ADMIN, params={size: wrong}))
        assert (status, message) == (400, f"Invalid value for '{size}': must be 0 or at least 150")
    for wrong in ("x", "ü", "WzFd", "e30="):
        status, _, message = error(plane.request("GET", url, ADMIN, params={"page_token": wrong}))
        assert (status, "page_token" in message) == (400, True)


def test_a_thousand_models_are_looked_up_in_a_few_questions(plane: ControlPlane) -> None:
    for where in ("catalog/c1", "schema/c1.s3"):
        grant(plane, where, BOB.user_name, "EXECUTE")
    names = [f"c{number % 3}.s{number % 7}.m{number}" for number in range(1000)]
    with plane.sessions.begin() as session:
        for name in names:
            registered_models.record_owner(session, name, ANN.id)
    asked: list[str] = []
    engine = plane.sessions.kw["bind"]
    event.listen(engine, "before_cursor_execute", lambda *details: asked.append(details[2]))
    with reading(plane.sessions) as session:
        rights = registered_models.all_rights(session, names)
    assert len([one for one in asked if one.startswith("SELECT")]) <= 9
    readable = {name for name, one in rights.items() if model_level(BOB, one) is not None}
    assert readable == {name for name in names if name.startswith("c1.")}


@pytest.mark.parametrize("where", ["schema/main.default", "catalog/main"])
def test_models_are_registered_by_everybody_until_somebody_is_granted_that(
    plane: ControlPlane, access: RegistryAccess, where: str
) -> None:
    def refused(caller: Principal, operation: str, **body: str) -> str:
        asked = RegistryRequest(
            principal=caller, method="POST", operation=operation, query="", body=json.dumps(body).encode()
        )
        try:
            access.decide(asked)
        except PermissionDenied as denied:
            return denied.message
        return ""

    def creates(caller: Principal, name: str = "main.default.m") -> bool:
        """Whether the caller may, which is one for new models and for renamed ones."""
        with plane.sessions.begin() as session:
            registered_models.record_owner(session, "mine", caller.id)
        created = refused(caller, "registered-models/create", name=name)
        assert refused(caller, "registered-models/rename", name="mine", new_name=name) == created
        schema = name.rpartition(".")[0]
        assert created in ("", f"User '{caller.user_name}' does not have CREATE_MODEL on schema '{schema}'.")
        return not created

    grant(plane, where, ANN.user_name, "MANAGE", "USE_SCHEMA")
    assert creates(BOB)
    grant(plane, where, "science", "CREATE_MODEL")
    assert not creates(BOB)
    assert not creates(ROBOT)
    assert creates(MEMBER)
    assert creates(ANN)
    assert creates(ADMIN)
    assert all(creates(BOB, name) for name in ("other.default.m", "m", "main.default", "main.default.a.b", "main..m"))
    assert creates(BOB, "main.other.m") is where.startswith("schema")
    grant(plane, where, ROBOT.user_name, "ALL_PRIVILEGES")
    assert creates(ROBOT)
    revoke(plane, where, "science", "CREATE_MODEL")
    assert creates(BOB)


def test_a_model_that_keeps_its_name_needs_no_right_to_create(plane: ControlPlane, access: RegistryAccess) -> None:
    grant(plane, "schema/prod.ml", "science", "CREATE_MODEL")
    access.decide(
        RegistryRequest(
            principal=ANN, method="POST", operation="registered-models/rename", query="",
            body=b'{"name": "prod.ml.fraud", "new_name": "prod.ml.fraud"}',
        )
    )  # fmt: skip


def test_privileges_go_with_a_renamed_model_and_leave_with_a_deleted_one(
    plane: ControlPlane, access: RegistryAccess
) -> None:
    grant(plane, f"function/{FRAUD}", BOB.user_name, "EXECUTE")
    grant(plane, "schema/prod.ml", "science", "APPLY_TAG")
    grant(plane, "function/ads1", ROBOT.user_name, "MANAGE")
    access.renamed(FRAUD, "ads1", access.owner(FRAUD))
    assert shown(plane, "function/ads1") == {BOB.user_name: ["EXECUTE"]}
    assert shown(plane, f"function/{FRAUD}") == {}
    assert level(plane, "ads1") == "CAN_READ"
    access.renamed("ads1", "prod.ml.back", access.owner("ads1"))
    assert level(plane, "prod.ml.back", MEMBER) == "CAN_EDIT"
    access.deleted("prod.ml.back", access.owner("prod.ml.back"))
    access.created(ANN, "prod.ml.back")
    assert level(plane, "prod.ml.back") is None
    assert level(plane, "prod.ml.back", MEMBER) == "CAN_EDIT"


def test_privileges_leave_with_their_principal(plane: ControlPlane) -> None:
    grant(plane, "schema/prod.ml", BOB.user_name, "EXECUTE")
    grant(plane, "catalog/prod", "science", "EXECUTE")
    with plane.sessions.begin() as session:
        identity.delete_user(session, session.get_one(User, BOB.id))
    assert shown(plane, "schema/prod.ml") == {}
    assert rows(plane) == 1
    with plane.sessions.begin() as session:
        groups.remove(session, session.get_one(Group, SCIENCE))
    assert rows(plane) == 0


def serve_by_stage(plane: ControlPlane, model: str) -> str:
    endpoint_id = str(plane.create(model.replace(".", "-"))["id"])
    with plane.sessions.begin() as session:
        session.add(LegacyEndpoint(endpoint_id=endpoint_id, registered_model_name=model, compute={}))
    return endpoint_id


def test_endpoints_that_go_by_a_models_rights_are_told(plane: ControlPlane) -> None:
    inside, sibling, outside = (serve_by_stage(plane, name) for name in (FRAUD, "prod.ml.x", "other.ml.fraud"))

    def told(where: str, *privileges: str) -> set[str]:
        before = len(plane.notifier.endpoints)
        waited = len(plane.notifier.routed)
        grant(plane, where, BOB.user_name, *privileges)
        found = plane.notifier.endpoints[before:]
        assert len(plane.notifier.routed) - waited == min(1, len(found))
        assert len(found) == len(set(found))
        return set(found)

    def levels(endpoint_id: str) -> Any:
        with reading(plane.sessions) as session:
            return endpoint_grants.grants(session, session.get_one(Endpoint, endpoint_id)).get(BOB.id)

    assert told(f"function/{FRAUD}", "EXECUTE") == {inside}
    assert (levels(inside), levels(sibling)) == ("CAN_QUERY", None)
    assert told("schema/prod.ml", "EXECUTE") == {inside, sibling}
    assert told("schema/prod.ml", "EXECUTE", "CREATE_MODEL") == set()
    assert told("catalog/prod", "MANAGE") == {inside, sibling}
    assert (levels(inside), levels(sibling)) == ("CAN_MANAGE", "CAN_MANAGE")
    assert levels(outside) != "CAN_MANAGE"
    before = len(plane.notifier.endpoints)
    revoke(plane, "catalog/prod", BOB.user_name, "MANAGE")
    assert set(plane.notifier.endpoints[before:]) == {inside, sibling}
    assert levels(inside) == "CAN_QUERY"


def test_the_levels_of_a_model_show_where_they_come_from(plane: ControlPlane) -> None:
    path = f"/api/2.0/permissions/registered-models/{FRAUD}"
    grant(plane, "schema/prod.ml", "science", "EXECUTE", "APPLY_TAG")
    grant(plane, "catalog/prod", "science", "EXECUTE", "USE_CATALOG")
    grant(plane, f"function/{FRAUD}", ROBOT.user_name, "EXECUTE")
    direct = {"access_control_list": [{"group_name": "science", "permission_level": "CAN_READ"}]}
    assert plane.request("PUT", path, ANN, json=direct).status_code == 200
    held = {
        entry.get("group_name") or entry.get("service_principal_name"): [
            (one["permission_level"], one["inherited"], one.get("inherited_from_object"))
            for one in entry["all_permissions"]
        ]
        for entry in plane.request("GET", path, ANN).json()["access_control_list"]
    }
    assert held["science"] == [
        ("CAN_READ", False, None),
        ("CAN_EDIT", True, ["/schemas/prod.ml"]),
        ("CAN_READ", True, ["/catalogs/prod"]),
    ]
    assert held[ROBOT.user_name] == [("CAN_READ", True, [f"/functions/{FRAUD}"])]
    assert plane.request("GET", path, MEMBER).status_code == 403
    grant(plane, "catalog/prod", "science", "MANAGE")
    assert plane.request("GET", path, MEMBER).status_code == 200
