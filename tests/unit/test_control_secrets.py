"""Secrets through the API: scopes, values, ACLs, and endpoints that refer to them."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from control_harness import ADMIN, ANN, BOB, ENCRYPTION_KEY, ENDPOINTS, ControlPlane, control_plane, entity
from sqlalchemy import insert

from moorage.api.routing import Principal, PrincipalKind
from moorage.control.secret_references import SecretReader, SecretUnreadable
from moorage.control.store import groups, permissions
from moorage.control.store.engine import reading
from moorage.control.store.models import Group, Secret, SecretScope, User
from moorage.control.store.permissions import ObjectType
from moorage.encryption import Encryption

SECRETS = "/api/2.0/secrets"
CHECKS = "/api/2.0/model-checks"
VALUE = "hunter2-Ünï"
TOO_LONG = 128 * 1024 + 1
ROBOT = Principal(id="1003", user_name="7d0a6f4e-0000-4000-8000-000000000001", kind=PrincipalKind.SERVICE_PRINCIPAL)
ROUTES_OF_A_SCOPE = [  # in an order in which each finds what it needs
    ("GET", "list", {}, "READ"),
    ("GET", "get", {"key": "token"}, "READ"),
    ("POST", "put", {"key": "k", "string_value": "x"}, "WRITE"),
    ("POST", "acls/put", {"principal": ADMIN.user_name, "permission": "READ"}, "MANAGE"),
    ("GET", "acls/get", {"principal": ANN.user_name}, "MANAGE"),
    ("GET", "acls/list", {}, "MANAGE"),
    ("POST", "acls/delete", {"principal": ANN.user_name}, "MANAGE"),
    ("POST", "delete", {"key": "token"}, "WRITE"),
    ("POST", "scopes/delete", {}, "MANAGE"),
]
LEVELS = ["READ", "WRITE", "MANAGE"]


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    """Ann has the scope `team` with the secret `token`."""
    with control_plane(tmp_path) as one:
        with one.sessions.begin() as session:
            session.add(User(id=ROBOT.id, user_name=ROBOT.user_name, kind=ROBOT.kind, created_at=1))
            session.add(Group(id="2001", display_name="Data Scientists", created_at=1))
        ok(one, "POST", "scopes/create", scope="team")
        ok(one, "POST", "put", scope="team", key="token", string_value=VALUE)
        yield one


def ask(plane: ControlPlane, method: str, path: str, caller: Principal = ANN, **fields: Any) -> Any:
    given = {"params": fields} if method == "GET" else {"json": fields}
    return plane.request(method, f"{SECRETS}/{path}", caller, **given)


def ok(plane: ControlPlane, method: str, path: str, caller: Principal = ANN, **fields: Any) -> dict[str, Any]:
    answer = ask(plane, method, path, caller, **fields)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def refused(
    plane: ControlPlane, method: str, path: str, caller: Principal = ANN, **fields: Any
) -> tuple[int, str, str]:
    answer = ask(plane, method, path, caller, **fields)
    document = answer.json()
    assert VALUE not in answer.text
    return answer.status_code, document["error_code"], document["message"]


def value(plane: ControlPlane, key: str = "token", caller: Principal = ANN) -> bytes:
    answer = ok(plane, "GET", "get", caller, scope="team", key=key)
    assert set(answer) == {"key", "value"}
    assert answer["key"] == key
    return base64.b64decode(answer["value"], validate=True)


def grant(plane: ControlPlane, principal: str, permission: str) -> None:
    assert ok(plane, "POST", "acls/put", scope="team", principal=principal, permission=permission) == {}


def acls(plane: ControlPlane, scope: str = "team", caller: Principal = ANN) -> dict[str, str]:
    items = ok(plane, "GET", "acls/list", caller, scope=scope)["items"]
    return {item["principal"]: item["permission"] for item in items}


def scope_names(plane: ControlPlane, caller: Principal) -> list[str]:
    return [scope["name"] for scope in ok(plane, "GET", "scopes/list", caller)["scopes"]]


def test_a_scope_is_its_creators_and_the_administrators(plane: ControlPlane) -> None:
    assert ok(plane, "GET", "scopes/list") == {"scopes": [{"name": "team", "backend_type": "DATABRICKS"}]}
    assert scope_names(plane, ADMIN) == ["team"]
    assert scope_names(plane, BOB) == []
    assert acls(plane) == {ANN.user_name: "MANAGE"}
    assert value(plane, caller=ADMIN) == VALUE.encode()


def test_a_scope_may_be_everybodys(plane: ControlPlane) -> None:
    ok(plane, "POST", "scopes/create", scope="all", initial_manage_principal="users", scope_backend_type="databricks")
    assert acls(plane, "all", ADMIN) == {"users": "MANAGE"}
    with reading(plane.sessions) as session:
        everybody = groups.memberships(session).groups_of(BOB.id)
    bob = BOB.model_copy(update={"groups": everybody})
    assert scope_names(plane, bob) == ["all"]
    ok(plane, "POST", "scopes/delete", bob, scope="all")
    assert scope_names(plane, ADMIN) == ["team"]


@pytest.mark.parametrize(
    ("fields", "status", "code", "words"),
    [
        ({"scope": "team"}, 409, "RESOURCE_ALREADY_EXISTS", "'team' already exists"),
        ({"scope": "a b"}, 400, "INVALID_PARAMETER_VALUE", "'scope': must be 1 to 128 characters"),
        ({"scope": ""}, 400, "INVALID_PARAMETER_VALUE", "'scope'"),
        ({"scope": "é"}, 400, "INVALID_PARAMETER_VALUE", "'scope'"),
        ({"scope": "x" * 129}, 400, "INVALID_PARAMETER_VALUE", "'scope'"),
        ({"scope": "x\n"}, 400, "INVALID_PARAMETER_VALUE", "'scope'"),
        ({}, 400, "INVALID_PARAMETER_VALUE", "Missing required field 'scope'"),
        ({"scope": "new", "initial_manage_principal": "admins"}, 400, "INVALID_PARAMETER_VALUE", "must be 'users'"),
        ({"scope": "new", "scope_backend_type": "VAULT"}, 400, "INVALID_PARAMETER_VALUE", "'scope_backend_type'"),
        ({"scope": "new", "scope_backend_type": "AZURE_KEYVAULT"}, 501, "NOT_IMPLEMENTED", "Azure Key Vault"),
    ],
)
def test_a_scope_that_cannot_be_is_refused(
    plane: ControlPlane, fields: dict[str, Any], status: int, code: str, words: str
) -> None:
    given = refused(plane, "POST", "scopes/create", **fields)
    assert given[:2] == (status, code)
    assert words in given[2]
    assert scope_names(plane, ADMIN) == ["team"]


@pytest.mark.parametrize("name", ["x" * 128, "A-z_0.9", ".", "-"])
def test_names_may_be_of_any_legal_kind(plane: ControlPlane, name: str) -> None:
    ok(plane, "POST", "scopes/create", scope=name)
    ok(plane, "POST", "put", scope=name, key=name, string_value=name)
    assert ok(plane, "GET", "list", scope=name)["secrets"][0]["key"] == name
    answer = ok(plane, "GET", "get", scope=name, key=name)
    assert base64.b64decode(answer["value"]) == name.encode()


def test_a_workspace_has_room_for_a_thousand_scopes(plane: ControlPlane) -> None:
    with plane.sessions.begin() as session:
        row = {"backend_type": "DATABRICKS", "created_by": "1", "created_at": 1}
        session.execute(insert(SecretScope), [{**row, "name": f"s{i}"} for i in range(998)])
    ok(plane, "POST", "scopes/create", scope="last")
    status, code, _ = refused(plane, "POST", "scopes/create", scope="more")
    assert (status, code) == (400, "RESOURCE_LIMIT_EXCEEDED")
    ok(plane, "POST", "scopes/delete", scope="last")
    ok(plane, "POST", "scopes/create", scope="more")


def test_a_deleted_scope_takes_its_secrets_and_grants_along(plane: ControlPlane) -> None:
    grant(plane, BOB.user_name, "READ")
    assert ok(plane, "POST", "scopes/delete", scope="team") == {}
    assert refused(plane, "GET", "list", scope="team")[:2] == (404, "RESOURCE_DOES_NOT_EXIST")
    with reading(plane.sessions) as session:
        assert session.query(Secret).count() == 0
        assert permissions.all_grants(session, ObjectType.SECRET_SCOPE) == {}
    ok(plane, "POST", "scopes/create", ADMIN, scope="team")
    assert scope_names(plane, ANN) == scope_names(plane, BOB) == []
    assert ok(plane, "GET", "list", ADMIN, scope="team") == {"secrets": []}


def test_a_secret_is_listed_without_its_value_and_replaced_in_place(plane: ControlPlane) -> None:
    first = plane.clock.now
    plane.clock.now += 5
    ok(plane, "POST", "put", scope="team", key="a", bytes_value=base64.b64encode(b"\x00\xff").decode())
    listed = [{"key": "a", "last_updated_timestamp": first + 5}, {"key": "token", "last_updated_timestamp": first}]
    assert ok(plane, "GET", "list", scope="team") == {"secrets": listed}
    assert value(plane, "a") == b"\x00\xff"
    assert ok(plane, "POST", "put", scope="team", key="token", string_value="") == {}
    assert value(plane) == b""
    assert ok(plane, "POST", "delete", scope="team", key="token") == {}
    assert refused(plane, "GET", "get", scope="team", key="token")[:2] == (404, "RESOURCE_DOES_NOT_EXIST")
    assert [one["key"] for one in ok(plane, "GET", "list", scope="team")["secrets"]] == ["a"]


def test_a_value_is_nowhere_in_the_database(plane: ControlPlane) -> None:
    kept = b"".join(path.read_bytes() for path in plane.data.root.glob("moorage.db*"))
    assert b"token" in kept
    assert VALUE.encode() not in kept
    assert base64.b64encode(VALUE.encode()) not in kept


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"key": "k"}, "MALFORMED_REQUEST", "Exactly one of 'string_value' and 'bytes_value'"),
        ({"key": "k", "string_value": VALUE, "bytes_value": "eA=="}, "MALFORMED_REQUEST", "Exactly one"),
        ({"key": "k", "string_value": "", "bytes_value": ""}, "MALFORMED_REQUEST", "Exactly one"),
        ({"key": "k", "bytes_value": "no base64"}, "INVALID_PARAMETER_VALUE", "'bytes_value': must be base64"),
        ({"key": "k", "bytes_value": "é"}, "INVALID_PARAMETER_VALUE", "'bytes_value': must be base64"),
        ({"key": "k", "string_value": "x" * TOO_LONG}, "INVALID_PARAMETER_VALUE", "must have at most 131072 bytes"),
        ({"key": "k", "string_value": "é" * 65537}, "INVALID_PARAMETER_VALUE", "'string_value'"),
        (
            {"key": "k", "bytes_value": base64.b64encode(bytes(TOO_LONG)).decode()},
            "INVALID_PARAMETER_VALUE",
            "'bytes_value': must have at most 131072 bytes",
        ),
        ({"key": "k", "string_value": ["x"]}, "BAD_REQUEST", "'string_value'"),
        ({"key": "a/b", "string_value": "x"}, "INVALID_PARAMETER_VALUE", "'key': must be 1 to 128 characters"),
        ({"key": "k" * 129, "string_value": "x"}, "INVALID_PARAMETER_VALUE", "'key'"),
        ({"string_value": VALUE}, "INVALID_PARAMETER_VALUE", "Missing required field 'key'"),
    ],
)
def test_a_secret_that_cannot_be_is_refused_without_repeating_it(
    plane: ControlPlane, fields: dict[str, Any], code: str, words: str
) -> None:
    given = refused(plane, "POST", "put", scope="team", **fields)
    assert given[:2] == (400, code)
    assert words in given[2]
    assert [one["key"] for one in ok(plane, "GET", "list", scope="team")["secrets"]] == ["token"]


def test_half_a_surrogate_is_no_value(plane: ControlPlane) -> None:
    body = b'{"scope": "team", "key": "k", "string_value": "\\ud800"}'
    answer = plane.request("POST", f"{SECRETS}/put", content=body)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "BAD_REQUEST")


@pytest.mark.parametrize("text", ["x" * 131072, "é" * 65536, "\x00", "a\nb"])
def test_a_value_may_be_of_any_kind_up_to_128_kib(plane: ControlPlane, text: str) -> None:
    ok(plane, "POST", "put", scope="team", key="k", string_value=text)
    assert value(plane, "k") == text.encode()


def test_a_scope_has_room_for_a_thousand_secrets(plane: ControlPlane) -> None:
    with plane.sessions.begin() as session:
        rows = [{"scope": "team", "key": f"k{i}", "ciphertext": b"", "last_updated_timestamp": 1} for i in range(998)]
        session.execute(insert(Secret), rows)
    ok(plane, "POST", "put", scope="team", key="last", string_value="x")
    status, code, message = refused(plane, "POST", "put", scope="team", key="more", string_value=VALUE)
    assert (status, code) == (400, "RESOURCE_LIMIT_EXCEEDED")
    assert "1000" in message
    ok(plane, "POST", "put", scope="team", key="last", string_value="y")
    assert value(plane, "last") == b"y"


def test_a_damaged_secret_is_an_internal_error_that_names_it(plane: ControlPlane) -> None:
    with plane.sessions.begin() as session:
        row = session.get_one(Secret, ("team", "token"))
        session.add(Secret(scope="team", key="copy", ciphertext=row.ciphertext, last_updated_timestamp=1))
    status, code, message = refused(plane, "GET", "get", scope="team", key="copy")
    assert (status, code) == (500, "INTERNAL_ERROR")
    assert "'copy' of secret scope 'team' cannot be decrypted" in message


@pytest.mark.parametrize("principal", [BOB.user_name, "Data Scientists", ROBOT.user_name])
@pytest.mark.parametrize("held", [None, *LEVELS])
def test_each_route_needs_its_permission(plane: ControlPlane, held: str | None, principal: str) -> None:
    callers = {
        BOB.user_name: BOB,
        "Data Scientists": BOB.model_copy(update={"groups": frozenset({"2001"})}),
        ROBOT.user_name: ROBOT,
    }
    caller = callers[principal]
    if held is not None:
        grant(plane, principal, held)
    for method, path, fields, needed in ROUTES_OF_A_SCOPE:
        if held is not None and LEVELS.index(held) >= LEVELS.index(needed):
            ok(plane, method, path, caller, scope="team", **fields)
            continue
        words = f"User '{caller.user_name}' does not have {needed} permission on secret scope 'team'."
        given = refused(plane, method, path, caller, scope="team", **fields)
        assert given == (403, "PERMISSION_DENIED", words)
    keys = {None: ["token"], "READ": ["token"], "WRITE": ["k"]}
    if held != "MANAGE":
        assert [one["key"] for one in ok(plane, "GET", "list", scope="team")["secrets"]] == keys[held]
    assert scope_names(plane, ADMIN) == ([] if held == "MANAGE" else ["team"])


@pytest.mark.parametrize("permission", LEVELS)
def test_any_permission_lets_one_see_the_scope(plane: ControlPlane, permission: str) -> None:
    grant(plane, BOB.user_name, permission)
    assert scope_names(plane, BOB) == ["team"]


def test_the_highest_of_own_and_group_permissions_counts(plane: ControlPlane) -> None:
    bob = BOB.model_copy(update={"groups": frozenset({"2001"})})
    grant(plane, "Data Scientists", "WRITE")
    grant(plane, BOB.user_name, "READ")
    ok(plane, "POST", "put", bob, scope="team", key="b", string_value="x")
    assert refused(plane, "POST", "put", BOB, scope="team", key="b", string_value="x")[0] == 403


@pytest.mark.parametrize("caller", [ANN, ADMIN])
def test_every_route_of_an_unknown_scope_says_so(plane: ControlPlane, caller: Principal) -> None:
    for method, path, fields, _ in ROUTES_OF_A_SCOPE:
        given = refused(plane, method, path, caller, scope="nosuch", **fields)
        assert given == (404, "RESOURCE_DOES_NOT_EXIST", "Secret scope 'nosuch' does not exist.")


def test_acls_are_put_replaced_read_and_deleted(plane: ControlPlane) -> None:
    grant(plane, BOB.user_name, "READ")
    grant(plane, "data scientists", "WRITE")
    grant(plane, ROBOT.user_name, "MANAGE")
    assert acls(plane) == {
        ANN.user_name: "MANAGE",
        BOB.user_name: "READ",
        "Data Scientists": "WRITE",
        ROBOT.user_name: "MANAGE",
    }
    grant(plane, BOB.user_name, "WRITE")
    got = ok(plane, "GET", "acls/get", scope="team", principal=BOB.user_name)
    assert got == {"principal": BOB.user_name, "permission": "WRITE"}
    assert ok(plane, "POST", "acls/delete", scope="team", principal=BOB.user_name) == {}
    assert BOB.user_name not in acls(plane)
    assert scope_names(plane, BOB) == []


@pytest.mark.parametrize(
    ("method", "path", "fields", "status", "code"),
    [
        ("POST", "acls/put", {"principal": "nobody", "permission": "READ"}, 400, "INVALID_PARAMETER_VALUE"),
        ("POST", "acls/put", {"principal": "", "permission": "READ"}, 400, "INVALID_PARAMETER_VALUE"),
        ("POST", "acls/put", {"principal": BOB.user_name, "permission": "OWN"}, 400, "INVALID_PARAMETER_VALUE"),
        ("POST", "acls/put", {"principal": BOB.user_name}, 400, "INVALID_PARAMETER_VALUE"),
        ("GET", "acls/get", {"principal": "nobody"}, 400, "INVALID_PARAMETER_VALUE"),
        ("GET", "acls/get", {"principal": BOB.user_name}, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("GET", "acls/get", {}, 400, "INVALID_PARAMETER_VALUE"),
        ("POST", "acls/delete", {"principal": "nobody"}, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("POST", "acls/delete", {"principal": BOB.user_name}, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("GET", "get", {"key": "nosuch"}, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("POST", "delete", {"key": "nosuch"}, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("GET", "get", {}, 400, "INVALID_PARAMETER_VALUE"),
    ],
)
def test_what_is_not_there_is_said(
    plane: ControlPlane, method: str, path: str, fields: dict[str, Any], status: int, code: str
) -> None:
    assert refused(plane, method, path, scope="team", **fields)[:2] == (status, code)
    assert acls(plane) == {ANN.user_name: "MANAGE"}


def uses(*references: str) -> dict[str, Any]:
    return entity(environment_vars={f"V{i}": reference for i, reference in enumerate(references)})


def body(*references: str) -> dict[str, Any]:
    return {"name": "ads", "config": {"served_entities": [uses(*references)]}}


@pytest.fixture
def reader(plane: ControlPlane) -> SecretReader:
    return SecretReader(plane.sessions, Encryption(ENCRYPTION_KEY))


def test_an_endpoint_keeps_the_reference_and_shows_it(plane: ControlPlane) -> None:
    reference = "{{secrets/team/token}}"
    answer = plane.request("POST", ENDPOINTS, json=body(reference, "plain", f"x{reference}"))
    assert answer.status_code == 200, answer.text
    for document in (answer, plane.request("GET", f"{ENDPOINTS}/ads")):
        [served] = document.json()["pending_config"]["served_entities"]
        assert served["environment_vars"] == {"V0": reference, "V1": "plain", "V2": f"x{reference}"}
        assert VALUE not in document.text


@pytest.mark.parametrize("route", ["create", "check"])
@pytest.mark.parametrize(
    ("reference", "caller", "status", "code", "words"),
    [
        ("{{secrets/team/nosuch}}", ANN, 400, "INVALID_PARAMETER_VALUE", "key 'nosuch' of secret scope 'team'"),
        ("{{secrets/nosuch/token}}", ANN, 400, "INVALID_PARAMETER_VALUE", "key 'token' of secret scope 'nosuch'"),
        ("{{secrets/team/token}}", BOB, 403, "PERMISSION_DENIED", "READ permission on secret scope 'team'"),
        ("{{secrets/team/token}}", BOB, 403, "PERMISSION_DENIED", "'token'"),
        # Who may not read a scope does not learn what is in it.
        ("{{secrets/team/nosuch}}", BOB, 403, "PERMISSION_DENIED", "READ permission on secret scope 'team'"),
    ],
)
def test_a_reference_that_the_caller_cannot_read_is_refused(
    plane: ControlPlane, route: str, reference: str, caller: Principal, status: int, code: str, words: str
) -> None:
    if route == "create":
        answer = plane.request("POST", ENDPOINTS, caller, json=body("{{secrets/not a reference}}", reference))
    else:
        answer = plane.request("POST", CHECKS, caller, json=uses("{{secrets/not a reference}}", reference))
    document = answer.json()
    assert (answer.status_code, document["error_code"]) == (status, code)
    assert words in document["message"]
    assert "'V1' of 'ads1-1'" in document["message"]
    assert plane.request("GET", ENDPOINTS, ADMIN).json() == {"endpoints": []}


def test_an_update_needs_a_reader_as_caller_and_as_creator(plane: ControlPlane) -> None:
    endpoint = plane.create(caller=BOB)
    with plane.sessions.begin() as session:
        permissions.grant(session, ObjectType.SERVING_ENDPOINT, endpoint["id"], ANN.id, "CAN_MANAGE")
    plane.activate(endpoint["id"])
    change = {"served_entities": [uses("{{secrets/team/token}}")]}

    def update(caller: Principal) -> tuple[int, str]:
        answer = plane.request("PUT", f"{ENDPOINTS}/ads/config", caller, json=change)
        return answer.status_code, answer.json().get("message", "")

    who = "READ permission on secret scope 'team'"
    assert update(ANN) == (403, update(ANN)[1])
    assert f"User '{BOB.user_name}' does not have {who}" in update(ANN)[1]  # the creator
    grant(plane, BOB.user_name, "READ")
    ok(plane, "POST", "acls/delete", ADMIN, scope="team", principal=ANN.user_name)
    assert update(ANN)[0] == 403
    assert f"User '{ANN.user_name}' does not have {who}" in update(ANN)[1]  # the caller, by the creator's right
    assert update(BOB)[0] == 200


def test_what_goes_on_as_it_is_needs_no_right_of_the_caller(plane: ControlPlane) -> None:
    config = {"served_entities": [{**uses("{{secrets/team/token}}"), "name": "kept"}]}
    endpoint = plane.create(config=config)
    with plane.sessions.begin() as session:
        permissions.grant(session, ObjectType.SERVING_ENDPOINT, endpoint["id"], BOB.id, "CAN_MANAGE")
    plane.activate(endpoint["id"])
    shares = [("kept", 50), ("new", 50)]
    routes = [{"served_model_name": name, "traffic_percentage": share} for name, share in shares]
    config["served_entities"].append(entity(name="new"))
    change = {**config, "traffic_config": {"routes": routes}}
    answer = plane.request("PUT", f"{ENDPOINTS}/ads/config", BOB, json=change)
    assert answer.status_code == 200, answer.text


def test_a_start_reads_the_values_of_the_moment(plane: ControlPlane, reader: SecretReader) -> None:
    variables = {"A": "{{secrets/team/token}}", "B": "plain", "C": "{{secrets/team/token}} "}
    assert reader.variables(variables, ANN.id) == {**variables, "A": VALUE}
    ok(plane, "POST", "put", scope="team", key="token", string_value="newer")
    assert reader.variables(variables, ANN.id)["A"] == "newer"
    assert variables["A"] == "{{secrets/team/token}}"
    assert reader.variables({"B": "plain"}, "nobody") == {"B": "plain"}


def test_a_start_reads_by_the_rights_of_the_moment(plane: ControlPlane, reader: SecretReader) -> None:
    variables = {"A": "{{secrets/team/token}}"}
    with pytest.raises(SecretUnreadable, match=r"'bob@example\.com', by whose right it is read, does not have READ"):
        reader.variables(variables, BOB.id)
    with plane.sessions.begin() as session:
        groups.add_members(session, "2001", [BOB.id])
    grant(plane, "Data Scientists", "READ")
    assert reader.variables(variables, BOB.id) == {"A": VALUE}
    with plane.sessions.begin() as session:
        groups.remove_members(session, "2001", [BOB.id])
    with pytest.raises(SecretUnreadable):
        reader.variables(variables, BOB.id)
    ok(plane, "POST", "acls/delete", scope="team", principal="Data Scientists")
    grant(plane, "users", "READ")
    assert reader.variables(variables, BOB.id) == {"A": VALUE}
    assert reader.variables(variables, ADMIN.id) == {"A": VALUE}
    with plane.sessions.begin() as session:
        session.get_one(User, BOB.id).active = False
    for gone in (BOB.id, "9999"):
        with pytest.raises(SecretUnreadable, match="is not active any more"):
            reader.variables(variables, gone)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (None, "it does not exist"),
        (b"\xff" + VALUE.encode(), "it is not text in UTF-8"),
        (b"\x00" + VALUE.encode(), "it holds a NUL character"),
        (b"x" * (131072 - len("KEY=")), "more than the 131072 bytes"),
    ],
)
def test_what_no_variable_can_hold_is_said_without_repeating_it(
    plane: ControlPlane, reader: SecretReader, given: bytes | None, why: str
) -> None:
    if given is not None:
        ok(plane, "POST", "put", scope="team", key="odd", bytes_value=base64.b64encode(given).decode())
    with pytest.raises(SecretUnreadable) as failure:
        reader.variables({"KEY": "{{secrets/team/odd}}"}, ANN.id)
    message = str(failure.value)
    assert message.startswith("The secret {{secrets/team/odd}} of environment variable KEY cannot be read: ")
    assert why in message
    assert VALUE not in message


def test_the_longest_variable_is_one(plane: ControlPlane, reader: SecretReader) -> None:
    text = "x" * (131072 - len("KEY=") - 1)
    ok(plane, "POST", "put", scope="team", key="long", string_value=text)
    assert reader.variables({"KEY": "{{secrets/team/long}}"}, ANN.id) == {"KEY": text}
