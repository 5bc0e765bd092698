"""What passes to MLflow's model registry for whom, what is noted of it, and what of an answer is shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from control_harness import ADMIN, ANN, BOB, ControlPlane, control_plane
from mlflow.server import app as mlflow_app
from mlflow.server.graphql.graphql_schema_extensions import schema

from moorage.api.errors import (
    ApiError,
    BadRequest,
    EndpointNotFound,
    InternalError,
    InvalidParameterValue,
    PermissionDenied,
    ResourceDoesNotExist,
)
from moorage.api.registry_access import TICKET_HEADER, RegistryDecision, RegistryRequest, registry_operation
from moorage.api.routing import INTERNAL_HEADER, Principal
from moorage.control import registry_graphql
from moorage.control.app import add_routes
from moorage.control.registry_access import _LISTS, _NEEDED, RegistryAccess
from moorage.control.routers import internal
from moorage.control.store import permissions, registered_models
from moorage.control.store.engine import reading
from moorage.control.store.permissions import ObjectType
from moorage.gateway.registry_access import gated_operation
from moorage.identity.model_access import ModelRights

SERVICE = Principal(id="service", user_name="moorage-control-plane", reads_every_model=True)
LEVELS = [
    "CAN_READ", "CAN_EDIT", "CAN_MANAGE_STAGING_VERSIONS", "CAN_MANAGE_PRODUCTION_VERSIONS", "CAN_MANAGE",
]  # fmt: skip


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    with control_plane(tmp_path) as plane:
        with plane.sessions.begin() as session:
            registered_models.record_owner(session, "anns", ANN.id)
            registered_models.record_owner(session, "bobs", BOB.id)
        plane.registry.add("anns", "1", stage="None")
        plane.registry.add("anns", "2", stage="Production")
        yield plane


@pytest.fixture
def access(plane: ControlPlane) -> RegistryAccess:
    found: RegistryAccess = plane.client.app.state.registry_access  # type: ignore[attr-defined]
    return found


def request(
    method: str, operation: str, caller: Principal = BOB, /, *, query: str = "", **body: Any
) -> RegistryRequest:
    content = json.dumps(body).encode() if body else b""
    return RegistryRequest(principal=caller, method=method, operation=operation, query=query, body=content)


def grant(plane: ControlPlane, name: str, level: str, who: Principal = BOB) -> None:
    with plane.sessions.begin() as session:
        permissions.grant(session, ObjectType.REGISTERED_MODEL, name, who.id, level)


def rights(plane: ControlPlane, name: str) -> ModelRights:
    with reading(plane.sessions) as session:
        return registered_models.rights(session, name)


def passes(access: RegistryAccess, asked: RegistryRequest) -> bool:
    try:
        access.decide(asked)
    except PermissionDenied:
        return False
    return True


@pytest.mark.parametrize(
    ("path", "operation"),
    [
        ("/api/2.0/mlflow/registered-models/create", "registered-models/create"),
        ("/api/2.0/mlflow/registered-models/create/", "registered-models/create"),
        ("/mlflow/ajax-api/2.0/mlflow/model-versions/search", "model-versions/search"),
        ("/ajax-api/3.0/mlflow/registered-models/alias", "registered-models/alias"),
        ("/api/2.0/preview/mlflow/model-versions/get", "model-versions/get"),
        ("/mlflow/model-versions/get-artifact", "model-versions/get-artifact"),
        ("/mlflow/graphql", "graphql"),
        ("/api/2.0/mlflow/webhooks", "webhooks"),
        ("/api/2.0/mlflow/webhooks/w-1/test", "webhooks/w-1/test"),
        # As a server that is less strict than MLflow's own may read them.
        ("//api/2.0//mlflow///registered-models//get", "registered-models/get"),
        ("/mlflow/x/../api/2.0/mlflow/./model-versions/get", "model-versions/get"),
        ("/mlflow/api/2.0/mlflow-artifacts/../mlflow/model-versions/get", "model-versions/get"),
        ("/api/2.0/mlflow/runs/create", None),
        ("/api/2.0/mlflow/logged-models/m-1", None),
        ("/api/2.0/mlflow/experiments/search", None),
        ("/api/2.0/mlflow-artifacts/artifacts/1/models/registered-models/x", None),
        ("/mlflow/ajax-api/2.0/mlflow-artifacts/artifacts/1/graphql", None),
        ("/mlflow/static-files/static/js/graphql.js", None),
        ("/mlflow/", None),
    ],
)
def test_which_paths_are_the_registrys(path: str, operation: str | None) -> None:
    assert registry_operation(path) == operation


def test_every_registry_route_of_the_installed_mlflow_is_known() -> None:
    known = {*_NEEDED, *_LISTS, ("POST", "registered-models/create"), ("GET", "graphql"), ("POST", "graphql")}
    found = set()
    for rule in mlflow_app.url_map.iter_rules():
        operation = registry_operation(str(rule))
        if operation is not None and not operation.startswith("webhooks"):
            found |= {(method, operation) for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}}
    assert found == known


def test_who_passes_without_a_question() -> None:
    create, get = "/api/2.0/mlflow/registered-models/create", "/api/2.0/mlflow/model-versions/get"
    version = "/api/2.0/mlflow/model-versions/create"
    assert gated_operation(ANN, "GET", get) == "model-versions/get"
    assert gated_operation(ANN, "POST", "/api/2.0/mlflow/runs/create") is None
    assert gated_operation(ADMIN, "GET", get) is None
    assert gated_operation(ADMIN, "POST", version) is None
    # Whose model it is changes, whoever does it.
    assert gated_operation(ADMIN, "POST", create) == "registered-models/create"
    assert gated_operation(SERVICE, "GET", get) is None
    assert gated_operation(SERVICE, "POST", version) == "model-versions/create"
    assert gated_operation(SERVICE, "GET", "/mlflow/graphql") == "graphql"


TABLE = {
    "CAN_READ": [
        ("GET", "registered-models/get"),
        ("GET", "registered-models/get-latest-versions"),
        ("POST", "registered-models/get-latest-versions"),
        ("GET", "registered-models/alias"),
        ("GET", "model-versions/get"),
        ("GET", "model-versions/get-download-uri"),
        ("GET", "model-versions/get-artifact"),
    ],
    "CAN_EDIT": [
        ("PATCH", "registered-models/update"),
        ("POST", "registered-models/set-tag"),
        ("DELETE", "registered-models/delete-tag"),
        ("POST", "model-versions/create"),
        ("PATCH", "model-versions/update"),
        ("POST", "model-versions/set-tag"),
        ("DELETE", "model-versions/delete-tag"),
    ],
    "CAN_MANAGE_STAGING_VERSIONS": [("POST", "model-versions/transition-stage")],
    "CAN_MANAGE_PRODUCTION_VERSIONS": [("POST", "registered-models/alias"), ("DELETE", "registered-models/alias")],
    "CAN_MANAGE": [
        ("POST", "registered-models/rename"),
        ("DELETE", "registered-models/delete"),
        ("DELETE", "model-versions/delete"),
    ],
}


@pytest.mark.parametrize("level", [None, *LEVELS])
def test_what_each_level_opens(plane: ControlPlane, access: RegistryAccess, level: str | None) -> None:
    if level is not None:
        grant(plane, "anns", level)
    for needed, routes in TABLE.items():
        allowed = level is not None and LEVELS.index(level) >= LEVELS.index(needed)
        for method, operation in routes:
            fields = {"name": "anns", "version": "1", "stage": "Staging", "new_name": "new"}
            by_body = request(method, operation, **fields)
            assert passes(access, by_body) == allowed, (method, operation)
            by_query = request(method, operation, query="version=1&stage=Staging&name=anns")
            assert passes(access, by_query) == allowed, (method, operation)
            assert passes(access, request(method, operation, ANN, **fields)), (method, operation)
            assert passes(access, request(method, operation, ADMIN, **fields)), (method, operation)


def test_a_model_without_an_owner_is_read_by_everybody_and_changed_by_administrators(
    plane: ControlPlane, access: RegistryAccess
) -> None:
    plane.registry.add("old", "1")
    for needed, routes in TABLE.items():
        for method, operation in routes:
            fields = {"name": "old", "version": "1", "stage": "Staging"}
            assert passes(access, request(method, operation, **fields)) == (needed == "CAN_READ")
            assert passes(access, request(method, operation, ADMIN, **fields))


@pytest.mark.parametrize(
    ("stage", "version", "needed"),
    [
        ("Staging", "1", "CAN_MANAGE_STAGING_VERSIONS"),
        ("Archived", "1", "CAN_MANAGE_STAGING_VERSIONS"),
        ("Production", "1", "CAN_MANAGE_PRODUCTION_VERSIONS"),
        ("production", "1", "CAN_MANAGE_PRODUCTION_VERSIONS"),
        ("Staging", "2", "CAN_MANAGE_PRODUCTION_VERSIONS"),
    ],
)
def test_to_and_from_production_takes_more(
    plane: ControlPlane, access: RegistryAccess, stage: str, version: str, needed: str
) -> None:
    asked = request("POST", "model-versions/transition-stage", name="anns", version=version, stage=stage)
    for level in LEVELS:
        grant(plane, "anns", level)
        assert passes(access, asked) == (LEVELS.index(level) >= LEVELS.index(needed))


def test_a_version_of_an_unknown_model_has_no_stage(plane: ControlPlane, access: RegistryAccess) -> None:
    grant(plane, "anns", "CAN_MANAGE")
    with pytest.raises(ResourceDoesNotExist):
        access.decide(request("POST", "model-versions/transition-stage", name="anns", version="9", stage="Staging"))


COPIES = [
    "models:/anns/1", "models:/anns@champion", "models:/anns/Production", "models://profile/anns/1", "MODELS:/anns/1",
]  # fmt: skip


@pytest.mark.parametrize("source", COPIES)
def test_copying_a_version_needs_the_right_to_read_it(
    plane: ControlPlane, access: RegistryAccess, source: str
) -> None:
    asked = request("POST", "model-versions/create", name="bobs", source=source)
    assert not passes(access, asked)
    grant(plane, "anns", "CAN_READ")
    assert passes(access, asked)


@pytest.mark.parametrize("source", ["runs:/1/model", "mlflow-artifacts:/anns/1", "anns/1"])
def test_other_sources_are_nobodys_model(access: RegistryAccess, source: str) -> None:
    assert passes(access, request("POST", "model-versions/create", name="bobs", source=source))


@pytest.mark.parametrize(
    ("query", "body", "error"),
    [
        ("", b"", InvalidParameterValue),
        ("", b"{}", InvalidParameterValue),
        ("name=", b"", InvalidParameterValue),
        ("name=bobs&name=anns", b"", InvalidParameterValue),
        ("name=bobs", b'{"name": "anns"}', InvalidParameterValue),
        ("name=anns", b'{"name": "bobs"}', InvalidParameterValue),
        ("name=bobs", b'"{\\"name\\": \\"anns\\"}"', InvalidParameterValue),
        ("", b'{"name": ["bobs"]}', BadRequest),
        ("", b'{"name": 1}', BadRequest),
        ("", b"{nope", BadRequest),
        ("", b"[]", BadRequest),
        ("", b"[" * 100_000, BadRequest),
    ],
)
def test_which_model_is_meant_must_be_plain(
    access: RegistryAccess, query: str, body: bytes, error: type[ApiError]
) -> None:
    asked = RegistryRequest(
        principal=BOB, method="DELETE", operation="registered-models/delete", query=query, body=body
    )
    with pytest.raises(error):
        access.decide(asked)


@pytest.mark.parametrize("body", [b'"{\\"name\\": \\"anns\\"}"', '{"name": "anns"}'.encode("utf-16")])
def test_a_body_is_read_as_mlflow_reads_it(access: RegistryAccess, body: bytes) -> None:
    for caller, allowed in ((ANN, True), (BOB, False)):
        asked = RegistryRequest(principal=caller, method="PATCH", operation="registered-models/update", body=body)
        assert passes(access, asked) == allowed


def test_a_rename_may_spell_its_field_both_ways(plane: ControlPlane, access: RegistryAccess) -> None:
    for field in ("new_name", "newName"):
        asked = request("POST", "registered-models/rename", ANN, name="anns", **{field: f"anns-{field}"})
        ticket = access.decide(asked).ticket
        assert ticket is not None
        access.review(ticket, b"{}")
        assert rights(plane, f"anns-{field}").owner_id == ANN.id
        assert rights(plane, "anns").owner_id is None
        with plane.sessions.begin() as session:
            registered_models.record_owner(session, "anns", ANN.id)
    both = request("POST", "registered-models/rename", ANN, name="anns", new_name="a", newName="b")
    with pytest.raises(InvalidParameterValue):
        access.decide(both)


def test_unknown_routes_and_webhooks_are_not_for_users(access: RegistryAccess) -> None:
    unknown = (("GET", "registered-models/list"), ("HEAD", "registered-models/get"), ("PUT", "graphql"))
    for method, operation in unknown:
        with pytest.raises(EndpointNotFound):
            access.decide(request(method, operation, name="bobs"))
    for operation in ("webhooks", "webhooks/w-1", "webhooks/w-1/test"):
        with pytest.raises(PermissionDenied):
            access.decide(request("GET", operation))


def test_whoever_creates_a_model_owns_it(plane: ControlPlane, access: RegistryAccess) -> None:
    for caller, name in ((BOB, "fresh"), (ADMIN, "admins")):
        ticket = access.decide(request("POST", "registered-models/create", caller, name=name)).ticket
        assert ticket is not None
        assert rights(plane, name).owner_id is None  # nothing has been made yet
        answer = json.dumps({"registered_model": {"name": name}}).encode()
        assert access.review(ticket, answer) == answer
        assert rights(plane, name) == ModelRights(caller.id)
    assert not passes(access, request("GET", "registered-models/get", query="name=admins"))


def test_a_new_model_has_none_of_the_grants_of_an_earlier_one(plane: ControlPlane, access: RegistryAccess) -> None:
    grant(plane, "anns", "CAN_MANAGE")
    ticket = access.decide(request("POST", "registered-models/create", ADMIN, name="anns")).ticket
    assert ticket is not None
    access.review(ticket, b"{}")
    assert rights(plane, "anns") == ModelRights(ADMIN.id)


def test_grants_go_with_a_renamed_model_and_leave_with_a_deleted_one(
    plane: ControlPlane, access: RegistryAccess
) -> None:
    grant(plane, "anns", "CAN_EDIT")
    grant(plane, "better", "CAN_MANAGE", BOB)  # left by one that went past this server
    renamed = access.decide(request("POST", "registered-models/rename", ANN, name="anns", new_name="better")).ticket
    assert renamed is not None
    access.review(renamed, b"{}")
    assert rights(plane, "better") == ModelRights(ANN.id, {BOB.id: "CAN_EDIT"})
    assert rights(plane, "anns") == ModelRights()
    same = access.decide(request("POST", "registered-models/rename", ANN, name="better", new_name="better")).ticket
    assert same is not None
    access.review(same, b"{}")
    assert rights(plane, "better") == ModelRights(ANN.id, {BOB.id: "CAN_EDIT"})
    deleted = access.decide(request("DELETE", "registered-models/delete", ADMIN, query="name=better")).ticket
    assert deleted is not None
    access.review(deleted, b"{}")
    assert rights(plane, "better") == ModelRights()


@pytest.mark.parametrize(
    ("operation", "key"),
    [("registered-models/search", "registered_models"), ("model-versions/search", "model_versions")],
)
def test_lists_show_what_the_caller_may_read(
    plane: ControlPlane, access: RegistryAccess, operation: str, key: str
) -> None:
    entries = [{"name": name, "version": "1"} for name in ("anns", "bobs", "old", "anns", "ünïcode")]
    answer = json.dumps({key: entries, "next_page_token": "more"}).encode()

    def seen(caller: Principal) -> list[str]:
        ticket = access.decide(request("GET", operation, caller, query="max_results=5")).ticket
        assert ticket is not None
        document = json.loads(access.review(ticket, answer))
        assert document["next_page_token"] == "more"
        return [one["name"] for one in document[key]]

    assert seen(BOB) == ["bobs", "old", "ünïcode"]
    assert seen(ANN) == ["anns", "old", "anns", "ünïcode"]
    grant(plane, "anns", "CAN_READ")
    assert seen(BOB) == ["anns", "bobs", "old", "anns", "ünïcode"]
    empty = access.decide(request("GET", operation)).ticket
    assert empty is not None
    assert key not in json.loads(access.review(empty, b"{}")) or json.loads(access.review(empty, b"{}"))[key] == []
    with pytest.raises(InternalError):
        access.review(empty, b"<html>")


def test_many_models_are_looked_up_in_a_few_questions(plane: ControlPlane, access: RegistryAccess) -> None:
    entries = [{"name": f"m{number}"} for number in range(1200)] + [{"name": "anns"}]
    ticket = access.decide(request("GET", "registered-models/search")).ticket
    assert ticket is not None
    shown = json.loads(access.review(ticket, json.dumps({"registered_models": entries}).encode()))
    assert len(shown["registered_models"]) == 1200


QUERIES = [
    "query Q($run: MlflowGetRunInput!) { mlflowGetRun(input: $run) { run { modelVersions { version source } } } }",
    "{ mlflowSearchModelVersions(input: {}) { found: modelVersions { label: name version } nextPageToken } }",
    "{ mlflowSearchModelVersions(input: {}) { ...P } } "
    "fragment P on MlflowSearchModelVersionsResponse { modelVersions { ...V } } "
    "fragment V on MlflowModelVersion { name: currentStage source }",
    "{ mlflowSearchModelVersions(input: {}) { ... on MlflowSearchModelVersionsResponse { modelVersions "
    "{ ... on MlflowModelVersion { source moorageModelName: name } } } } }",
]


@pytest.mark.parametrize("query", QUERIES)
def test_a_graphql_query_gives_the_models_name_whatever_it_asks(query: str) -> None:
    rewritten = registry_graphql.with_model_names(json.dumps({"query": query, "variables": {"a": 1}}).encode())
    assert rewritten is not None
    document = json.loads(rewritten)
    assert document["variables"] == {"a": 1}
    versions = [{"name": name, "source": f"of {name}", "version": "1"} for name in ("anns", "bobs")]
    root = {
        "mlflow_search_model_versions": {"model_versions": versions},
        "mlflow_get_run": {"run": {"model_versions": versions}},
    }

    def plain(_next: Any, parent: Any, info: Any, **_: Any) -> Any:
        name = "".join(f"_{c.lower()}" if c.isupper() else c for c in info.field_name)
        return (root if parent is None else parent).get(name)

    result = schema.execute(document["query"], middleware=[plain], variables={"run": {"runId": "1"}})
    assert result.errors is None
    assert "anns" in json.dumps(result.data)
    shown = json.dumps(registry_graphql.without_models({"data": result.data}, lambda _: {"bobs"}))
    assert "anns" not in shown
    assert "1" in shown or "of bobs" in shown
    assert "moorageModelName" not in shown


def graphql_request(document: dict[str, Any]) -> RegistryRequest:
    return RegistryRequest(principal=BOB, method="POST", operation="graphql", body=json.dumps(document).encode())


def test_a_name_that_hides_the_models_is_refused_by_mlflow() -> None:
    query = "{ mlflowSearchModelVersions(input: {}) { modelVersions { moorageModelName: source } } }"
    rewritten = registry_graphql.with_model_names(json.dumps({"query": query}).encode())
    assert rewritten is not None
    assert schema.execute(json.loads(rewritten)["query"]).errors


def test_other_graphql_passes_as_it_is(access: RegistryAccess) -> None:
    body = {"query": '{ mlflowGetRun(input: {runId: "1"}) { run { info { runId } } } }'}
    assert access.decide(graphql_request(body)) == RegistryDecision()
    for bad in (b"", b"[]", b"{}", b'{"query": 1}', b'{"query": "{"}', b'{"query": "' + b"{a" * 50_000 + b'"}'):
        asked = RegistryRequest(principal=BOB, method="POST", operation="graphql", body=bad)
        with pytest.raises(BadRequest):
            access.decide(asked)


def test_a_gateway_asks_over_http(plane: ControlPlane) -> None:
    add_routes(plane.client.app, internal.router)  # type: ignore[arg-type]
    asked = request("GET", "registered-models/search", query="filter=name%20like%20'a%25'")
    url, headers = "/internal/registry-access", {INTERNAL_HEADER: "1"}
    answer = plane.client.post(url, content=asked.model_dump_json(), headers=headers)
    decision = RegistryDecision.model_validate_json(answer.content)
    assert decision.ticket is not None
    body = json.dumps({"registered_models": [{"name": "anns"}, {"name": "bobs"}]})
    shown = plane.client.post(
        "/internal/registry-answer", content=body, headers={**headers, TICKET_HEADER: decision.ticket}
    )
    assert shown.json() == {"registered_models": [{"name": "bobs"}]}
    refused = plane.client.post(
        url, content=request("GET", "registered-models/get", query="name=anns").model_dump_json(), headers=headers
    )
    assert (refused.status_code, refused.json()["error_code"]) == (403, "PERMISSION_DENIED")
    graphql = plane.client.post(
        url, content=graphql_request({"query": QUERIES[1]}).model_dump_json(), headers=headers
    )
    rewritten = RegistryDecision.model_validate_json(graphql.content).body
    assert rewritten is not None
    assert "moorageModelName" in json.loads(rewritten)["query"]
    assert plane.client.post(url, content=asked.model_dump_json()).status_code == 404


def test_tags_of_the_server_are_set_by_nobody_and_copies_go_without_them(access: RegistryAccess) -> None:
    key = "moorage.registration"
    for what in ("registered-models", "model-versions"):
        for method, verb in (("POST", "set-tag"), ("DELETE", "delete-tag")):
            with pytest.raises(InvalidParameterValue, match="'key'"):
                access.decide(request(method, f"{what}/{verb}", ANN, name="anns", version="1", key=key))
    team = {"key": "team", "value": "a"}
    own = {"name": "anns", "source": "runs:/abc/model", "tags": [{"key": key, "value": "PENDING"}, team]}
    for operation in ("model-versions/create", "registered-models/create"):
        asked = RegistryRequest(principal=ANN, method="POST", operation=operation, body=json.dumps(own).encode())
        body = access.decide(asked).body
        assert body is not None
        assert json.loads(body) == {**own, "tags": [team]}
        assert access.decide(asked.model_copy(update={"body": body})).body is None


@pytest.mark.parametrize(
    "source",
    [
        "mlflow-artifacts:/registered-models/models/m-1/artifacts",
        "mlflow-artifacts:/registered%252Dmodels/models/m-1/artifacts",
        "mlflow-artifacts://host:1/registered-models/x",
    ],
)
def test_files_of_registered_versions_are_no_source_of_others(access: RegistryAccess, source: str) -> None:
    with pytest.raises(PermissionDenied, match="models:/NAME/VERSION"):
        access.decide(request("POST", "model-versions/create", ANN, name="anns", source=source))


def test_a_name_that_is_taken_in_between_stays_whose_it_is(plane: ControlPlane, access: RegistryAccess) -> None:
    renaming = request("POST", "registered-models/rename", ANN, name="anns", new_name="better")
    ticket = access.decide(renaming).ticket
    assert ticket is not None
    access.created(BOB, "anns")  # after MLflow has renamed it, and before that is noted
    access.review(ticket, b"{}")
    assert rights(plane, "better").owner_id == ANN.id
    assert rights(plane, "anns").owner_id == BOB.id
    ticket = access.decide(request("DELETE", "registered-models/delete", ANN, query="name=better")).ticket
    assert ticket is not None
    access.created(BOB, "better")
    access.review(ticket, b"{}")
    assert rights(plane, "better").owner_id == BOB.id
